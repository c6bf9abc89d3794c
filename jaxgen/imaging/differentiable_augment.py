"""Augmentation that gradients pass through, for critics that see few images."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.types import Array, Key

AUGMENTATIONS = ("colour", "translation", "cutout")


def differentiable_augment(
    key: Key,
    x: Array,
    *,
    brightness: float = 0.5,
    contrast: float = 0.5,
    translation: float = 0.125,
    cutout: float = 0.5,
    fill: float = 0.0,
) -> Array:
    """Change brightness and contrast, move, and cut a box out of each image at random; differentiable in the image.

    A critic that only ever sees augmented images, real and generated ones alike, cannot learn a small
    training set by heart, and the generator does not learn the augmentation.

    Args:
        key: one key, or keys ``[b]``.
        x: images ``[b, *spatial, c]`` of any spatial rank, in [-1, 1].
        brightness: the image gains a number uniform within plus and minus this.
        contrast: its differences from its mean are multiplied by a number uniform within 1 plus and minus this.
        translation: it moves along each axis by up to this share of its size, whole pixels, uniformly; what comes in
            is `fill`.
        cutout: a box of this share of each axis, its centre uniform over the image, is set to `fill`; 0 for none.
        fill: the value put where nothing is known.

    Returns:
        An array of the shape and dtype of `x`.

    Reference:
        Zhao et al. 2020, "Differentiable augmentation for data-efficient GAN training", arXiv 2006.10738, section 3.

    Example:
        >>> x = jnp.ones((2, 8, 8, 1))
        >>> differentiable_augment(jax.random.key(0), x).shape
        (2, 8, 8, 1)
    """
    rank = x.ndim - 2
    light_key, contrast_key, move_key, cut_key = draws.split(key, 4)
    per_image = (x.shape[0], *(1,) * (rank + 1))
    if brightness > 0:
        x = x + (brightness * (2 * draws.uniform(light_key, per_image) - 1)).astype(x.dtype)
    if contrast > 0:
        mean = jnp.mean(x, tuple(range(1, x.ndim)), keepdims=True)
        factor = 1 + contrast * (2 * draws.uniform(contrast_key, per_image) - 1)
        x = mean + (x - mean) * factor.astype(x.dtype)
    if translation > 0:
        x = _translate(move_key, x, translation, fill)
    if cutout > 0:
        x = jnp.where(_box(cut_key, x, cutout), jnp.asarray(fill, x.dtype), x)
    return x


def named_augment(names: Sequence[str] | None) -> Callable[[Key, Array], Array] | None:
    """`differentiable_augment` with some of its changes; what is moved in or cut out is as dark as the background.

    Args:
        names: which of `AUGMENTATIONS`; None for no change at all.

    Returns:
        ``augment(key, x [b, *spatial, c])`` for x in [-1, 1], or None.

    Example:
        >>> cut = named_augment(["cutout"])(jax.random.key(0), jnp.ones((1, 8, 8, 1)))
        >>> sorted(set(cut.ravel().tolist()))
        [-1.0, 1.0]
    """
    if names is None:
        return None
    colour, moved, cut = (name in names for name in AUGMENTATIONS)
    options: dict[str, Any] = {
        "brightness": 0.5 * colour,
        "contrast": 0.5 * colour,
        "translation": 0.125 * moved,
        "cutout": 0.5 * cut,
    }
    return functools.partial(differentiable_augment, **options, fill=-1.0)


def _translate(key: Key, x: Array, share: float, fill: float) -> Array:
    size = x.shape[1:-1]
    most = [int(n * share + 0.5) for n in size]
    span = jnp.asarray([2 * m + 1 for m in most])
    uniform = draws.uniform(key, (x.shape[0], len(size)))
    corner = jnp.minimum((uniform * span).astype(jnp.int32), span - 1)  # the product can round up to `span`
    padded = jnp.pad(x, ((0, 0), *((m, m) for m in most), (0, 0)), constant_values=fill)
    return jax.vmap(lambda image, start: jax.lax.dynamic_slice(image, (*start, 0), x.shape[1:]))(padded, corner)


def _box(key: Key, x: Array, share: float) -> Array:
    """True within a box about a centre uniform over the pixels; the box may reach over the edge."""
    size = x.shape[1:-1]
    uniform = draws.uniform(key, (x.shape[0], len(size)))
    inside = jnp.ones((x.shape[0], *size, 1), bool)
    for axis, n in enumerate(size):
        width = int(n * share + 0.5)
        first = jnp.floor(uniform[:, axis] * n).astype(jnp.int32) - width // 2
        shape = [1] * x.ndim
        shape[axis + 1] = n
        place = jnp.arange(n).reshape(shape)
        start = first.reshape(-1, *(1,) * (x.ndim - 1))
        inside = inside & (place >= start) & (place < start + width)
    return inside
