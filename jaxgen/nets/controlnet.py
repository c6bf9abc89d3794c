"""ControlNet: a trainable copy of a U-Net's encoder that steers the frozen U-Net by an image."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import flax.linen as nn
import jax

from jaxgen.imaging.folding import space_to_depth
from jaxgen.nets import layers
from jaxgen.nets.door import float32_answer
from jaxgen.nets.unet_blocks import Blocks, embed
from jaxgen.nets.unet_variant import Control, Shape, UNetVariant, shape_of
from jaxgen.types import Array, Key, Net, Params


class _HintEncoder(nn.Module):
    """Convolutions from the pixels of the hint to the resolution of the latent image; starts at zero."""

    channels: Sequence[int]
    out_channels: int

    @nn.compact
    def __call__(self, hint: Array) -> Array:
        h = nn.silu(layers.Conv(self.channels[0])(hint))
        for width, wider in zip(self.channels[:-1], self.channels[1:], strict=True):
            h = nn.silu(layers.Conv(width)(h))
            h = nn.silu(layers.Conv(wider, stride=2)(h))
        return layers.Conv(self.out_channels, kernel_init=nn.initializers.zeros)(h)


def _zero_convolution(h: Array, name: str) -> Array:
    return layers.Conv(h.shape[-1], width=1, kernel_init=nn.initializers.zeros, name=name)(h)


class _ControlNet(nn.Module):
    hint_channels: Sequence[int]
    shape: Shape
    time_features: Callable[[Array, int], Array]

    @nn.compact
    def __call__(
        self,
        x: Array,
        t: Array | None,
        hint: Array,
        vector: Array | None,
        label: Array | None,
        context: Array | None,
        key: Key | None,
    ) -> Control:
        shape = self.shape
        embedding = embed(shape, self.time_features, x, t, vector, label)
        blocks = Blocks(shape, embedding, context, None, key)
        if shape.patch > 1:
            x = space_to_depth(x, shape.patch)
        h = layers.Conv(shape.channels[0])(x)
        h = h + _HintEncoder(self.hint_channels, shape.channels[0], name="hint")(hint).astype(h.dtype)
        h, skips = blocks.encode(h)
        h = blocks.middle(h)
        return Control(
            tuple(_zero_convolution(skip, f"skip_{i}") for i, skip in enumerate(skips)), _zero_convolution(h, "middle")
        )


def controlnet(
    *,
    hint_channels: Sequence[int] = (16, 32, 96, 256),
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
    """ControlNet of a U-Net: its encoder and middle once more, with an image as a hint, for every spatial rank.

    ``apply(params, x, t, hint, vector=None, label=None, context=None, key=None)`` answers with a `Control`, to be given
    to the `apply` of the U-Net: ``skips[i] = Z_i(encoder_i(conv(x) + E(hint)))`` with convolutions ``Z_i`` of width 1
    that start at zero, so that a new ControlNet changes nothing. To weaken it, multiply its answer by a number below 1.

    - `x`, `t`, `vector`, `label`, `context`: as given to the U-Net.
    - `hint` ``[b, *spatial, k]`` has ``2**(len(hint_channels) - 1) / patch`` pixels for each of `x` along each axis.

    Parameters have the names that they have in the U-Net; only ``hint``, ``skip_0`` ... and ``middle`` are new, so
    `controlnet_from_unet` can copy what is shared.

    Args:
        hint_channels: widths of the encoder of the hint; each further one halves its resolution.
        channels: as of the U-Net, see `jaxgen.nets.unet`.
        blocks: likewise.
        attention: likewise.
        head_width: likewise.
        adaptive: likewise.
        dropout: likewise.
        patch: likewise.
        classes: likewise.
        variant: likewise; spatially adaptive norms are not for a ControlNet.

    Returns:
        A `Net`.

    Raises:
        ValueError: if `channels` or `hint_channels` is empty, or (at `init` and `apply`) if the hint has another
            resolution, or other inputs do not fit as told for the U-Net.

    Reference:
        Zhang et al. 2023, "Adding conditional control to text-to-image diffusion models", arXiv 2302.05543, section 3.

    Example:
        >>> import jax.numpy as jnp
        >>> net = controlnet(hint_channels=(4, 8), channels=(8, 16), blocks=1)
        >>> x, t, hint = jnp.zeros((1, 8, 8, 2)), jnp.zeros((1,)), jnp.zeros((1, 16, 16, 3))
        >>> shapes = jax.eval_shape(net.init, jax.random.key(0), x, t, hint)
        >>> control = jax.eval_shape(net.apply, shapes, x, t, hint)
        >>> len(control.skips), control.middle.shape
        (4, (1, 4, 4, 16))
    """
    if not hint_channels:
        raise ValueError("hint_channels must name at least one width")
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
    module = _ControlNet(tuple(hint_channels), shape, variant.time_features)
    factor = 2 ** (len(hint_channels) - 1)

    def check(x: Array, hint: Array, label: Array | None, context: Array | None) -> None:
        shape.check(x, label, context, None)
        wanted = tuple(n * factor // patch for n in x.shape[1:-1])
        if hint.shape[1:-1] != wanted:
            raise ValueError(f"a hint for {x.shape[1:-1]} must have {wanted} pixels, got {hint.shape[1:-1]}")

    def init(
        key: Key,
        x: Array,
        t: Array | None,
        hint: Array,
        vector: Array | None = None,
        label: Array | None = None,
        context: Array | None = None,
    ) -> Params:
        check(x, hint, label, context)
        return module.init(key, x, t, hint, vector, label, context, None)["params"]

    def apply(
        params: Params,
        x: Array,
        t: Array | None,
        hint: Array,
        vector: Array | None = None,
        label: Array | None = None,
        context: Array | None = None,
        *,
        key: Key | None = None,
    ) -> Control:
        check(x, hint, label, context)
        return cast(Control, module.apply({"params": params}, x, t, hint, vector, label, context, key))

    return float32_answer(Net(init, cast(Callable[..., Any], apply)))


def controlnet_from_unet(unet_params: Params, params: Params) -> Params:
    """Parameters of a ControlNet with all that it shares with a U-Net copied from there.

    Args:
        unet_params: of the trained U-Net.
        params: new ones of the ControlNet: the encoder of the hint and the zero convolutions stay as they are.

    Returns:
        A tree like `params`.

    Raises:
        ValueError: if the two networks were not made with the same options.

    Example:
        >>> import jax.numpy as jnp
        >>> trained, new = {"Conv_0": jnp.ones(2)}, {"Conv_0": jnp.zeros(2), "hint": jnp.zeros(1)}
        >>> {name: p.tolist() for name, p in controlnet_from_unet(trained, new).items()}
        {'Conv_0': [1.0, 1.0], 'hint': [0.0]}
    """
    own = {name for name in params if name in ("hint", "middle") or name.startswith("skip_")}

    def shapes(tree: Params) -> Params:
        return jax.tree.map(lambda p: p.shape, tree)

    wrong = [name for name in params if name not in own and shapes(unet_params.get(name)) != shapes(params[name])]
    if wrong:
        raise ValueError(f"{wrong[0]} is not the same in U-Net and ControlNet: make both with the same options")
    return {name: tree if name in own else unet_params[name] for name, tree in params.items()}
