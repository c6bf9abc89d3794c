"""The diffusion transformer, for one, two and three spatial dimensions."""

from collections.abc import Callable, Sequence
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.imaging.folding import depth_to_space, space_to_depth
from jaxgen.nets import layers, ops
from jaxgen.nets.attention import MultiHeadAttention
from jaxgen.nets.door import float32_answer
from jaxgen.nets.embedding import LabelEmbedding, embed_time, sinusoidal
from jaxgen.types import Array, Key, Net, Params


def sincos_positions(shape: Sequence[int], width: int) -> Array:
    """Fixed embedding of the positions of a grid: the axes share the width, each ``[sin(w_i p), cos(w_i p)]``.

    ``w_i = 10000^(-i / m)`` for m frequencies an axis, the last axis first; what does not divide is left zero.

    Args:
        shape: of the grid.
        width: of an embedding.

    Returns:
        ``[prod(shape), width]`` in float32.

    Reference:
        Peebles & Xie 2023, arXiv 2212.09748, section 3.2; the formula is that of Vaswani et al. 2017.

    Example:
        >>> sincos_positions((2, 3), 8).shape
        (6, 8)
    """
    frequencies = width // (2 * len(shape))
    rates = 10000.0 ** (-jnp.arange(frequencies, dtype=jnp.float32) / frequencies)
    parts = []
    for axis in jnp.meshgrid(*(jnp.arange(n, dtype=jnp.float32) for n in shape), indexing="ij")[::-1]:
        angles = axis.reshape(-1, 1) * rates
        parts += [jnp.sin(angles), jnp.cos(angles)]
    positions = jnp.concatenate(parts, axis=-1)
    return jnp.pad(positions, ((0, 0), (0, width - positions.shape[1])))


class _Embedding(nn.Module):
    width: int
    classes: int | None
    time_features: Callable[[Array, int], Array]

    @nn.compact
    def __call__(self, x: Array, t: Array | None, vector: Array | None, label: Array | None) -> Array:
        parts = [jnp.zeros((x.shape[0], self.width), x.dtype)]
        if t is not None:
            parts.append(embed_time(t, x, 256, self.width, self.time_features))
        if vector is not None:
            parts.append(layers.Dense(self.width)(vector.astype(x.dtype)))
        if self.classes is not None:
            parts.append(LabelEmbedding(self.classes, self.width)(label, x.shape[0]))
        return sum(parts[1:], parts[0])


def _modulation(embedding: Array, parts: int, width: int) -> list[Array]:
    zeros = nn.initializers.zeros
    return jnp.split(layers.Dense(parts * width, kernel_init=zeros)(nn.silu(embedding))[:, None], parts, axis=-1)


class _Block(nn.Module):
    heads: int
    feed_forward: int
    epsilons: tuple[float, float]

    @nn.compact
    def __call__(self, x: Array, embedding: Array) -> Array:
        c = x.shape[-1]
        shift1, scale1, gate1, shift2, scale2, gate2 = _modulation(embedding, 6, c)
        h = ops.layer_norm(x, 1 + scale1, shift1, self.epsilons[0])
        x = x + gate1 * MultiHeadAttention(self.heads)(h)
        h = ops.layer_norm(x, 1 + scale2, shift2, self.epsilons[1])
        h = layers.Dense(c)(nn.gelu(layers.Dense(self.feed_forward * c)(h), approximate=True))
        return ops.block_end(x + gate2 * h)


class _DiT(nn.Module):
    out_channels: int
    patch: int
    width: int
    depth: int
    heads: int
    feed_forward: int
    classes: int | None
    time_features: Callable[[Array, int], Array]
    block_embeddings: bool
    epsilons: tuple[float, float]

    @nn.compact
    def __call__(self, x: Array, t: Array | None, vector: Array | None, label: Array | None) -> Array:
        rank = x.ndim - 2
        folded = space_to_depth(x, self.patch)
        b, *grid, c = folded.shape
        h = layers.Dense(self.width)(folded.reshape(b, -1, c))
        h = h + sincos_positions(grid, self.width).astype(h.dtype)

        if self.block_embeddings:
            several = nn.vmap(
                _Embedding,
                variable_axes={"params": 0},
                split_rngs={"params": True},
                in_axes=None,
                axis_size=self.depth,
            )
            embeddings = several(self.width, self.classes, self.time_features, name="embedding")(h, t, vector, label)
        else:
            single = _Embedding(self.width, self.classes, self.time_features, name="embedding")(h, t, vector, label)
            embeddings = jnp.broadcast_to(single, (self.depth, *single.shape))

        def body(block: nn.Module, h: Array, embedding: Array) -> tuple[Array, None]:
            return block(h, embedding), None

        # Equal blocks, scanned: one is compiled, not `depth`. For its gradient a block keeps its matrix products and
        # computes what stands between them again, which is faster than to keep that too.
        body = nn.remat(body, policy=jax.checkpoint_policies.dots_saveable, prevent_cse=False)
        stack = nn.scan(body, variable_axes={"params": 0}, split_rngs={"params": True}, length=self.depth)
        h, _ = stack(_Block(self.heads, self.feed_forward, self.epsilons, name="blocks"), h, embeddings)

        shift, scale = _modulation(embeddings[0], 2, self.width)
        h = ops.layer_norm(h, 1 + scale, shift)
        h = layers.Dense(self.out_channels * self.patch**rank, kernel_init=nn.initializers.zeros)(h)
        return depth_to_space(h.reshape(b, *grid, -1), self.patch)


