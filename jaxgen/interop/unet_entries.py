"""The entries that the configurations of diffusers' U-Nets share, and what they mean for ours."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from jaxgen.interop.entries import Entries, Kind
from jaxgen.nets import UNetVariant
from jaxgen.nets.embedding import sinusoidal
from jaxgen.types import Array

Inputs = tuple[tuple[jax.ShapeDtypeStruct, ...], dict[str, jax.ShapeDtypeStruct]]
"""Inputs of a network after the first argument of its `init`: by place, and by name."""

DEFAULTS: dict[str, Any] = {
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "downsample_padding": 1,
    "act_fn": "silu",
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "norm_eps": 1e-5,
    "resnet_time_scale_shift": "default",
    "class_embed_type": None,
    "num_class_embeds": None,
    "_null_label": False,  # ours: whether the last row of num_class_embeds is the null label of guidance
}
COUNT = Kind((int,), 1, 2**20)
KINDS = {
    "sample_size": Kind((int,), 1, 2**16, null=True, many=2),
    "in_channels": COUNT,
    "out_channels": COUNT,
    "time_embedding_dim": COUNT._replace(null=True),
    "freq_shift": Kind((float,), 0, 1),
    "block_out_channels": Kind((int,), 1, 2**16, many=12, single=False),
    "layers_per_block": Kind((int,), 1, 32),
    "mid_block_type": Kind((str,), null=True),
    "mid_block_scale_factor": Kind((float,), -1e6, 1e6),
    "downsample_padding": Kind((int,), 0, 16),
    "dropout": Kind((float,), 0, 1),
    "attention_head_dim": COUNT._replace(null=True),
    "norm_num_groups": COUNT,
    "norm_eps": Kind((float,), 0, 1),
    "num_class_embeds": COUNT._replace(null=True),
}


def options(entries: Entries) -> dict[str, Any]:
    """Options of our U-Net that these entries give alike for every kind of network.

    Raises:
        UserError: if an entry is not supported.
    """
    channels = tuple(entries["block_out_channels"])
    if not channels:
        raise entries.error("block_out_channels", channels)
    entries.only("mid_block_scale_factor", 1)
    entries.only("act_fn", "silu", "swish")
    groups = entries["norm_num_groups"]
    if any(c % groups for c in channels):
        raise entries.error("norm_num_groups", groups)
    return {
        "channels": channels,
        "blocks": entries["layers_per_block"],
        "adaptive": entries.only("resnet_time_scale_shift", "default", "scale_shift") == "scale_shift",
        "groups": groups,
        "group_width": 1,
        "epsilon": entries["norm_eps"],
        "downsample_padding": (0, 1) if entries.only("downsample_padding", 0, 1) == 0 else (1, 1),
    }


def positional(entries: Entries) -> Callable[[Array, int], Array]:
    """The features of a time, or of another number, that the configuration describes."""
    return functools.partial(
        sinusoidal, scale=1.0, shift=entries["freq_shift"], sine_first=not entries["flip_sin_to_cos"]
    )


def arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Options as `jaxgen.nets.unet` takes them, those of its variant in their record.

    Example:
        >>> given = arguments({"channels": (8, 16), "epsilon": 1e-6})
        >>> given["channels"], given["variant"].epsilon
        ((8, 16), 1e-06)
    """
    special = {name: options[name] for name in UNetVariant._fields if name in options}
    return {name: option for name, option in options.items() if name not in special} | {
        "variant": UNetVariant(**special)
    }
