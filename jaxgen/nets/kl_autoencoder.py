"""The autoencoder of latent diffusion, as published: that of Stable Diffusion and that of MONAI, in 2-D and 3-D."""

import functools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, cast

import flax.linen as nn

from jaxgen.nets import layers, resampling, residual
from jaxgen.nets.attention import SelfAttention
from jaxgen.nets.door import float32_answer
from jaxgen.nets.transposed_convolution import TransposedConv
from jaxgen.types import Array, Key, Net, Params

Middle = Literal["attention", "residual", "none"]
Upsampling = Literal["nearest", "linear", "transposed", "transposed of width 2"]
_Part = tuple[str, int | None, int | None]
ENLARGE: dict[str, Callable[[Array], Array] | None] = {"nearest": None, "linear": resampling.double}
"""What doubles the resolution before the convolution of an upsampling layer; None is repetition within it."""
TRANSPOSED = {
    "transposed": {"width": 3, "padding": 1, "output_padding": 1},
    "transposed of width 2": {"width": 2, "padding": 0, "output_padding": 0},
}
"""The transposed convolutions that double the resolution by themselves."""


class KLForm(NamedTuple):
    """What the published autoencoders have in common, and where they differ. The defaults are Stable Diffusion's.

    Attributes:
        channels: width of each level, the finest first; each further level halves the resolution.
        blocks: residual blocks of each level of the encoder.
        more_blocks: residual blocks that each level of the decoder has in addition.
        attention: the levels (0 is the finest) with self-attention after each residual block.
        encoder_middle: the coarsest resolution ends in two residual blocks with attention between them
            (``"attention"``), in the two blocks alone (``"residual"``), or in neither (``"none"``).
        decoder_middle: likewise, where the decoder begins.
        final_activation: whether SiLU stands between the last group norm and the last convolution.
        moments: the layer that makes mean and log-variance for each channel of the code: the last 3 x 3 convolution of
            the encoder (``"convolution"``), or a 1 x 1 convolution after it (``"projection"``).
        encoder_projection: whether the encoder ends in a 1 x 1 convolution.
        decoder_projection: whether the decoder begins with a 1 x 1 convolution.
        groups: of the group norms; it must divide each width.
        epsilon: added to the variance in group norms.
        upsampling: how the resolution is doubled: ``"nearest"`` or ``"linear"`` before a convolution, or by a
            transposed convolution of width 3 (``"transposed"``) or 2 (``"transposed of width 2"``).
        remat: recompute each block in the backward pass, which takes a third more time and far less memory. The
            parameters are the same.
    """

    channels: Sequence[int] = (128, 256, 512, 512)
    blocks: Sequence[int] = (2, 2, 2, 2)
    more_blocks: int = 1
    attention: Sequence[int] = ()
    encoder_middle: Middle = "attention"
    decoder_middle: Middle = "attention"
    final_activation: bool = True
    moments: Literal["convolution", "projection"] = "convolution"
    encoder_projection: bool = True
    decoder_projection: bool = True
    groups: int = 32
    epsilon: float = 1e-6
    upsampling: Upsampling = "nearest"
    remat: bool = False


def monai_form(channels: Sequence[int], blocks: int | Sequence[int] = 2, **options: Any) -> KLForm:
    """MONAI's autoencoder: as many blocks in the decoder, no SiLU at the ends, moments from 1 x 1 convolutions.

    Args:
        channels: width of each level, the finest first.
        blocks: residual blocks of each level.
        options: further fields of `KLForm`.

    Returns:
        The form.

    Example:
        >>> brain = monai_form((64, 128, 128, 128), encoder_middle="none", decoder_middle="none")
        >>> brain.blocks, brain.more_blocks
        ((2, 2, 2, 2), 0)
    """
    each = (blocks,) * len(channels) if isinstance(blocks, int) else tuple(blocks)
    own = {"more_blocks": 0, "final_activation": False, "moments": "projection"}
    return KLForm(tuple(channels), each, **{**own, **options})


