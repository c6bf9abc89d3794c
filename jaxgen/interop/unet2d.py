"""diffusers' UNet2DModel as our U-Net: its configuration and the names of its tensors."""

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jaxgen.interop import labels, tensors
from jaxgen.interop.entries import Entries, Kind
from jaxgen.interop.tensors import Entry
from jaxgen.nets import UNetVariant, unet
from jaxgen.nets.embedding import GaussianFourier, sinusoidal
from jaxgen.types import Array, Key, Net, Params

_DEFAULTS = {
    "sample_size": None,
    "in_channels": 3,
    "out_channels": 3,
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "time_embedding_dim": None,
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
    "mid_block_type": "UNetMidBlock2D",
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (224, 448, 672, 896),
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "downsample_padding": 1,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "dropout": 0.0,
    "act_fn": "silu",
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "attn_norm_num_groups": None,
    "norm_eps": 1e-5,
    "resnet_time_scale_shift": "default",
    "add_attention": True,
    "class_embed_type": None,
    "num_class_embeds": None,
    "num_train_timesteps": None,
    "_null_label": False,  # ours: whether the last row of num_class_embeds is the null label of guidance
}
_COUNT, _FEW = Kind((int,), 1, 2**20), Kind((int,), 1, 32)
_DIMENSIONS = {
    "sample_size": Kind((int,), 1, 2**16, null=True, many=2),
    "in_channels": _COUNT,
    "out_channels": _COUNT,
    "time_embedding_dim": _COUNT._replace(null=True),
    "freq_shift": Kind((float,), 0, 1),
    "block_out_channels": Kind((int,), 1, 2**16, many=12, single=False),
    "layers_per_block": _FEW,
    "mid_block_type": Kind((str,), null=True),
    "mid_block_scale_factor": Kind((float,), -1e6, 1e6),
    "downsample_padding": Kind((int,), 0, 16),
    "dropout": Kind((float,), 0, 1),
    "attention_head_dim": _COUNT._replace(null=True),
    "norm_num_groups": _COUNT,
    "attn_norm_num_groups": _COUNT._replace(null=True),
    "norm_eps": Kind((float,), 0, 1),
    "num_class_embeds": _COUNT._replace(null=True),
    "num_train_timesteps": _COUNT._replace(null=True),
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


def network(config: Mapping[str, Any], file: str) -> tuple[Net, dict[str, Any]]:
    """Our U-Net of a UNet2DModel's configuration; see `jaxgen.interop.diffusers.network`.

    Args:
        config: the configuration.
        file: its file's name, for messages.

    Returns:
        The network, and the options it was made with.

    Raises:
        UserError: if an entry is not supported.
    """
    entries = Entries(config, file, _DEFAULTS, _DIMENSIONS)
    if not entries["block_out_channels"]:
        raise entries.error("block_out_channels", entries["block_out_channels"])
    for name in ("mid_block_type", "mid_block_scale_factor", "class_embed_type"):
        entries.only(name, _DEFAULTS[name])
    entries.only("time_embedding_dim", None, 4 * entries["block_out_channels"][0])
    entries.only("act_fn", "silu", "swish")
    channels, head_width = tuple(entries["block_out_channels"]), entries["attention_head_dim"]
    attention, down = _levels(entries, "down")
    attention_up, up = _levels(entries, "up")
    if attention_up != attention or len(down | up) > 1:
        raise entries.error("up_block_types", entries["up_block_types"])  # unlike its down_block_types
    attends = [channels[level] for level in attention] + ([channels[-1]] if entries["add_attention"] else [])
    if head_width is not None and any(c % head_width for c in attends):
        raise entries.error("attention_head_dim", head_width)
    groups = entries["norm_num_groups"]
    if any(c % groups for c in channels):
        raise entries.error("norm_num_groups", groups)
    adaptive = entries.only("resnet_time_scale_shift", "default", "scale_shift") == "scale_shift"
    middle_groups = entries["attn_norm_num_groups"]
    if middle_groups is None and adaptive:
        middle_groups = 0
    fourier = entries.only("time_embedding_type", "positional", "fourier") == "fourier"
    positional = functools.partial(
        sinusoidal, scale=1.0, shift=entries["freq_shift"], sine_first=not entries["flip_sin_to_cos"]
    )
    classes = entries["num_class_embeds"]
    options = {
        "channels": channels,
        "blocks": entries["layers_per_block"],
        "attention": tuple(attention),
        "middle_attention": bool(entries["add_attention"]),
        "head_width": max(channels) if head_width is None else head_width,
        "adaptive": adaptive,
        "dropout": entries["dropout"],
        "groups": groups,
        "group_width": 1,
        "middle_groups": middle_groups,
        "epsilon": entries["norm_eps"],
        "classes": None if classes is None else classes - 1,
        "time_features": GaussianFourier() if fourier else positional,
        "residual_resampling": True in down | up,
        "downsample_padding": (0, 1) if entries.only("downsample_padding", 0, 1) == 0 else (1, 1),
    }
    special = {name: options[name] for name in UNetVariant._fields if name in options}
    common = {name: option for name, option in options.items() if name not in special}
    net = unet(entries["out_channels"], **common, variant=UNetVariant(**special))
    centred = entries["center_input_sample"]

    def init(key: Key, x: Array, t: Array, *rest: Any, **named: Any) -> Params:
        return net.init(key, x, t, *rest, **named)

    def apply(params: Params, x: Array, t: Array, *rest: Any, **named: Any) -> Array:
        out = net.apply(params, 2 * x - 1 if centred else x, t, *rest, **named)
        if not fourier:
            return out
        level = t if getattr(t, "ndim", 0) == 0 else t.reshape(-1, *(1,) * (x.ndim - 1))
        return (out / level).astype(out.dtype)

    if classes is not None:
        apply = labels.checked(apply, classes, null=entries["_null_label"])
    return Net(init, apply), options


def _residual(path: str, name: str, params: Params) -> Iterator[Entry]:
    yield from tensors.norm((path, "GroupNorm_0"), f"{name}.norm1")
    yield from tensors.convolution((path, "Conv_0"), f"{name}.conv1")
    yield from tensors.dense((path, "Dense_0"), f"{name}.time_emb_proj")
    yield from tensors.norm((path, "GroupNorm_1"), f"{name}.norm2")
    yield from tensors.convolution((path, "Conv_1"), f"{name}.conv2")
    if "Conv_2" in params[path]:
        yield from tensors.convolution((path, "Conv_2"), f"{name}.conv_shortcut")


def _attention(path: str, name: str, params: Params, head_width: int) -> Iterator[Entry]:
    heads = max(1, params[path]["Dense_1"]["bias"].shape[0] // head_width)
    if "GroupNorm_0" in params[path]:
        yield from tensors.norm((path, "GroupNorm_0"), f"{name}.group_norm")
    yield from tensors.attention_inputs((path, "Dense_0"), name, heads)
    yield from tensors.dense((path, "Dense_1"), f"{name}.to_out.0")


def names(options: Mapping[str, Any], params: Params) -> Iterator[Entry]:
    """Our parameters and their tensors.

    Args:
        options: those of `jaxgen.nets.unet`.
        params: its parameters, or their shapes.

    Yields:
        One entry for each parameter.
    """
    counts: dict[str, int] = {}

    def ours(kind: str) -> str:
        counts[kind] = counts.get(kind, -1) + 1
        return f"{kind}_{counts[kind]}"

    def residual(name: str) -> Iterator[Entry]:
        return _residual(ours("ResidualBlock"), name, params)

    def attention(name: str) -> Iterator[Entry]:
        return _attention(ours("SelfAttention"), name, params, options["head_width"])

    def level(name: str, blocks: int, attends: bool, resampling: str | None) -> Iterator[Entry]:
        for i in range(blocks):
            yield from residual(f"{name}.resnets.{i}")
            if attends:
                yield from attention(f"{name}.attentions.{i}")
        if resampling and options["residual_resampling"]:
            yield from residual(f"{name}.{resampling.lower()}rs.0")
        elif resampling:
            yield from tensors.convolution((ours(resampling), "Conv_0"), f"{name}.{resampling.lower()}rs.0.conv")

    yield from tensors.dense(("Dense_1",), "time_embedding.linear_1")  # ours are named from the outside in
    yield from tensors.dense(("Dense_0",), "time_embedding.linear_2")
    if "time_features" in params:
        yield tensors.same(("time_features", "weight"), "time_proj.weight")
    if "LabelEmbedding_0" in params:
        yield tensors.same(("LabelEmbedding_0", "table"), "class_embedding.weight")
    yield from tensors.convolution(("Conv_0",), "conv_in")
    last = len(options["channels"]) - 1
    for i in range(last + 1):
        attends = i in options["attention"]
        yield from level(f"down_blocks.{i}", options["blocks"], attends, "Downsample" if i < last else None)
    yield from residual("mid_block.resnets.0")
    if options["middle_attention"]:
        yield from attention("mid_block.attentions.0")
    yield from residual("mid_block.resnets.1")
    for i in range(last + 1):
        attends = last - i in options["attention"]
        yield from level(f"up_blocks.{i}", options["blocks"] + 1, attends, "Upsample" if i < last else None)
    yield from tensors.norm(("GroupNorm_0",), "conv_norm_out")
    yield from tensors.convolution(("Conv_1",), "conv_out")


_OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def new_name(name: str) -> str:
    """The present name of a tensor: attention layers were once named otherwise.

    Example:
        >>> new_name("mid_block.attentions.0.proj_attn.bias")
        'mid_block.attentions.0.to_out.0.bias'
    """
    old = "|".join(_OLD)
    return re.sub(rf"(attentions\.\d+)\.({old})\.", lambda match: f"{match[1]}.{_OLD[match[2]]}.", name)