def dit(
    out_channels: int,
    *,
    patch: int = 2,
    width: int = 384,
    depth: int = 12,
    heads: int = 6,
    feed_forward: int = 4,
    classes: int | None = None,
    time_features: Callable[[Array, int], Array] = sinusoidal,
    block_embeddings: bool = False,
    epsilons: tuple[float, float] = (1e-6, 1e-6),
) -> Net:
    """Diffusion transformer with adaptive layer norms that start at zero; its spatial rank is that of its input.

    ``apply(params, x, t=None, vector=None, label=None, key=None)`` maps `x` ``[b, *spatial, c]`` to ``[b, *spatial,
    out_channels]``: patches become tokens, fixed positions are added, equal blocks of self-attention and feed-forward
    layers follow, each shifted, scaled and gated by the embedding of time `t` ``[b]`` or a scalar, `vector` ``[b, e]``
    and `label` ``[b]``, and tokens become patches again. What is None at `init` must be None at `apply`, but for
    `label`, whose None is the null label. Every gate and the last layer start at zero. `key` has no effect.

    The sizes of the paper, (width, depth, heads): S (384, 12, 6), B (768, 12, 12), L (1024, 24, 16), XL (1152, 28,
    16), each with patches of 8, 4 or 2. XL/2 on latents of 4 channels and 1000 classes, with learned variances, has
    675 million parameters.

    Args:
        out_channels: channels of the result; twice those of `x` where the variance is learned too.
        patch: width of a patch along each axis, which every spatial axis must be a multiple of.
        width: of a token.
        depth: number of blocks.
        heads: attention heads, a divisor of `width`.
        feed_forward: hidden layer of the feed-forward layers, in units of `width`.
        classes: number of classes that `label` tells apart; None for a network without labels.
        time_features: ``time_features(t [b], 256) -> [b, k]``, what the time embedding starts from.
        block_embeddings: whether every block embeds time and label by itself, as some published weights do.
        epsilons: added to the variances in the norm before the attention and in that before the feed-forward layer.

    Returns:
        A `Net`.

    Raises:
        ValueError: (at `init` and `apply`) if a spatial axis or the width does not divide, or a label is given to a
            network without classes.

    Reference:
        Peebles & Xie 2023, "Scalable diffusion models with transformers", arXiv 2212.09748, section 3.2, table 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = dit(3, patch=4, width=16, depth=2, heads=2, classes=5)
        >>> x, t = jnp.zeros((2, 8, 8, 3)), jnp.zeros((2,))
        >>> params = net.init(jax.random.key(0), x, t)
        >>> net.apply(params, x, t, label=jnp.array([0, 4])).shape
        (2, 8, 8, 3)
    """
    module = _DiT(
        out_channels,
        patch,
        width,
        depth,
        heads,
        feed_forward,
        classes,
        time_features,
        block_embeddings,
        epsilons,
    )

    def check(label: Array | None) -> None:
        if label is not None and classes is None:
            raise ValueError("a label was given to a network without classes: give dit its number of classes")

    def init(
        key: Key, x: Array, t: Array | None = None, vector: Array | None = None, label: Array | None = None
    ) -> Params:
        check(label)
        return module.init(key, x, t, vector, label)["params"]

    def apply(
        params: Params,
        x: Array,
        t: Array | None = None,
        vector: Array | None = None,
        label: Array | None = None,
        *,
        key: Key | None = None,
    ) -> Array:
        del key
        check(label)
        return cast(Array, module.apply({"params": params}, x, t, vector, label))

    return float32_answer(Net(init, apply))
