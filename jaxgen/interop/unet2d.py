"""diffusers' UNet2DModel as our U-Net: its configuration and the names of its tensors."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.interop import labels, unet_entries
from jaxgen.interop.entries import Entries
from jaxgen.interop.tensors import Entry
from jaxgen.interop.unet_entries import Inputs
from jaxgen.interop.unet_names import Names
from jaxgen.nets import unet
from jaxgen.nets.embedding import GaussianFourier
from jaxgen.nets.unet_variant import Shape, shape_of
from jaxgen.types import Array, Net, Params

_DEFAULTS = unet_entries.DEFAULTS | {
    "sample_size": None,
    "in_channels": 3,
    "out_channels": 3,
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "time_embedding_dim": None,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
    "mid_block_type": "UNetMidBlock2D",
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (224, 448, 672, 896),
    "downsample_type": "conv",
    "upsample_type": "conv",
    "dropout": 0.0,
    "attn_norm_num_groups": None,
    "add_attention": True,
    "num_train_timesteps": None,
}
_DIMENSIONS = unet_entries.KINDS | {
    "attn_norm_num_groups": unet_entries.COUNT._replace(null=True),
    "num_train_timesteps": unet_entries.COUNT._replace(null=True),
}
_KINDS = {  # (attends, changes resolution inside a residual block; None: as downsample_type or upsample_type says)
    "DownBlock2D": (False, False),
    "AttnDownBlock2D": (True, None),
    "ResnetDownsampleBlock2D": (False, True),
    "UpBlock2D": (False, False),
    "AttnUpBlock2D": (True, None),
    "ResnetUpsampleBlock2D": (False, True),
}


def _levels(entries: Entries, direction: str) -> tuple[list[int], set[bool]]:
    """The levels that attend, and the ways in which this half of the network changes resolution."""
    name, resample = f"{direction}_block_types", f"{direction}sample_type"
    residual = entries.only(resample, "conv", "resnet") == "resnet"
    kinds = [_KINDS.get(kind.removeprefix("UNetRes")) for kind in entries[name]]
    if len(kinds) != len(entries["block_out_channels"]):
        raise entries.error(name, entries[name])
    attention, ways = [], set()
    for i, kind in enumerate(kinds):
        if kind is None or direction.capitalize() not in entries[name][i]:
            raise entries.error(name, entries[name])
        level = i if direction == "down" else len(kinds) - 1 - i
        if kind[0]:
            attention.append(level)
        if i < len(kinds) - 1:
            ways.add(residual if kind[1] is None else kind[1])
    return sorted(attention), ways


def network(config: Mapping[str, Any], file: str) -> tuple[Net, Shape]:
    """Our U-Net of a UNet2DModel's configuration; see `jaxgen.interop.diffusers.network`.

    Args:
        config: the configuration.
        file: its file's name, for messages.

    Returns:
        The network, and what it was made of.

    Raises:
        UserError: if an entry is not supported.
    """
    entries = Entries(config, file, _DEFAULTS, _DIMENSIONS)
    options = unet_entries.options(entries)
    channels, head_width = options["channels"], entries["attention_head_dim"]
    for name in ("mid_block_type", "class_embed_type"):
        entries.only(name, _DEFAULTS[name])
    entries.only("time_embedding_dim", None, 4 * channels[0])
    attention, down = _levels(entries, "down")
    attention_up, up = _levels(entries, "up")
    if attention_up != attention or len(down | up) > 1:
        raise entries.error("up_block_types", entries["up_block_types"])  # unlike its down_block_types
    attends = [channels[level] for level in attention] + ([channels[-1]] if entries["add_attention"] else [])
    if head_width is not None and any(c % head_width for c in attends):
        raise entries.error("attention_head_dim", head_width)
    middle_groups = entries["attn_norm_num_groups"]
    if middle_groups is None and options["adaptive"]:
        middle_groups = 0
    fourier = entries.only("time_embedding_type", "positional", "fourier") == "fourier"
    classes = entries["num_class_embeds"]
    options |= {
        "attention": tuple(attention),
        "middle_attention": bool(entries["add_attention"]),
        "head_width": max(channels) if head_width is None else head_width,
        "dropout": entries["dropout"],
        "middle_groups": middle_groups,
        "classes": None if classes is None else classes - 1,
        "time_features": GaussianFourier() if fourier else unet_entries.positional(entries),
        "residual_resampling": True in down | up,
    }
    arguments = unet_entries.arguments(options)
    net = unet(entries["out_channels"], **arguments)
    centred = entries["center_input_sample"]

    def apply(params: Params, x: Array, t: Array, *rest: Any, **named: Any) -> Array:
        out = net.apply(params, 2 * x - 1 if centred else x, t, *rest, **named)
        if not fourier:
            return out
        level = t if getattr(t, "ndim", 0) == 0 else t.reshape(-1, *(1,) * (x.ndim - 1))
        return (out / level).astype(out.dtype)

    if classes is not None:
        apply = labels.checked(apply, classes, null=entries["_null_label"])
    return Net(net.init, apply), shape_of(**arguments)


def inputs(config: Mapping[str, Any]) -> Inputs:
    """Shapes of inputs for the `init` of a supported configuration's network."""
    entries = Entries(config, "config", _DEFAULTS, _DIMENSIONS)
    size = 2 ** (len(entries["block_out_channels"]) - 1)
    shapes = (1, size, size, entries["in_channels"]), (1,)
    return tuple(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes), {}


def names(shape: Shape, params: Params) -> Iterator[Entry]:
    """Our parameters and their tensors.

    Args:
        shape: what our U-Net was made of.
        params: its parameters, or their shapes.

    Yields:
        One entry for each parameter.
    """
    walk = Names(shape, params)
    yield from walk.embedding()
    yield from walk.encoder()
    yield from walk.middle()
    yield from walk.decoder()


_OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def new_name(name: str) -> str:
    """The present name of a tensor: attention layers were once named otherwise.

    Example:
        >>> new_name("mid_block.attentions.0.proj_attn.bias")
        'mid_block.attentions.0.to_out.0.bias'
    """
    old = "|".join(_OLD)
    return re.sub(rf"(attentions\.\d+)\.({old})\.", lambda match: f"{match[1]}.{_OLD[match[2]]}.", name)
