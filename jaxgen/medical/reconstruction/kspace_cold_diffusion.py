"""K-space cold diffusion: no noise; columns of k-space are taken away one by one, and a network puts them back.

An *order* says when each column goes: 1, 2, ... n for the n columns that the scanner does not measure, in an order
drawn at random, and w + 1 (never) for those that it does. At time t the columns of order t and below are 0, so that
t = 0 is the image and t = n what was measured. Complex images are ``[b, h, w, 2]``, k-space centred
``[b, h, w, 1]`` (`jaxgen.imaging.fourier`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgen import draws
from jaxgen.imaging.fourier import centred_fft2, centred_ifft2, from_complex, to_complex
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params

Predict = Callable[[Array, Array], Array]
"""``predict(x_t [b, h, w, 2], t [b]) -> x0_hat``: the whole image from what is left of it at time t."""


def removal_order(key: Key, measured: Array) -> Array:
    """When each column is taken away: the unmeasured ones in random order.

    Args:
        key: one key, or keys ``[b]``.
        measured: ``[b, w]``, 1 (or True) for a column that is measured.

    Returns:
        int32 ``[b, w]``: 1 to n for the n columns of an example that are not measured, w + 1 for the others.

    Raises:
        ValueError: if it is not ``[b, w]``.

    Example:
        >>> order = removal_order(jax.random.key(0), jnp.array([[0, 1, 0, 1]]))
        >>> order[0, 1::2].tolist(), sorted(order[0, ::2].tolist())
        ([5, 5], [1, 2])
    """
    if measured.ndim != 2:
        raise ValueError(f"measured columns must be [b, w], one row an example, not {measured.shape}")
    kept = measured > 0
    drawn = jnp.where(kept, jnp.inf, draws.uniform(key, measured.shape))
    rank = jnp.sum(drawn[:, None, :] < drawn[:, :, None], -1) + 1
    return jnp.where(kept, measured.shape[1] + 1, rank).astype(jnp.int32)


def columns_missing(order: Array) -> Array:
    """How many columns an order takes away in all, the largest time: int32 ``[b]``.

    Example:
        >>> columns_missing(jnp.array([[5, 1, 2, 5]])).tolist()
        [2]
    """
    return jnp.sum(order <= order.shape[1], 1).astype(jnp.int32)


def _kept(order: Array, t: Array | int) -> Array:
    """The mask of what is left at time t, ``[b, 1, w, 1]``."""
    t = jnp.broadcast_to(jnp.asarray(t), order.shape[:1])
    return (order > t[:, None])[:, None, :, None]


def degrade(x: Array, order: Array, t: Array | int) -> Array:
    """Take the first t columns of k-space away: ``D(x, t) = F' M_t F x``.

    Args:
        x: complex images ``[b, h, w, 2]``.
        order: ``[b, w]``, from `removal_order`.
        t: times, a whole number or one per example ``[b]``.

    Returns:
        Images ``[b, h, w, 2]``.

    Raises:
        ValueError: if image and order do not fit.

    Reference:
        Shen et al. 2024, "Learning to reconstruct accelerated MRI through k-space cold diffusion without noise".

    Example:
        >>> x = jnp.zeros((1, 4, 4, 2)).at[..., 0].set(1.0)  # of a constant image, all is in the middle column
        >>> [float(jnp.abs(degrade(x, jnp.array([[5, 2, order, 5]]), 1)).sum()) for order in (1, 5)]
        [0.0, 16.0]
    """
    if x.ndim != 4 or x.shape[-1] != 2 or order.shape != (x.shape[0], x.shape[2]):
        raise ValueError(f"an image [b, h, w, 2] and an order [b, w] are needed, not {x.shape} and {order.shape}")
    return _to_image(jnp.where(_kept(order, t), _to_kspace(x), 0))


def _to_kspace(x: Array) -> Array:
    return centred_fft2(to_complex(x)[..., None])


def _to_image(kspace: Array) -> Array:
    return from_complex(centred_ifft2(kspace)[..., 0])


def cold_loss(predict: Predict, key: Key, x: Array, measured: Array) -> Array:
    """How far the network is from the image, at a random time of a random order: ``mean |x - f(D(x, t), t)|``.

    t is uniform among 0, 1, ... n. Images are divided by the largest magnitude of their zero-filled form, `scale_of`,
    as they must be to restore them.

    Args:
        predict: f.
        key: one key, or keys ``[b]``.
        x: complex images ``[b, h, w, 2]``.
        measured: the columns that the scanner measures, ``[b, w]``.

    Returns:
        ``[b]``.

    Reference:
        Shen et al. 2024, "Learning to reconstruct accelerated MRI through k-space cold diffusion without noise".

    Example:
        >>> x = jnp.ones((2, 4, 4, 2))
        >>> cold_loss(lambda x_t, t: 0 * x_t, jax.random.key(0), x, jnp.ones((2, 4))).round(3).tolist()
        [0.7070000171661377, 0.7070000171661377]
    """
    order_key, time_key = draws.split(key, 2)
    order = removal_order(order_key, measured)
    last = columns_missing(order)
    t = jnp.floor((last + 1) * draws.uniform(time_key, last.shape)).astype(jnp.int32)
    x = x / scale_of(degrade(x, order, last))
    return jnp.mean(jnp.abs(predict(degrade(x, order, t), t) - x).astype(jnp.float32), (1, 2, 3))


def scale_of(x: Array) -> Array:
    """The largest magnitude of each complex image, ``[b, 1, 1, 1]``; 1 for one that is all 0.

    Example:
        >>> scale_of(jnp.array([[[[3.0, 4.0]]]])).ravel().tolist()
        [5.0]
    """
    largest = jnp.sqrt(jnp.max(jnp.sum(x**2, -1, keepdims=True), (1, 2), keepdims=True))
    return jnp.where(largest > 0, largest, 1)


def restore(predict: Predict, kspace: Array, order: Array, *, steps: int, keep: bool = False) -> Array:
    """Put the columns back, the last one taken first: ``x_s = x_t - D(f(x_t, t), t) + D(f(x_t, t), s)``.

    That is: each column is filled once, at its own time, from the prediction of then, and what was measured is never
    touched. It is done in k-space, as one scan. With ``steps=1`` all columns come from one prediction: the network's
    plain answer with the measured columns put in.

    Args:
        predict: f.
        kspace: what was measured, ``[b, h, w, 1]``, 0 in the other columns. Images go to the network in the units of
            `scale_of` their zero-filled form.
        order: ``[b, w]``, from `removal_order`.
        steps: evaluations, among which each example divides its columns as evenly as may be. As published, one a
            missing column: the largest of `columns_missing` (any more idle).
        keep: whether to return the way as well.

    Returns:
        Images ``[b, h, w, 2]``, or with `keep` ``[steps + 1, b, h, w, 2]``, the zero-filled one first.

    Raises:
        ValueError: if shapes do not fit, or there is no step.

    Reference:
        Shen et al. 2024, "Learning to reconstruct accelerated MRI through k-space cold diffusion without noise"; Bansal
        et al. 2023, "Cold diffusion: inverting arbitrary image transforms without noise", algorithm 2.

    Example:
        >>> x = jax.random.normal(jax.random.key(0), (1, 4, 4, 2))
        >>> order = jnp.array([[2, 5, 1, 5]])
        >>> kspace = jnp.where((order > 4)[:, None, :, None], centred_fft2(to_complex(x)[..., None]), 0)
        >>> scale = scale_of(degrade(x, order, 2))
        >>> bool(jnp.allclose(restore(lambda x_t, t: x / scale, kspace, order, steps=2), x, atol=1e-5))
        True
    """
    if kspace.ndim != 4 or kspace.shape[-1] != 1 or order.shape != (kspace.shape[0], kspace.shape[2]):
        raise ValueError(f"k-space [b, h, w, 1] and an order [b, w] are needed, not {kspace.shape} and {order.shape}")
    if steps < 1:
        raise ValueError(f"steps is {steps}: at least 1 is needed")
    scale = scale_of(_to_image(kspace))
    start = kspace / scale
    times = jnp.round(jnp.linspace(1, 0, steps + 1)[:, None] * columns_missing(order)).astype(jnp.int32)

    def fill(kspace: Array, pair: tuple[Array, Array]) -> Any:
        t, s = pair
        found = _to_kspace(predict(_to_image(kspace), t))
        kspace = jnp.where(_kept(order, s) & ~_kept(order, t), found, kspace)
        return kspace, scale * _to_image(kspace) if keep else None

    end, way = lax.scan(fill, start, (times[:-1], times[1:]))
    return jnp.concatenate([scale[None] * _to_image(start)[None], way]) if keep else scale * _to_image(end)


def direct_prediction(predict: Predict, kspace: Array, order: Array) -> Array:
    """What the network makes of the zero-filled image at once: ``f(x_n, n)``, the plain supervised reconstruction.

    Args:
        predict: f.
        kspace: what was measured, ``[b, h, w, 1]``.
        order: ``[b, w]``.

    Returns:
        Images ``[b, h, w, 2]``.

    Example:
        >>> kspace = centred_fft2(jnp.ones((1, 4, 4, 1)))
        >>> direct_prediction(lambda x, t: 2 * x, kspace, jnp.full((1, 4), 5))[..., 0].max().item()
        2.0
    """
    x = _to_image(kspace)
    scale = scale_of(x)
    return scale * predict(x / scale, columns_missing(order))


METHODS = ("direct prediction", "direct, measured columns put in", "cold diffusion")
"""The names of the `reconstructions`."""


def reconstructions(predict: Predict, key: Key, kspace: Array, *, steps: int) -> dict[str, Array]:
    """Three reconstructions by one network: at once, at once with the measured columns put in, and step by step.

    Args:
        predict: f.
        key: for the order, one key, or keys ``[b]``.
        kspace: what was measured, ``[b, h, w, 1]``, 0 in the other columns.
        steps: evaluations of `restore`.

    Returns:
        Images ``[b, h, w, 2]`` by the names in `METHODS`.

    Example:
        >>> kspace = centred_fft2(jnp.ones((1, 4, 4, 1)))
        >>> found = reconstructions(lambda x, t: 2 * x, jax.random.key(0), kspace, steps=1)
        >>> [round(float(x.max()), 4) for x in found.values()]
        [2.0, 1.0, 1.0]
    """
    measured = (jnp.abs(kspace) > 0).any((1, 3))
    order = removal_order(key, measured)
    direct = direct_prediction(predict, kspace, order)
    mended = jnp.where(measured[:, None, :, None], kspace, _to_kspace(direct))
    ways = (direct, _to_image(mended), restore(predict, kspace, order, steps=steps))
    return dict(zip(METHODS, ways, strict=True))


def predictor(net: Net, params: Params, width: int, multiple: int = 1) -> Predict:
    """A trained network as f, of images of any size: they are padded with zeros, about the middle, and cut back.

    Args:
        net: as in `kspace_cold_diffusion_model`.
        params: those of the network.
        width: columns of k-space: the network is told the share of them that is missing.
        multiple: what the network needs height and width to be a multiple of.

    Returns:
        f.

    Example:
        >>> net = Net(init=lambda key, x, t: {}, apply=lambda params, x, t, key=None: x + x.shape[1])
        >>> predictor(net, {}, 6, 4)(jnp.zeros((1, 6, 6, 2)), jnp.zeros(1))[0, 0].tolist()
        [[8.0, 8.0], [8.0, 8.0], [8.0, 8.0], [8.0, 8.0], [8.0, 8.0], [8.0, 8.0]]
    """

    def predict(x: Array, t: Array) -> Array:
        more = [-n % multiple for n in x.shape[1:3]]
        widths = [(0, 0), *((n // 2, n - n // 2) for n in more), (0, 0)]
        answer = net.apply(params, jnp.pad(x, widths), (t / width).astype(jnp.float32))
        first, left = more[0] // 2, more[1] // 2
        return answer[:, first : first + x.shape[1], left : left + x.shape[2]]

    return predict


def kspace_cold_diffusion_model(
    net: Net, mask: Callable[[Key], Array], shape: Sequence[int], *, steps: int, data: str = "image"
) -> Model:
    """Cold diffusion as a model: masks and orders are drawn anew for every example.

    Args:
        net: ``apply(params, x [b, h, w, 2], t [b], key=None) -> [b, h, w, 2]``; t is ``n / w``, the share of columns
            that are missing, which means the same under every mask.
        mask: ``key -> [h, w]``, 1 where measured, whole columns, such as `jaxgen.imaging.sampling_masks.random_mask`.
        shape: of one image, ``(h, w, 2)``.
        steps: evaluations of a restoration, see `restore`.
        data: the entry of the batch, complex images in two real channels.

    Returns:
        A `Model` with one group ``"net"``. ``sample(params, key, n, cond)`` restores k-space ``cond [n, h, w, 1]``, 0
        in the columns that were not measured, to ``[n, h, w, 2]``.

    Raises:
        ValueError: when sampling, without k-space.

    Reference:
        Shen et al. 2024, "Learning to reconstruct accelerated MRI through k-space cold diffusion without noise".

    Example:
        >>> from jaxgen.imaging.sampling_masks import random_mask
        >>> from jaxgen.nets import unet
        >>> net = unet(2, channels=(8,), blocks=1)
        >>> model = kspace_cold_diffusion_model(net, lambda key: random_mask(key, (8, 8), 2), (8, 8, 2), steps=4)
        >>> params = model.init(jax.random.key(0), {"image": jnp.zeros((1, 8, 8, 2))})
        >>> model.sample(params, jax.random.key(1), 1, jnp.ones((1, 8, 8, 1), jnp.complex64)).shape
        (1, 8, 8, 2)
    """
    height, width, _ = shape

    def predictor(params: Params, key: Key | None = None) -> Predict:
        return lambda x, t: net.apply(params["net"], x, (t / width).astype(jnp.float32), key=key)

    def init(key: Key, batch: Batch) -> Params:
        x = batch[data]
        return {"net": net.init(key, x, jnp.zeros(x.shape[:1]))}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        x = batch[data]
        mask_key, loss_key, dropout_key = draws.split(key, 3)
        keys = mask_key if mask_key.ndim else jax.random.split(mask_key, x.shape[0])
        measured = jax.vmap(mask)(keys)[:, 0]
        return cold_loss(predictor(params, dropout_key), loss_key, x, measured), {}

    def sample(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        if cond is None or cond.shape != (n, height, width, 1):
            found = "none" if cond is None else cond.shape
            raise ValueError(f"cold diffusion restores k-space: give cond [{n}, {height}, {width}, 1], not {found}")
        measured = (jnp.abs(cond) > 0).any((1, 3))
        order = removal_order(key, measured)
        return restore(predictor(params), cond, order, steps=steps)

    return Model(init, (Objective("net", loss),), sample)