def published_form(name: str, channels: Sequence[int]) -> KLForm:
    """A published autoencoder at any widths: two blocks per level, as many groups as divide the widths, at most 32.

    Args:
        name: ``"stable_diffusion"``, or ``"monai"`` for that of brain volumes.
        channels: width of each level, the finest first.

    Returns:
        The form.

    Raises:
        ValueError: for another name.

    Example:
        >>> published_form("monai", (8, 16)).groups
        8
    """
    if name not in ("stable_diffusion", "monai"):
        raise ValueError(f"no published autoencoder is called {name!r}; there are stable_diffusion and monai")
    if name == "monai":
        form = monai_form(channels, encoder_middle="none", decoder_middle="none")
    else:
        form = KLForm(tuple(channels), (2,) * len(channels))
    return form._replace(groups=math.gcd(32, *channels))


class Layer(NamedTuple):
    """One layer of an encoder or decoder.

    Attributes:
        kind: ``"convolution"``, ``"projection"``, ``"residual"``, ``"attention"``, ``"downsample"``, ``"upsample"`` or
            ``"norm"``, the last with SiLU where the form has it.
        name: of its parameters.
        features: channels of its result; None for as many as it is given.
        level: 0 is the finest; None in the middle and at the ends.
    """

    kind: str
    name: str
    features: int | None = None
    level: int | None = None


def _named(parts: Sequence[_Part]) -> list[Layer]:
    count: Counter[str] = Counter()
    found = []
    for kind, features, level in parts:
        found.append(Layer(kind, f"{kind}_{count[kind]}", features, level))
        count[kind] += 1
    return found


def _middle(kind: Middle, width: int) -> list[_Part]:
    block: _Part = ("residual", width, None)
    between: list[_Part] = [("attention", None, None)] if kind == "attention" else []
    return [] if kind == "none" else [block, *between, block]


def _level(level: int, blocks: int, form: KLForm) -> list[_Part]:
    attention: list[_Part] = [("attention", None, level)] if level in form.attention else []
    return [("residual", form.channels[level], level), *attention] * blocks


def encoder_layers(code: int, form: KLForm) -> list[Layer]:
    """The layers of an encoder, in order.

    Args:
        code: channels of the code.
        form: see `KLForm`.

    Returns:
        The layers.

    Example:
        >>> form = monai_form((8, 16), 1, encoder_middle="none")
        >>> [layer.kind for layer in encoder_layers(3, form)]
        ['convolution', 'residual', 'downsample', 'residual', 'norm', 'convolution', 'projection']
    """
    parts: list[_Part] = [("convolution", form.channels[0], None)]
    for level in range(len(form.channels)):
        parts += _level(level, form.blocks[level], form)
        if level < len(form.channels) - 1:
            parts.append(("downsample", None, level))
    parts += _middle(form.encoder_middle, form.channels[-1])
    last = code if form.moments == "projection" else 2 * code
    parts += [("norm", None, None), ("convolution", last, None)]
    return _named([*parts, ("projection", 2 * code, None)] if form.encoder_projection else parts)


def decoder_layers(features: int, form: KLForm) -> list[Layer]:
    """The layers of a decoder, in order.

    Args:
        features: channels of the image.
        form: see `KLForm`.

    Returns:
        The layers.

    Example:
        >>> form = monai_form((8, 16), 1, decoder_middle="none")
        >>> [layer.name for layer in decoder_layers(1, form)][:5]
        ['projection_0', 'convolution_0', 'residual_0', 'upsample_0', 'residual_1']
    """
    parts: list[_Part] = [("projection", None, None)] if form.decoder_projection else []
    parts += [("convolution", form.channels[-1], None), *_middle(form.decoder_middle, form.channels[-1])]
    for level in reversed(range(len(form.channels))):
        parts += _level(level, form.blocks[level] + form.more_blocks, form)
        if level > 0:
            parts.append(("upsample", None, level))
    return _named([*parts, ("norm", None, None), ("convolution", features, None)])


def norm_of(form: KLForm) -> Callable[..., nn.Module]:
    """The group norm of a form."""
    return functools.partial(layers.GroupNorm, form.groups, 1, form.epsilon)


