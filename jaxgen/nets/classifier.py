"""Classifiers that may know the time: what guides a diffusion model, or recognises what it drew."""

import functools
import itertools
from collections.abc import Sequence
from typing import cast

import flax.linen as nn
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.imaging.folding import space_to_depth
from jaxgen.nets import layers, residual
from jaxgen.nets.attention import SelfAttention
from jaxgen.nets.embedding import embed_time
from jaxgen.types import Array, Key, Net, Params


class _Classifier(nn.Module):
    classes: int
    channels: Sequence[int]
    blocks: int
    attention: Sequence[int]
    head_width: int
    adaptive: bool
    dropout: float
    groups: int
    patch: int

    @nn.compact
    def __call__(self, x: Array, t: Array | None, key: Key | None, features: bool = False) -> Array:
        first = self.channels[0]
        embedding = None if t is None else embed_time(t, x, 2 * (first // 2), 4 * first)
        norm = functools.partial(layers.GroupNorm, self.groups)
        count = itertools.count()
        h = layers.Conv(first)(space_to_depth(x, self.patch) if self.patch > 1 else x)
        for level, width in enumerate(self.channels):
            for _ in range(self.blocks):
                i = next(count)
                dropout_key = None if key is None else draws.fold_in(key, i)
                h = residual.ResidualBlock(width, self.adaptive, self.dropout, norm)(h, embedding, dropout_key)
                if level in self.attention:
                    h = SelfAttention(self.head_width, norm)(h)
            if level < len(self.channels) - 1:
                h = residual.Downsample(width)(h)
        h = nn.silu(norm()(h))
        pooled = jnp.mean(h.astype(jnp.float32), axis=tuple(range(1, h.ndim - 1))).astype(h.dtype)
        if features:
            return pooled.astype(jnp.float32)
        return layers.Dense(self.classes, kernel_init=nn.initializers.zeros)(pooled).astype(jnp.float32)


def classifier(
    classes: int,
    *,
    channels: Sequence[int] = (32, 64, 128),
    blocks: int = 2,
    attention: Sequence[int] = (),
    head_width: int = 32,
    adaptive: bool = True,
    dropout: float = 0.0,
    groups: int = 32,
    patch: int = 1,
) -> Net:
    """Classifier: the encoder half of the U-Net, then the mean over space; its spatial rank is that of its input.

    ``apply(params, x, t=None, key=None, features=False)`` maps `x` ``[b, *spatial, c]`` to logits ``[b, classes]`` in
    float32, or with `features` to what the last layer reads, ``[b, channels[-1]]``. With a time `t` ``[b]`` or a
    scalar it classifies noisy images, as guidance needs; without one, clean images. What is None at `init` must be
    None at `apply`. The last layer starts at zero, so all classes start equally likely.

    Args:
        classes: number of classes.
        channels: width of each level; each further level halves the resolution, rounded up.
        blocks: residual blocks a level.
        attention: the levels (0 is the finest) that have self-attention.
        head_width: width of an attention head.
        adaptive: whether the time enters as scale and shift of the norms, or is added.
        dropout: rate inside the residual blocks; active where `key` is given.
        groups: of the group norms, fewer where a level is narrow.
        patch: fold blocks of ``patch`` pixels along each axis into channels before the first convolution.

    Returns:
        A `Net`.

    Raises:
        ValueError: if `channels` is empty.

    Reference:
        Dhariwal & Nichol 2021, arXiv 2105.05233, section 4, whose noisy classifier is the down-sampling half of the
        U-Net; there attention pools, here the mean does.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = classifier(4, channels=(8, 16), blocks=1)
        >>> x, t = jnp.zeros((2, 8, 8, 3)), jnp.zeros((2,))
        >>> net.apply(net.init(jax.random.key(0), x, t), x, t).shape
        (2, 4)
    """
    if not channels:
        raise ValueError("channels must name at least one level")
    module = _Classifier(
        classes, tuple(channels), blocks, tuple(attention), head_width, adaptive, dropout, groups, patch
    )

    def init(key: Key, x: Array, t: Array | None = None) -> Params:
        return module.init(key, x, t, None)["params"]

    def apply(
        params: Params, x: Array, t: Array | None = None, *, key: Key | None = None, features: bool = False
    ) -> Array:
        return cast(Array, module.apply({"params": params}, x, t, key, features))

    return Net(init, apply)
