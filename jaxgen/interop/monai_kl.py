"""MONAI's AutoencoderKL and AutoencoderKlMaisi as our latent autoencoder: configuration and names of tensors."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxgen.errors import UserError
from jaxgen.interop import tensors
from jaxgen.interop.autoencoder_kl import residual
from jaxgen.interop.autoencoders import Autoencoder
from jaxgen.interop.entries import Entries, Kind
from jaxgen.interop.tensors import Entry
from jaxgen.nets.kl_autoencoder import (
    KLForm,
    Layer,
    Middle,
    Upsampling,
    decoder_layers,
    encoder_layers,
    kl_decoder,
    kl_encoder,
    monai_form,
)
from jaxgen.types import Params

MAISI = "AutoencoderKlMaisi"
_DEFAULTS = {
    "spatial_dims": None,
    "in_channels": 1,
    "out_channels": 1,
    "num_res_blocks": (2, 2, 2, 2),
    "channels": (32, 64, 64, 64),
    "attention_levels": (False, False, True, True),
    "latent_channels": 3,
    "norm_num_groups": 32,
    "norm_eps": 1e-6,
    "with_encoder_nonlocal_attn": True,
    "with_decoder_nonlocal_attn": True,
    "use_convtranspose": False,
    "include_fc": True,
    "use_combined_linear": False,
    # without effect on the two networks
    "use_checkpoint": False,
    "use_flash_attention": False,
    "upcast_attention": False,
}
_MAISI = {
    "with_encoder_nonlocal_attn": False,
    "with_decoder_nonlocal_attn": False,
    "include_fc": False,
    # how it saves memory, without effect on the two networks: `jaxgen.nets.tiled_kl_decoder` is what does it here
    "num_splits": 16,
    "dim_split": 0,
    "norm_float16": False,
    "print_info": False,
    "save_mem": True,
}
_COUNT = Kind((int,), 1, 2**16)
_KINDS = {
    "spatial_dims": Kind((int,), 1, 3, null=True),
    "in_channels": _COUNT,
    "out_channels": _COUNT,
    "num_res_blocks": Kind((int,), 0, 32, many=12),
    "channels": Kind((int,), 1, 2**16, many=12, single=False),
    "attention_levels": Kind((bool,), many=12, single=False),
    "latent_channels": _COUNT,
    "norm_num_groups": _COUNT,
    "norm_eps": Kind((float,), 0, 1),
}
_RENAMED = {"num_channels": "channels", "use_checkpointing": "use_checkpoint"}


def entries_of(config: Mapping[str, Any], file: str, maisi: bool) -> tuple[KLForm, Entries]:
    """Our form of the keyword arguments that make MONAI's network, with those of earlier versions.

    Args:
        config: the arguments.
        file: where they are from, for messages.
        maisi: whether they are of AutoencoderKlMaisi.

    Returns:
        The form, and the entries that are not in it.

    Raises:
        UserError: if an entry is not supported, or ``spatial_dims`` is missing.
    """
    defaults = _DEFAULTS | (_MAISI if maisi else {})
    given = {_RENAMED.get(name, name): value for name, value in config.items()}
    target = str(config.get("_target_"))
    if target.startswith("generative."):
        given.setdefault("include_fc", False)  # monai-generative has this layer and does not apply it
    entries = Entries(given, file, defaults, _KINDS, "jaxgen.interop.monai_autoencoder")
    if entries["spatial_dims"] is None:
        raise UserError(f"{file}: lacks spatial_dims; give 2 for images or 3 for volumes")
    channels, groups, count = tuple(entries["channels"]), entries["norm_num_groups"], entries["num_res_blocks"]
    blocks = (count,) * len(channels) if isinstance(count, int) else tuple(count)
    for name, row in (("num_res_blocks", blocks), ("attention_levels", entries["attention_levels"])):
        if len(row) != len(channels) or not channels:
            raise UserError(f"{file}: {name} has {len(row)} entries, and channels has {len(channels)}")
    if any(width % groups for width in channels):
        raise entries.error("norm_num_groups", groups)
    middle: dict[bool, Middle] = {True: "attention", False: "none"}
    form = monai_form(
        channels,
        blocks,
        attention=tuple(i for i, attends in enumerate(entries["attention_levels"]) if attends),
        encoder_middle=middle[entries["with_encoder_nonlocal_attn"]],
        decoder_middle=middle[entries["with_decoder_nonlocal_attn"]],
        groups=groups,
        epsilon=entries["norm_eps"],
        upsampling=_upsampling(entries, target),
    )
    return form, entries


def _upsampling(entries: Entries, target: str) -> Upsampling:
    maisi = target.endswith(MAISI)
    if not entries["use_convtranspose"]:
        return "linear" if maisi else "nearest"
    return "transposed" if maisi or target.startswith("generative.") else "transposed of width 2"


def nets(form: KLForm, entries: Entries) -> Autoencoder:
    """The two networks of what `entries_of` found."""
    return Autoencoder(kl_encoder(entries["latent_channels"], form), kl_decoder(entries["out_channels"], form))


def names(form: KLForm, entries: Entries, params: Params, maisi: bool) -> Iterator[Entry]:
    """Our parameters and MONAI's tensors.

    Args:
        form: of `entries_of`.
        entries: of `entries_of`.
        params: the parameters of both networks, or their shapes.
        maisi: whether the names are those of AutoencoderKlMaisi.

    Yields:
        One entry for each parameter.
    """
    plans = encoder_layers(entries["latent_channels"], form), decoder_layers(entries["out_channels"], form)
    for side, plan in zip(("encoder", "decoder"), plans, strict=True):
        blocks = [layer for layer in plan if layer.kind != "projection"]
        for i, layer in enumerate(blocks):
            yield from _layer((side, layer.name), f"{side}.blocks.{i}", layer, entries, params[side][layer.name], maisi)
    yield from _moments(("encoder", "projection_0"), ("quant_conv_mu.conv", "quant_conv_log_sigma.conv"))
    yield from tensors.convolution(("decoder", "projection_0"), "post_quant_conv.conv")


def _layer(
    path: tuple[str, ...], name: str, layer: Layer, entries: Entries, params: Params, maisi: bool
) -> Iterator[Entry]:
    inner = "conv.conv" if maisi else "conv"  # MAISI's convolutions have one more wrapping
    if layer.kind == "residual":
        own = inner if layer.level is not None else "conv"
        yield from residual(path, name, params, f"conv{{}}.{own}", f"nin_shortcut.{own}")
    elif layer.kind == "attention":
        yield from _attention(path, name, entries, params["Dense_1"]["bias"].shape[0])
    elif layer.kind == "norm":
        yield from tensors.norm(path, name)
    elif layer.kind == "convolution":
        yield from tensors.convolution(path, f"{name}.{inner}")
    elif layer.kind == "upsample" and entries["use_convtranspose"]:
        wide = params["kernel"].shape[0] == 3
        yield from tensors.transposed_convolution(path, f"{name}.conv.{inner}" if wide else f"{name}.deconv")
    else:
        wrapping = "postconv" if layer.kind == "upsample" and not maisi else "conv"
        yield from tensors.convolution((*path, "Conv_0"), f"{name}.{wrapping}.{inner}")


def _attention(path: tuple[str, ...], name: str, entries: Entries, width: int) -> Iterator[Entry]:
    yield from tensors.norm((*path, "GroupNorm_0"), f"{name}.norm")
    if entries["use_combined_linear"]:
        yield from tensors.dense((*path, "Dense_0"), f"{name}.attn.qkv")
    else:
        yield from tensors.attention_inputs((*path, "Dense_0"), f"{name}.attn", 1)
    if entries["include_fc"]:
        yield from tensors.dense((*path, "Dense_1"), f"{name}.attn.out_proj")
    else:
        yield _constant((*path, "Dense_1", "kernel"), np.eye(width, dtype=np.float32))
        yield _constant((*path, "Dense_1", "bias"), np.zeros(width, np.float32))


def _constant(path: tuple[str, ...], value: np.ndarray) -> Entry:
    """A parameter that their network does not have: it leaves the features as they are."""

    def theirs(x: np.ndarray) -> Sequence[np.ndarray]:
        if not np.array_equal(x, value):
            raise UserError(
                f"include_fc is false, and the parameter {'/'.join(path)} has been trained: save with include_fc true"
            )
        return ()

    return Entry(path, (), lambda: value, theirs)


def _moments(path: tuple[str, ...], pair: tuple[str, str]) -> Iterator[Entry]:
    """Mean and log-variance: one 1 x 1 convolution here, two there."""
    yield Entry(
        (*path, "kernel"),
        tuple(f"{name}.weight" for name in pair),
        lambda *parts: np.moveaxis(np.concatenate(parts), (1, 0), (-2, -1)),
        lambda x: np.split(np.moveaxis(x, (-2, -1), (1, 0)), 2),
    )
    yield Entry(
        (*path, "bias"),
        tuple(f"{name}.bias" for name in pair),
        lambda *parts: np.concatenate(parts),
        lambda x: np.split(x, 2),
    )


def standard(name: str) -> str:
    """One name for a tensor whose name changed from monai-generative to MONAI, and is another in MAISI.

    Example:
        >>> {standard(f"decoder.blocks.6.{kind}.weight") for kind in ("conv.conv", "postconv.conv", "conv.conv.conv")}
        {'decoder.blocks.6.conv.weight'}
        >>> standard("encoder.blocks.2.attn.out_proj.bias")
        'encoder.blocks.2.proj_attn.bias'
    """
    name = name.replace(".postconv.", ".conv.").replace(".attn.", ".").replace(".out_proj.", ".proj_attn.")
    return re.sub(r"(\.conv)+\.(weight|bias)$", r".conv.\2", name)
