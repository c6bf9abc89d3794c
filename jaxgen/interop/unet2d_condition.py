"""diffusers' UNet2DConditionModel (Stable Diffusion) as our U-Net: its configuration and the names of its tensors."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.interop import labels, unet_entries
from jaxgen.interop.entries import Entries, Kind
from jaxgen.interop.tensors import Entry
from jaxgen.interop.unet_entries import Inputs
from jaxgen.interop.unet_names import Names
from jaxgen.nets import Transformer, unet
from jaxgen.nets.unet_variant import Shape, shape_of
from jaxgen.types import Array, Key, Net, Params

# What a U-Net and its ControlNet have alike. Where a comment does not say more, other values are refused.
DEFAULTS: dict[str, Any] = unet_entries.DEFAULTS | {
    "in_channels": 4,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "only_cross_attention": False,
    "block_out_channels": (320, 640, 1280, 1280),
    "cross_attention_dim": 1280,
    "transformer_layers_per_block": 1,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "num_attention_heads": None,
    "use_linear_projection": False,
    "addition_embed_type": None,
    "addition_time_embed_dim": None,
    "upcast_attention": False,  # either: softmax is in float32 here in any case
    "projection_class_embeddings_input_dim": None,
    "addition_embed_type_num_heads": 64,  # without effect where there is no addition_embed_type
}
_MANY = 12
KINDS: dict[str, Kind] = unet_entries.KINDS | {
    "only_cross_attention": Kind((bool,), many=_MANY),
    "cross_attention_dim": unet_entries.COUNT._replace(many=_MANY),
    "transformer_layers_per_block": Kind((int,), 1, 64, many=_MANY),
    "attention_head_dim": unet_entries.COUNT._replace(many=_MANY),
    "num_attention_heads": unet_entries.COUNT._replace(null=True, many=_MANY),
    "encoder_hid_dim": unet_entries.COUNT._replace(null=True),
    "addition_time_embed_dim": unet_entries.COUNT._replace(null=True),
    "projection_class_embeddings_input_dim": unet_entries.COUNT._replace(null=True),
    "addition_embed_type_num_heads": unet_entries.COUNT,
}
FIXED = ("mid_block_type", "only_cross_attention", "encoder_hid_dim", "encoder_hid_dim_type", "addition_embed_type")

_DEFAULTS: dict[str, Any] = DEFAULTS | {
    "sample_size": None,
    "out_channels": 4,
    "center_input_sample": False,
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "dropout": 0.0,
    "reverse_transformer_layers_per_block": None,
    "dual_cross_attention": False,
    "resnet_skip_time_act": False,
    "resnet_out_scale_factor": 1.0,
    "time_embedding_type": "positional",
    "time_embedding_dim": None,
    "time_embedding_act_fn": None,
    "timestep_post_act": None,
    "time_cond_proj_dim": None,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "attention_type": "default",
    "class_embeddings_concat": False,
    "mid_block_only_cross_attention": None,
    "cross_attention_norm": None,
}
_KINDS = KINDS | {
    "layers_per_block": Kind((int,), 1, 32, many=_MANY),
    "resnet_out_scale_factor": Kind((float,), -1e6, 1e6),
    "mid_block_only_cross_attention": Kind((bool,), null=True),
}
_FIXED = (
    *("reverse_transformer_layers_per_block", "dual_cross_attention", "resnet_skip_time_act", "attention_type"),
    *("resnet_out_scale_factor", "time_embedding_type", "time_embedding_act_fn", "timestep_post_act"),
    *("time_cond_proj_dim", "conv_in_kernel", "conv_out_kernel", "class_embeddings_concat", "cross_attention_norm"),
    "num_attention_heads",  # diffusers refuses it as well: heads are counted by attention_head_dim
)
_WITH_TRANSFORMER = {
    "DownBlock2D": False,
    "CrossAttnDownBlock2D": True,
    "UpBlock2D": False,
    "CrossAttnUpBlock2D": True,
}


def _every_level(entries: Entries, name: str) -> tuple[int, ...]:
    value, levels = entries[name], len(entries["block_out_channels"])
    if isinstance(value, int):
        return (value,) * levels
    if len(value) != levels:
        raise entries.error(name, value)
    return tuple(value)


def _levels(entries: Entries, name: str, direction: str) -> tuple[int, ...]:
    """The levels with transformers, from a list of blocks."""
    kinds = list(entries[name])
    if len(kinds) != len(entries["block_out_channels"]):
        raise entries.error(name, kinds)
    if any(kind not in _WITH_TRANSFORMER or direction not in kind for kind in kinds):
        raise entries.error(name, kinds)
    fine_first = kinds if direction == "Down" else kinds[::-1]
    return tuple(level for level, kind in enumerate(fine_first) if _WITH_TRANSFORMER[kind])


def options(entries: Entries, heads: str) -> dict[str, Any]:
    """Options of our U-Net, or of our ControlNet, with transformers.

    Args:
        entries: of either configuration.
        heads: the entry that counts the heads.

    Raises:
        UserError: if an entry is not supported.
    """
    made = unet_entries.options(entries)
    for name in FIXED:
        entries.only(name, DEFAULTS[name])
    channels, levels = made["channels"], _levels(entries, "down_block_types", "Down")
    counts = _every_level(entries, heads)
    if any(channels[level] % counts[level] for level in (*levels, len(channels) - 1)):
        raise entries.error(heads, entries[heads])
    widths = tuple(max(1, c // n) for c, n in zip(channels, counts, strict=True))
    if len(set(_every_level(entries, "cross_attention_dim"))) > 1:
        raise entries.error("cross_attention_dim", entries["cross_attention_dim"])
    depth = _every_level(entries, "transformer_layers_per_block")
    kind = entries.only("class_embed_type", None, *_VECTOR_LAYERS)
    if kind in ("projection", "simple_projection") and entries["projection_class_embeddings_input_dim"] is None:
        raise entries.error("projection_class_embeddings_input_dim", None)
    classes = entries["num_class_embeds"] if kind is None else None
    return made | {
        "head_width": widths,
        "cross_attention": levels,
        "transformer": Transformer(depth=depth, epsilon=1e-6, middle=True),
        "middle_attention": True,
        "classes": None if classes is None else classes - 1,
        "vector_layers": 1 if kind is None else _VECTOR_LAYERS[kind],
        "time_features": unet_entries.positional(entries),
    }


_VECTOR_LAYERS = {"timestep": 2, "projection": 2, "simple_projection": 1, "identity": 0}


def checked(entries: Entries, net: Net) -> Net:
    """The network, which refuses a context of another width, and takes the class as its configuration says.

    Args:
        entries: of the configuration.
        net: our network of it.

    Returns:
        A `Net`, whose `label` is a number that is embedded as a time is where ``class_embed_type`` is ``"timestep"``.
    """
    width, kind = _every_level(entries, "cross_attention_dim")[0], entries["class_embed_type"]
    positional, first = unet_entries.positional(entries), entries["block_out_channels"][0]

    def ask(call: Callable[..., Any], x: Array, *rest: Any, **named: Any) -> Any:
        context = named.get("context")
        if context is None or context.ndim != 3 or context.shape[-1] != width:
            given = "none" if context is None else f"one of shape {context.shape}"
            raise ValueError(f"this network takes a context [b, tokens, {width}], got {given}")
        if kind == "timestep":
            label = named.pop("label", None)
            if label is None:
                raise ValueError("give a label: this network was trained with a number for each image")
            named["vector"] = positional(jnp.broadcast_to(jnp.asarray(label), x.shape[:1]), 2 * (first // 2))
        elif kind is not None and named.get("vector") is None:
            raise ValueError("give a vector: this network was trained with one for each image")
        return call(x, *rest, **named)

    def init(key: Key, x: Array, t: Array, *rest: Any, **named: Any) -> Params:
        return ask(lambda *given, **more: net.init(key, *given, **more), x, t, *rest, **named)

    def apply(params: Params, x: Array, t: Array, *rest: Any, **named: Any) -> Any:
        return ask(lambda *given, **more: net.apply(params, *given, **more), x, t, *rest, **named)

    classes = entries["num_class_embeds"]
    if kind is None and classes is not None:
        return Net(init, labels.checked(apply, classes, null=entries["_null_label"]))
    return Net(init, apply)


def example(entries: Entries) -> Inputs:
    """Shapes of inputs of the smallest size: image and time, and context, label or vector by name."""

    def of(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    channels = entries["block_out_channels"]
    size, kind = 2 ** (len(channels) - 1), entries["class_embed_type"]
    named = {"context": of(1, 1, _every_level(entries, "cross_attention_dim")[0])}
    if kind == "timestep":
        named["label"] = of(1)
    elif kind is not None:
        wide = 4 * channels[0] if kind == "identity" else entries["projection_class_embeddings_input_dim"]
        named["vector"] = of(1, wide)
    return (of(1, size, size, entries["in_channels"]), of(1)), named


class Made(NamedTuple):
    """What a network was made of.

    Attributes:
        shape: of our network.
        linear: whether the projections of transformers are dense layers in diffusers' files.
    """

    shape: Shape
    linear: bool


def network(config: Mapping[str, Any], file: str) -> tuple[Net, Made]:
    """Our U-Net of a UNet2DConditionModel's configuration; see `jaxgen.interop.diffusers.network`.

    Args:
        config: the configuration.
        file: its file's name, for messages.

    Returns:
        The network, and what it was made of.

    Raises:
        UserError: if an entry is not supported.
    """
    entries = Entries(config, file, _DEFAULTS, _KINDS)
    made = options(entries, "attention_head_dim")
    for name in _FIXED:
        entries.only(name, _DEFAULTS[name])
    entries.only("time_embedding_dim", None, 4 * made["channels"][0])
    entries.only("mid_block_only_cross_attention", None, False)
    if _levels(entries, "up_block_types", "Up") != made["cross_attention"]:
        raise entries.error("up_block_types", entries["up_block_types"])  # unlike its down_block_types
    blocks = _every_level(entries, "layers_per_block")
    arguments = unet_entries.arguments(made | {"blocks": blocks, "dropout": entries["dropout"]})
    net, centred = unet(entries["out_channels"], **arguments), entries["center_input_sample"]

    def apply(params: Params, x: Array, t: Array, *rest: Any, **named: Any) -> Array:
        return net.apply(params, 2 * x - 1 if centred else x, t, *rest, **named)

    return checked(entries, Net(net.init, apply)), Made(shape_of(**arguments), entries["use_linear_projection"])


def inputs(config: Mapping[str, Any]) -> Inputs:
    """Shapes of inputs for the `init` of a supported configuration's network."""
    return example(Entries(config, "config", _DEFAULTS, _KINDS))


def names(made: Made, params: Params) -> Iterator[Entry]:
    """Our parameters and their tensors.

    Args:
        made: what our U-Net was made of.
        params: its parameters, or their shapes.

    Yields:
        One entry for each parameter.
    """
    walk = Names(made.shape, params, linear=made.linear)
    yield from walk.embedding()
    yield from walk.encoder()
    yield from walk.middle()
    yield from walk.decoder()
