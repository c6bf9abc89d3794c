"""The U-Net of diffusion and flow models, for one, two and three spatial dimensions."""

from collections.abc import Callable, Sequence
from typing import cast

import flax.linen as nn

from jaxgen.imaging.folding import depth_to_space, space_to_depth
from jaxgen.nets import layers
from jaxgen.nets.door import float32_answer
from jaxgen.nets.unet_blocks import Blocks, embed
from jaxgen.nets.unet_variant import Control, Shape, UNetVariant, shape_of
from jaxgen.types import Array, Key, Net, Params

LAST = "Conv_1"
"""The name of the last convolution's parameters."""


class _UNet(nn.Module):
    out_channels: int
    shape: Shape
    time_features: Callable[[Array, int], Array]

    @nn.compact
    def __call__(
        self,
        x: Array,
        t: Array | None,
        vector: Array | None,
        features: Array | None,
        label: Array | None,
        context: Array | None,
        segmentation: Array | None,
        control: Control | None,
        taken: Sequence[int] | None,
        key: Key | None,
    ) -> Array | tuple[Array, ...]:
        shape = self.shape
        embedding = embed(shape, self.time_features, x, t, vector, label)
        blocks = Blocks(shape, embedding, context, segmentation, key)
        if shape.patch > 1:
            x = space_to_depth(x, shape.patch)
        h = layers.Conv(shape.channels[0])(x)
        if features is not None:
            h = h + features.astype(h.dtype)
        h, skips = blocks.encode(h)
        if control is not None:
            skips = _controlled(skips, Control(*control))
            h = skips[-1] if shape.variant.controlled_middle else h
        h = blocks.middle(h)
        if control is not None:
            h = h + Control(*control).middle.astype(h.dtype)
        decoded = blocks.decode(h, skips)
        if taken is not None:
            return tuple(decoded[i] for i in taken)
        h = decoded[-1]
        h = nn.silu(blocks.norm()(h))
        rank = x.ndim - 2
        last = layers.Conv(self.out_channels * shape.patch**rank, kernel_init=nn.initializers.zeros, name=LAST)
        h = last(h)
        return depth_to_space(h, shape.patch) if shape.patch > 1 else h


def _controlled(skips: list[Array], control: Control) -> list[Array]:
    if len(control.skips) != len(skips):
        raise ValueError(f"control has {len(control.skips)} arrays for {len(skips)} skip connections")
    return [skip + more.astype(skip.dtype) for skip, more in zip(skips, control.skips, strict=True)]


