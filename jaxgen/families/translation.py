"""Translation of images: from a source to its target by a network alone, or by diffusion given the source."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp

from jaxgen import draws
from jaxgen.losses.diffusion import denoising
from jaxgen.losses.pixels import absolute_error
from jaxgen.samplers import Sampling, clip, denoiser, from_noise
from jaxgen.types import Array, Batch, Denoise, Info, Key, Model, Net, Objective, Params, Step


def sources_for(cond: Array | None, n: int) -> Array:
    """The n sources to translate.

    Raises:
        ValueError: if there are not n.
    """
    if cond is None or len(cond) != n:
        raise ValueError(f"give the {n} sources to translate as cond")
    return cond


def direct_translation(
    net: Net,
    error: Callable[[Array, Array], Array] = absolute_error,
    *,
    source: str = "source",
    data: str = "image",
) -> Model:
    """A network that answers the target at once, trained on pairs by an error of pixels: ``error(net(s), x)``.

    L1 leads to the median of the targets of a source, L2 to their mean: where several are likely, both are smoother
    than any of them.

    Args:
        net: ``apply(params, s [b, *spatial, k], key=None) -> [b, *spatial, c]``.
        error: ``error(answer, target) -> [b]``, such as `jaxgen.families.autoencoder.squared_error`.
        source: the entry of the batch to translate.
        data: the entry with its target.

    Returns:
        A `Model` with one group ``"net"``; ``sample(params, key, n, cond)`` translates sources ``[n, *spatial, k]``.

    Example:
        >>> import jax
        >>> double = Net(lambda key, x: {}, lambda params, x, key=None: 2 * x)
        >>> model, x = direct_translation(double), jnp.ones((1, 2, 2, 1))
        >>> model.objectives[0].loss({"net": {}}, jax.random.key(0), {"source": x, "image": 0 * x})[0].tolist()
        [2.0]
    """

    def init(key: Key, batch: Batch) -> Params:
        return {"net": net.init(key, batch[source])}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        return error(net.apply(params["net"], batch[source], key=key), batch[data]), {}

    def sample(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        del key
        return net.apply(params["net"], sources_for(cond, n))

    return Model(init, (Objective("net", loss),), sample)


def conditional_diffusion(
    net: Net,
    shape: Sequence[int],
    sampling: Sampling,
    *,
    source: str = "source",
    data: str = "image",
) -> Model:
    """Diffusion of the target with the source as further, clean channels of the network: ``net([x_t, s], t)``.

    Only the target is noised and only its error counts; it is drawn from ``p(x | s)``, not answered by a mean.

    Args:
        net: ``apply(params, [b, *spatial, c + k], t, key=None) -> [b, *spatial, c]``.
        shape: of a target, ``(*spatial, c)``.
        sampling: the path, the sampler and what the network predicts.
        source: the entry of the batch with the sources.
        data: the entry with the targets.

    Returns:
        A `Model` with one group ``"net"``; ``sample(params, key, n, cond)`` draws a target for each of n sources, `key`
        one key or keys ``[n]``: with the same key for all and a deterministic step, slices of a volume share one
        noise.

    Raises:
        ValueError: if the sampler's step needs a learned variance; when sampling, if there are not n sources.

    Reference:
        Saharia et al. 2022, "Palette: image-to-image diffusion models", arXiv 2111.05826, section 3; Durrer et al.
        2023, "Diffusion models for contrast harmonization of magnetic resonance images", arXiv 2303.08189.

    Example:
        >>> import jax
        >>> from jaxgen.nets import unet
        >>> from jaxgen.paths import cosine
        >>> from jaxgen.samplers import ddim, grids
        >>> path = cosine()
        >>> sampling = Sampling(path, ddim(path), grids.uniform(path, 2), "v")
        >>> model = conditional_diffusion(unet(1, channels=(8,), blocks=1), (4, 4, 1), sampling)
        >>> batch = {"source": jnp.zeros((2, 4, 4, 1)), "image": jnp.zeros((2, 4, 4, 1))}
        >>> params = model.init(jax.random.key(0), batch)
        >>> model.sample(params, jax.random.key(1), 2, batch["source"]).shape
        (2, 4, 4, 1)
    """
    path, step, grid, prediction = sampling
    if not isinstance(step, Step):
        raise ValueError("a step that needs a learned variance has none here: give one that stands alone")

    def init(key: Key, batch: Batch) -> Params:
        x = jnp.concatenate([batch[data], batch[source]], -1)
        return {"net": net.init(key, x, jnp.zeros(len(x)))}

    def answer(params: Params, s: Array, key: Key | None = None) -> Callable[[Array, Array], Array]:
        return lambda x, t: net.apply(params["net"], jnp.concatenate([x, s.astype(x.dtype)], -1), t, key=key)

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        loss_key, dropout_key = draws.split(key, 2)
        predict = answer(params, batch[source], dropout_key)
        return denoising(predict, path, loss_key, batch[data], prediction=prediction), {}

    def denoise(params: Params, s: Array) -> Denoise:
        return clip(denoiser(answer(params, s), path, prediction))

    def sample(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        s = sources_for(cond, n)
        keys = draws.split(key, n) if key.ndim == 0 else key
        return from_noise(path, denoise(params, s), step, grid, keys, tuple(shape))

    return Model(init, (Objective("net", loss),), sample)