class _Layered(nn.Module):
    plan: Sequence[Layer]
    form: KLForm

    @nn.compact
    def __call__(self, h: Array) -> Array:
        form, norm = self.form, norm_of(self.form)
        kept: Callable[[Any], Any] = nn.remat if form.remat else lambda module: module
        for kind, name, features, _ in self.plan:
            width = h.shape[-1] if features is None else features
            if kind == "residual":
                h = kept(residual.ResidualBlock)(width, norm=norm, name=name)(h)
            elif kind == "attention":
                h = kept(SelfAttention)(width, norm, name=name)(h)
            elif kind == "downsample":
                h = residual.Downsample(width, (0, 1), name=name)(h)
            elif kind == "upsample" and form.upsampling in TRANSPOSED:
                h = kept(TransposedConv)(width, **TRANSPOSED[form.upsampling], name=name)(h)
            elif kind == "upsample":
                h = kept(residual.Upsample)(width, ENLARGE[form.upsampling], name=name)(h)
            elif kind == "norm":
                h = norm(name=name)(h)
                h = nn.silu(h) if form.final_activation else h
            else:
                h = layers.Conv(width, width=3 if kind == "convolution" else 1, name=name)(h)
        return h


def kl_encoder(code: int, form: KLForm = KLForm()) -> Net:  # noqa: B008  (a tuple, which no one can change)
    """The encoder of a published latent autoencoder.

    ``apply(params, x)`` maps ``[b, *spatial, c]`` to mean and log-variance of a code side by side, ``[b, *spatial / f,
    2 code]`` with ``f = 2^(levels - 1)``, as `jaxgen.families.latent_autoencoder_model` takes it.

    Args:
        code: channels of the code.
        form: which of the published ones it is; see `KLForm` and `monai_form`.

    Returns:
        A `Net`.

    Raises:
        ValueError: if the form contradicts itself; when called, if the size of an image is no multiple of f.

    Reference:
        Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models", arXiv 2112.10752, section
        3.1; in 3-D: Pinaya et al. 2022, "Brain imaging generation with latent diffusion models", arXiv 2209.07162.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = kl_encoder(3, monai_form((8, 16), 1, groups=4, encoder_middle="none"))
        >>> x = jnp.zeros((1, 8, 8, 1))
        >>> jax.eval_shape(lambda key: net.apply(net.init(key, x), x), jax.random.key(0)).shape
        (1, 4, 4, 6)
    """
    _check(form)
    multiple = 2 ** (len(form.channels) - 1)

    def check(x: Array) -> None:
        if any(n % multiple for n in x.shape[1:-1]):
            raise ValueError(f"spatial shape {x.shape[1:-1]} must be a multiple of {multiple} along every axis")

    return _net(_Layered(tuple(encoder_layers(code, form)), form), check)


def kl_decoder(features: int, form: KLForm = KLForm()) -> Net:  # noqa: B008  (a tuple, which no one can change)
    """The decoder of a published latent autoencoder, to `kl_encoder`.

    ``apply(params, z)`` maps a code ``[b, *spatial / f, code]`` to ``[b, *spatial, features]``. Large volumes:
    `jaxgen.nets.tiled_kl_decoder`.

    Args:
        features: channels of the image.
        form: as of the encoder.

    Returns:
        A `Net`.

    Raises:
        ValueError: if the form contradicts itself.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = kl_decoder(1, monai_form((8, 16), 1, groups=4, decoder_middle="none"))
        >>> z = jnp.zeros((1, 4, 4, 3))
        >>> jax.eval_shape(lambda key: net.apply(net.init(key, z), z), jax.random.key(0)).shape
        (1, 8, 8, 1)
    """
    _check(form)
    return _net(_Layered(tuple(decoder_layers(features, form)), form), lambda z: None)


def _net(module: _Layered, check: Callable[[Array], None]) -> Net:
    def init(key: Key, x: Array) -> Params:
        check(x)
        return module.init(key, x)["params"]

    def apply(params: Params, x: Array, *, key: Key | None = None) -> Array:
        del key
        check(x)
        return cast(Array, module.apply({"params": params}, x))

    return float32_answer(Net(init, apply))


def _check(form: KLForm) -> None:
    if not form.channels or len(form.blocks) != len(form.channels):
        raise ValueError(f"blocks must name one count for each of the {len(form.channels)} levels, got {form.blocks}")
    uneven = [width for width in form.channels if width % form.groups]
    if uneven:
        raise ValueError(f"groups {form.groups} must divide each width, and does not divide {uneven[0]}")
    if form.moments == "projection" and not form.encoder_projection:
        raise ValueError("moments='projection' needs encoder_projection")
