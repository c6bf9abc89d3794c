"""A small convolutional classifier of clean images that learns in few steps."""

from collections.abc import Sequence
from typing import cast

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.imaging.folding import space_to_depth
from jaxgen.nets import layers
from jaxgen.types import Array, Key, Net, Params


class _PlainClassifier(nn.Module):
    classes: int
    channels: Sequence[int]
    patch: int

    @nn.compact
    def __call__(self, x: Array, features: bool = False) -> Array:
        h = space_to_depth(x, self.patch) if self.patch > 1 else x
        for level, width in enumerate(self.channels):
            h = nn.relu(layers.GroupNorm(8)(layers.Conv(width, stride=2 if level else 1)(h)))
            h = nn.relu(layers.Conv(width)(h))
        axes = tuple(range(1, h.ndim - 1))
        h = h.astype(jnp.float32)
        pooled = jnp.concatenate([jnp.mean(h, axes), jnp.max(h, axes)], axis=-1)
        return pooled if features else layers.Dense(self.classes)(pooled).astype(jnp.float32)


def plain_classifier(classes: int, *, channels: Sequence[int] = (16, 32, 64), patch: int = 1) -> Net:
    """A classifier whose last level has no norm: what is pooled, mean and maximum over space, keeps its size.

    `jaxgen.nets.classifier` norms before it pools, as the half of a U-Net; this one learns from small sets in a few
    hundred steps.

    ``apply(params, x, key=None, features=False)`` maps `x` ``[b, *spatial, c]`` to logits ``[b, classes]`` in float32,
    or with `features` to what the last layer reads, ``[b, 2 channels[-1]]``.

    Args:
        classes: number of classes.
        channels: width of each level; each further level halves the resolution, rounded up.
        patch: fold blocks of ``patch`` pixels along each axis into channels before the first convolution.

    Returns:
        A `Net`.

    Raises:
        ValueError: if `channels` is empty.

    Example:
        >>> import jax
        >>> net, x = plain_classifier(4, channels=(8, 16)), jnp.zeros((2, 8, 8, 3))
        >>> params = net.init(jax.random.key(0), x)
        >>> net.apply(params, x).shape, net.apply(params, x, features=True).shape
        ((2, 4), (2, 32))
    """
    if not channels:
        raise ValueError("channels must name at least one level")
    module = _PlainClassifier(classes, tuple(channels), patch)

    def init(key: Key, x: Array) -> Params:
        return module.init(key, x)["params"]

    def apply(params: Params, x: Array, *, key: Key | None = None, features: bool = False) -> Array:
        return cast(Array, module.apply({"params": params}, x, features))

    return Net(init, apply)