def unet(
    out_channels: int,
    *,
    channels: Sequence[int] = (32, 64, 128),
    blocks: int | Sequence[int] = 2,
    attention: Sequence[int] = (),
    head_width: int | Sequence[int] = 32,
    adaptive: bool = True,
    dropout: float = 0.0,
    patch: int = 1,
    classes: int | None = None,
    variant: UNetVariant = UNetVariant(),  # noqa: B008  (a tuple, which no one can change)
) -> Net:
    """U-Net with residual blocks, time embedding and attention; its spatial rank is that of its input.

    ``apply(params, x, t=None, vector=None, features=None, label=None, context=None, segmentation=None, control=None,
    taken=None, key=None)`` maps `x` ``[b, *spatial, c]`` to ``[b, *spatial, out_channels]``. What is None at `init`
    must be None at `apply`, but for `control` and `taken`. The last convolution starts at zero.

    - `t` ``[b]`` or a scalar is the time.
    - `vector` ``[b, e]`` is any other embedding (covariates).
    - `features` ``[b, *spatial / patch, channels[0]]`` is an encoded image that is added after the first convolution;
      a concatenated image condition is simply more channels of `x`.
    - `label` ``[b]``, with `classes`: integers, 0 to ``classes - 1`` for the classes and `classes` for the null label
      of classifier-free guidance, which also stands where `label` is None. A label out of range gives NaN.
    - `context` ``[b, m, e]``, with ``variant.cross_attention``: tokens (text, image patches) that every position
      attends to.
    - `segmentation` ``[b, *spatial, k]``, with ``variant.spade``: a one-hot map that scales and shifts the norms
      pixel by pixel.
    - `control` is a `Control`, the answer of `jaxgen.nets.controlnet`: arrays that are added to the skip connections
      and to the middle.
    - `taken` are numbers of residual blocks of the decoder, 0 the first and coarsest (a level has one block more than
      in the encoder): the answer is then the tuple of their features, each at its own resolution.

    Args:
        out_channels: channels of the result.
        channels: width of each level; each further level halves the resolution, so every spatial axis must be a
            multiple of ``patch * 2**(len(channels) - 1)``.
        blocks: residual blocks per level on the way down, one number or one per level; one more on the way up.
        attention: the levels (0 is the finest) that have self-attention.
        head_width: width of an attention head, one number or one per level; the middle has that of the last.
        adaptive: whether embeddings enter as scale and shift of the norms, or are added.
        dropout: rate inside the residual blocks; active where `key` is given.
        patch: fold blocks of ``patch`` pixels along each axis into channels before the first convolution and unfold
            the result, which makes every layer ``patch**rank`` times cheaper.
        classes: number of classes that `label` tells apart; None for a network without labels.
        variant: cross-attention, spatially adaptive norms, and details of published networks.

    Returns:
        A `Net`.

    Raises:
        ValueError: if `channels` is empty or a list has not one entry per level, or (at `init` and `apply`) if a
            spatial axis does not divide, or a label, context, segmentation or control is given to a network that does
            not take it, or is missing from one that needs it.

    Reference:
        Ronneberger et al. 2015, arXiv 1505.04597; in the form of Dhariwal & Nichol 2021, arXiv 2105.05233; context as
        Rombach et al. 2022, arXiv 2112.10752; segmentation as Park et al. 2019, arXiv 1903.07291.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = unet(1, channels=(8, 16), blocks=1)
        >>> x, t = jnp.zeros((2, 8, 8, 3)), jnp.zeros((2,))
        >>> params = net.init(jax.random.key(0), x, t)
        >>> net.apply(params, x, t).shape
        (2, 8, 8, 1)
    """
    shape = shape_of(
        channels,
        blocks=blocks,
        attention=attention,
        head_width=head_width,
        adaptive=adaptive,
        dropout=dropout,
        patch=patch,
        classes=classes,
        variant=variant,
    )
    module = _UNet(out_channels, shape, variant.time_features)

    def init(
        key: Key,
        x: Array,
        t: Array | None = None,
        vector: Array | None = None,
        features: Array | None = None,
        label: Array | None = None,
        context: Array | None = None,
        segmentation: Array | None = None,
    ) -> Params:
        shape.check(x, label, context, segmentation)
        return module.init(key, x, t, vector, features, label, context, segmentation, None, None, None)["params"]

    def apply(
        params: Params,
        x: Array,
        t: Array | None = None,
        vector: Array | None = None,
        features: Array | None = None,
        label: Array | None = None,
        context: Array | None = None,
        segmentation: Array | None = None,
        control: Control | None = None,
        taken: Sequence[int] | None = None,
        *,
        key: Key | None = None,
    ) -> Array:
        shape.check(x, label, context, segmentation)
        given = (x, t, vector, features, label, context, segmentation, control, taken, key)
        return cast(Array, module.apply({"params": params}, *given))

    return float32_answer(Net(init, apply))


def with_fresh_output(trained: Params, fresh: Params) -> Params:
    """The parameters of a trained `unet`, all but its last convolution, which is that of a fresh one.

    Args:
        trained: of a network.
        fresh: of the same network with other channels of the result.

    Returns:
        Parameters of the second network.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> one, three = (unet(k, channels=(8,), blocks=1) for k in (1, 3))
        >>> a, b = (jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1))) for net in (one, three))
        >>> three.apply(with_fresh_output(a, b), jnp.zeros((1, 8, 8, 1))).shape
        (1, 8, 8, 3)
    """
    return {**trained, LAST: fresh[LAST]}
