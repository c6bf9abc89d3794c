"""diffusers' AutoencoderKL as our latent autoencoder: its configuration and the names of its tensors."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.interop import autoencoders, tensors
from jaxgen.interop.autoencoders import Autoencoder
from jaxgen.interop.entries import Entries, Kind
from jaxgen.interop.tensors import Entry
from jaxgen.interop.unet_entries import Inputs
from jaxgen.nets.kl_autoencoder import KLForm, Layer, Middle, decoder_layers, encoder_layers, kl_decoder, kl_encoder
from jaxgen.types import Net, Params

_DEFAULTS = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("DownEncoderBlock2D",),
    "up_block_types": ("UpDecoderBlock2D",),
    "block_out_channels": (64,),
    "layers_per_block": 1,
    "act_fn": "silu",
    "latent_channels": 4,
    "norm_num_groups": 32,
    "use_quant_conv": True,
    "use_post_quant_conv": True,
    "mid_block_add_attention": True,
    # without effect on the two networks
    "sample_size": 32,
    "scaling_factor": 0.18215,
    "shift_factor": None,
    "latents_mean": None,
    "latents_std": None,
    "force_upcast": True,
}
_COUNT = Kind((int,), 1, 2**16)
_NUMBERS = Kind((float,), -1e6, 1e6, null=True, many=2**12)
_KINDS = {
    "in_channels": _COUNT,
    "out_channels": _COUNT,
    "block_out_channels": Kind((int,), 1, 2**16, many=12, single=False),
    "layers_per_block": Kind((int,), 1, 32),
    "latent_channels": _COUNT,
    "norm_num_groups": _COUNT,
    "sample_size": Kind((int,), 1, 2**16, null=True, many=2),
    "scaling_factor": Kind((float,), 0, 1e6),
    "shift_factor": Kind((float,), -1e6, 1e6, null=True),
    "latents_mean": _NUMBERS,
    "latents_std": _NUMBERS,
}


def _attention(entries: Entries, name: str, plain: str, attends: str) -> tuple[int, ...]:
    """The levels that attend, 0 the first that is named."""
    kinds = entries[name]
    if len(kinds) != len(entries["block_out_channels"]) or set(kinds) - {plain, attends}:
        raise entries.error(name, kinds)
    return tuple(i for i, kind in enumerate(kinds) if kind == attends)


def form_of(config: Mapping[str, Any], file: str) -> tuple[KLForm, Entries]:
    """Our form of an AutoencoderKL's configuration.

    Args:
        config: the configuration.
        file: its file's name, for messages.

    Returns:
        The form, and the entries that are not in it.

    Raises:
        UserError: if an entry is not supported.

    Example:
        >>> form_of({"block_out_channels": [32], "layers_per_block": 2}, "config.json")[0].blocks
        (2,)
    """
    entries = Entries(config, file, _DEFAULTS, _KINDS)
    entries.only("act_fn", "silu", "swish")
    channels, groups = tuple(entries["block_out_channels"]), entries["norm_num_groups"]
    down = _attention(entries, "down_block_types", "DownEncoderBlock2D", "AttnDownEncoderBlock2D")
    up = _attention(entries, "up_block_types", "UpDecoderBlock2D", "AttnUpDecoderBlock2D")
    if not channels or sorted(len(channels) - 1 - i for i in up) != list(down):
        raise entries.error("up_block_types", entries["up_block_types"])  # unlike its down_block_types
    if any(width % groups for width in channels):
        raise entries.error("norm_num_groups", groups)
    middle: Middle = "attention" if entries["mid_block_add_attention"] else "residual"
    form = KLForm(
        channels,
        (entries["layers_per_block"],) * len(channels),
        attention=down,
        encoder_middle=middle,
        decoder_middle=middle,
        encoder_projection=entries["use_quant_conv"],
        decoder_projection=entries["use_post_quant_conv"],
        groups=groups,
    )
    return form, entries


def nets(config: Mapping[str, Any], file: str = "config") -> Autoencoder:
    """Our two networks of an AutoencoderKL's configuration: those that `jaxgen.interop.diffusers` has as one.

    ``loaded = diffusers.load(FOLDER / "vae")`` has their parameters, ``loaded.params["encoder"]`` and ``["decoder"]``,
    and in ``loaded.config["scaling_factor"]`` the scale of codes for `jaxgen.families.latent_autoencoder.encode`.

    Args:
        config: entries of ``config.json``.
        file: its name, for messages.

    Returns:
        Encoder and decoder.

    Raises:
        UserError: if an entry is not supported.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> encoder, _ = nets({"block_out_channels": [32], "latent_channels": 2})
        >>> x = jnp.zeros((1, 8, 8, 3))
        >>> jax.eval_shape(lambda key: encoder.apply(encoder.init(key, x), x), jax.random.key(0)).shape
        (1, 8, 8, 4)
    """
    form, entries = form_of(config, file)
    return Autoencoder(kl_encoder(entries["latent_channels"], form), kl_decoder(entries["out_channels"], form))


def network(config: Mapping[str, Any], file: str) -> tuple[Net, dict[str, Any]]:
    """One network that reconstructs images, for `jaxgen.interop.diffusers`, and the layers of its two parts.

    Args:
        config: the configuration.
        file: its file's name, for messages.

    Returns:
        The network, with the groups of parameters ``"encoder"`` and ``"decoder"``, and the options for `names`.

    Raises:
        UserError: if an entry is not supported.
    """
    form, entries = form_of(config, file)
    layers = {
        "encoder": encoder_layers(entries["latent_channels"], form),
        "decoder": decoder_layers(entries["out_channels"], form),
    }
    return autoencoders.reconstruction(nets(config, file)), {"layers": layers, "levels": len(form.channels)}


def inputs(config: Mapping[str, Any]) -> Inputs:
    """Shapes of inputs for the `init` of a supported configuration's network."""
    entries = Entries(config, "config", _DEFAULTS, _KINDS)
    size = 2 ** len(entries["block_out_channels"])
    return (jax.ShapeDtypeStruct((1, size, size, entries["in_channels"]), jnp.float32),), {}


