"""pDDPM: a box of the image is noised and denoised in the light of all the rest; the boxes are stitched together.

What surrounds a box stays clean, so that the network knows whose brain it is restoring; only what is inside must be
made up. One call of the network restores all boxes: there is no chain.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.imaging.tiles import Tiling
from jaxgen.losses.times import uniform_time
from jaxgen.paths import Path, convert, perturb
from jaxgen.types import Array, Batch, Denoise, Info, Key, Model, Net, NoiseDistribution, Objective, Params


def box_masks(plan: Tiling) -> np.ndarray:
    """Where each box of a plan lies.

    Args:
        plan: of `jaxgen.imaging.tiles.tiling`; boxes that reach past the image are cut off.

    Returns:
        Float32 ``[boxes, *spatial]``, 1 inside and 0 outside.

    Example:
        >>> from jaxgen.imaging.tiles import tiling
        >>> box_masks(tiling((4,), 3, 1)).tolist()
        [[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 1.0]]
    """
    masks = np.zeros((len(plan.starts), *plan.shape), np.float32)
    for mask, start in zip(masks, plan.starts, strict=True):
        mask[tuple(slice(int(s), int(s) + n) for s, n in zip(start, plan.tile, strict=True))] = 1
    return masks


def stitching_weights(plan: Tiling, merge: Literal["average", "cut"] = "average") -> np.ndarray:
    """How much each box has to say at each pixel: the weights of all boxes add up to 1 everywhere.

    Args:
        plan: of `jaxgen.imaging.tiles.tiling`.
        merge: "average" weighs all boxes over a pixel alike; "cut" takes the one whose centre is nearest along each
            axis, so that every pixel comes from one box.

    Returns:
        Float32 ``[boxes, *spatial]``.

    Raises:
        ValueError: if `merge` is neither.

    Reference:
        Behrendt et al. 2024, "Patched diffusion models for unsupervised anomaly detection in brain MRI" (the published
        code).

    Example:
        >>> from jaxgen.imaging.tiles import tiling
        >>> stitching_weights(tiling((4,), 3, 1), "cut").tolist()
        [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]
    """
    masks = box_masks(plan)
    if merge == "average":
        return masks / masks.sum(0)
    if merge != "cut":
        raise ValueError(f"merge is {merge!r}: choose from average, cut")
    pixels = np.moveaxis(np.indices(plan.shape), 0, -1)
    centre = plan.starts + (np.array(plan.tile) - 1) / 2
    away = np.square(pixels[None] - centre.reshape(len(centre), *(1,) * len(plan.shape), -1)).sum(-1)
    nearest = np.where(masks > 0, away, np.inf).argmin(0)
    return (nearest == np.arange(len(masks)).reshape(-1, *(1,) * len(plan.shape))).astype(np.float32)


def _inside(path: Path, x: Array, noise: Array, t: Array, mask: Array) -> Array:
    return jnp.where(mask > 0, perturb(path, x, noise.astype(x.dtype), t), x).astype(x.dtype)


def patch_diffusion_model(
    net: Net,
    path: Path,
    plan: Tiling,
    *,
    prediction: str = "x0",
    time: Callable[[Path, Key, int], Array] = uniform_time,
    noise: NoiseDistribution = draws.normal,
    data: str = "image",
) -> Model:
    """A network that restores the noised inside of one box of ``batch[data]``, drawn at random from a plan.

    Trained on the mean over the box of ``|x0_hat - x|``: outside of the box the network sees the clean image, and its
    answer does not count. (The published code takes the mean over the whole image, which scales the gradient with the
    share of the box.)

    Args:
        net: ``apply(params, x [b, *spatial, c], t [b] or scalar, key=None)``.
        path: the path.
        plan: the boxes, of `jaxgen.imaging.tiles.tiling` for images of the data's size.
        prediction: what the network answers, one of `jaxgen.paths.PREDICTIONS`.
        time: distribution of the training times, ``(path, key, n) -> [n]``.
        noise: distribution of the noise, ``(key, shape) -> noise``.
        data: the entry of the batch to model.

    Returns:
        A `Model` with one group ``"net"``; ``sample`` raises `TypeError`, for there is nothing to draw: see
        `patch_diffusion`.

    Reference:
        Behrendt et al. 2024, "Patched diffusion models for unsupervised anomaly detection in brain MRI", arXiv
        2303.03758.

    Example:
        >>> import jax
        >>> from jaxgen.imaging.tiles import tiling
        >>> from jaxgen.nets import unet
        >>> from jaxgen.paths import cosine
        >>> model = patch_diffusion_model(unet(1, channels=(8,), blocks=1), cosine(), tiling((8, 8), 4))
        >>> batch = {"image": jnp.zeros((2, 8, 8, 1))}
        >>> model.objectives[0].loss(model.init(jax.random.key(0), batch), jax.random.key(1), batch)[0].shape
        (2,)
    """
    masks = box_masks(plan)[..., None]

    def init(key: Key, batch: Batch) -> Params:
        x = batch[data]
        return {"net": net.init(key, x, jnp.zeros(x.shape[:1]))}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        x = batch[data]
        box_key, time_key, noise_key, dropout_key = draws.split(key, 4)
        box = jnp.minimum(jnp.floor(len(masks) * draws.uniform(box_key, x.shape[:1])), len(masks) - 1)
        mask = jnp.asarray(masks)[box.astype(jnp.int32)]
        t = time(path, time_key, x.shape[0])
        seen = _inside(path, x, noise(noise_key, x.shape), t, mask)
        answer = net.apply(params["net"], seen, t, key=dropout_key)
        x0 = convert(path, seen, t, answer.astype(jnp.promote_types(answer.dtype, jnp.float32)), prediction, "x0")
        axes = tuple(range(1, x.ndim))
        return jnp.sum(mask * jnp.abs(x0 - x), axes) / (x.shape[-1] * jnp.sum(mask, axes)), {}

    def sample(params: Params, key: Key, n: int, cond: Any = None) -> Array:
        raise TypeError("a model of boxes draws no image: `patch_diffusion` restores one")

    return Model(init, (Objective("net", loss),), sample)


def patch_diffusion(
    path: Path,
    denoise: Denoise,
    key: Key,
    x: Array,
    plan: Tiling,
    level: float | Array,
    *,
    noise: NoiseDistribution = draws.normal,
    merge: Literal["average", "cut"] = "average",
    boxes: Sequence[int] | None = None,
) -> Array:
    """Restore images box by box, all boxes of all images in one call of the network.

    Args:
        path: the path.
        denoise: of a `patch_diffusion_model`; outside of a box it sees the clean image.
        key: one key, or keys ``[b]``; all boxes of an image are noised with one draw.
        x: images ``[b, *spatial, c]``, in the range that the denoiser was trained on.
        plan: the boxes.
        level: the time to noise a box to.
        noise: distribution of the noise, ``(key, shape) -> noise``.
        merge: how boxes that overlap are stitched, see `stitching_weights`.
        boxes: the numbers of the boxes to restore; None for all. What lies in none of them is x itself, to the bit.

    Returns:
        ``[b, *spatial, c]``.

    Reference:
        Behrendt et al. 2024, "Patched diffusion models for unsupervised anomaly detection in brain MRI", arXiv
        2303.03758.

    Example:
        >>> import jax
        >>> from jaxgen.imaging.tiles import tiling
        >>> from jaxgen.paths import cosine
        >>> x, plan = jnp.ones((1, 8, 8, 1)), tiling((8, 8), 4)
        >>> float(patch_diffusion(cosine(), lambda x, t: 0 * x, jax.random.key(0), x, plan, 0.5, boxes=[0]).sum())
        48.0
    """
    if boxes is not None:
        plan = plan._replace(starts=plan.starts[np.asarray(boxes)])
    b, shape = x.shape[0], x.shape[1:]
    masks = jnp.asarray(box_masks(plan))[:, None, ..., None]
    n = masks.shape[0]
    with np.errstate(invalid="ignore"):  # where there is no box
        weights = jnp.asarray(np.nan_to_num(stitching_weights(plan, merge)))[:, None, ..., None]
    drawn = noise(draws.split(key, b) if key.ndim == 0 else key, x.shape)
    seen = _inside(path, x[None], drawn[None], jnp.asarray(level), masks)
    restored = denoise(seen.reshape(n * b, *shape), jnp.asarray(level, jnp.float32)).reshape(n, b, *shape)
    stitched = jnp.sum(weights * restored, 0).astype(x.dtype)
    return jnp.where(jnp.max(masks, 0) > 0, stitched, x)