def names(options: Mapping[str, Any], params: Params) -> Iterator[Entry]:
    """Our parameters and their tensors.

    Args:
        options: of `network`.
        params: its parameters, or their shapes.

    Yields:
        One entry for each parameter.
    """
    for side, layers in options["layers"].items():
        yield from _side(side, layers, options["levels"], params[side])


def _side(side: str, layers: Sequence[Layer], levels: int, params: Params) -> Iterator[Entry]:
    count: Counter[str] = Counter()
    ends = iter(("conv_in", "conv_out"))
    for layer in layers:
        path = (side, layer.name)
        if layer.level is None:
            block = f"{side}.mid_block"
        elif side == "encoder":
            block = f"encoder.down_blocks.{layer.level}"
        else:
            block = f"decoder.up_blocks.{levels - 1 - layer.level}"
        if layer.kind == "residual":
            name = f"{block}.resnets.{count[f'{block} resnets']}"
            count[f"{block} resnets"] += 1
            yield from residual(path, name, params[layer.name], "conv{}", "conv_shortcut")
        elif layer.kind == "attention":
            name = f"{block}.attentions.{count[f'{block} attentions']}"
            count[f"{block} attentions"] += 1
            yield from tensors.norm((*path, "GroupNorm_0"), f"{name}.group_norm")
            yield from tensors.attention_inputs((*path, "Dense_0"), name, 1)
            yield from tensors.dense((*path, "Dense_1"), f"{name}.to_out.0")
        elif layer.kind in ("downsample", "upsample"):
            yield from tensors.convolution((*path, "Conv_0"), f"{block}.{layer.kind}rs.0.conv")
        elif layer.kind == "norm":
            yield from tensors.norm(path, f"{side}.conv_norm_out")
        elif layer.kind == "projection":
            yield from tensors.convolution(path, "quant_conv" if side == "encoder" else "post_quant_conv")
        else:
            yield from tensors.convolution(path, f"{side}.{next(ends)}")


def residual(path: tuple[str, ...], name: str, params: Params, convolution: str, shortcut: str) -> Iterator[Entry]:
    """A residual block without an embedding.

    Args:
        path: of our block.
        name: of theirs.
        params: of our block, or their shapes.
        convolution: what its convolutions are called, with ``{}`` for their number, 1 or 2.
        shortcut: what the convolution of the skip connection is called.

    Yields:
        One entry for each parameter.
    """
    for i in (0, 1):
        yield from tensors.norm((*path, f"GroupNorm_{i}"), f"{name}.norm{i + 1}")
        yield from tensors.convolution((*path, f"Conv_{i}"), f"{name}.{convolution.format(i + 1)}")
    if "Conv_2" in params:
        yield from tensors.convolution((*path, "Conv_2"), f"{name}.{shortcut}")
