"""diffusers' ControlNetModel as our ControlNet: its configuration and the names of its tensors."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.interop import tensors, unet2d_condition, unet_entries
from jaxgen.interop.entries import Entries, Kind
from jaxgen.interop.tensors import Entry
from jaxgen.interop.unet2d_condition import Made
from jaxgen.interop.unet_entries import Inputs
from jaxgen.interop.unet_names import Names
from jaxgen.nets import controlnet
from jaxgen.nets.unet_variant import shape_of
from jaxgen.types import Array, Net, Params

_DEFAULTS: dict[str, Any] = unet2d_condition.DEFAULTS | {
    "conditioning_channels": 3,
    "controlnet_conditioning_channel_order": "rgb",
    "conditioning_embedding_out_channels": (16, 32, 96, 256),
    "global_pool_conditions": False,
}
_KINDS = unet2d_condition.KINDS | {
    "conditioning_channels": unet_entries.COUNT,
    "conditioning_embedding_out_channels": Kind((int,), 1, 2**16, many=12, single=False),
}


def network(config: Mapping[str, Any], file: str) -> tuple[Net, Made]:
    """Our ControlNet of a ControlNetModel's configuration; see `jaxgen.interop.diffusers.network`.

    Args:
        config: the configuration.
        file: its file's name, for messages.

    Returns:
        The network, and what it was made of.

    Raises:
        UserError: if an entry is not supported.
    """
    entries = Entries(config, file, _DEFAULTS, _KINDS)
    made = unet2d_condition.options(entries, _heads(entries))
    entries.only("class_embed_type", None, "timestep", "projection")
    entries.only("global_pool_conditions", False)
    turned = entries.only("controlnet_conditioning_channel_order", "rgb", "bgr") == "bgr"
    hint_channels = tuple(entries["conditioning_embedding_out_channels"])
    if not hint_channels:
        raise entries.error("conditioning_embedding_out_channels", entries["conditioning_embedding_out_channels"])
    arguments = unet_entries.arguments(made)
    net = controlnet(hint_channels=hint_channels, **arguments)

    def apply(params: Params, x: Array, t: Array, hint: Array, *rest: Any, **named: Any) -> Any:  # a Control
        return net.apply(params, x, t, hint[..., ::-1] if turned else hint, *rest, **named)

    asked = unet2d_condition.checked(entries, Net(net.init, apply))
    return asked, Made(shape_of(**arguments), entries["use_linear_projection"])


def _heads(entries: Entries) -> str:
    return "attention_head_dim" if entries["num_attention_heads"] is None else "num_attention_heads"


def inputs(config: Mapping[str, Any]) -> Inputs:
    """Shapes of inputs for the `init` of a supported configuration's network."""
    entries = Entries(config, "config", _DEFAULTS, _KINDS)
    (x, t), named = unet2d_condition.example(entries)
    size = x.shape[1] * 2 ** (len(entries["conditioning_embedding_out_channels"]) - 1)
    hint = jax.ShapeDtypeStruct((1, size, size, entries["conditioning_channels"]), jnp.float32)
    return (x, t, hint), named


def names(made: Made, params: Params) -> Iterator[Entry]:
    """Our parameters and their tensors.

    Args:
        made: what our ControlNet was made of.
        params: its parameters, or their shapes.

    Yields:
        One entry for each parameter.
    """
    walk = Names(made.shape, params, linear=made.linear)
    yield from walk.embedding()
    yield from walk.encoder()
    yield from walk.middle()
    last = len(params["hint"]) - 1
    for i in range(last + 1):
        place = {0: "conv_in", last: "conv_out"}.get(i, f"blocks.{i - 1}")
        yield from tensors.convolution(("hint", f"Conv_{i}"), f"controlnet_cond_embedding.{place}")
    for i in range(sum(name.startswith("skip_") for name in params)):
        yield from tensors.convolution((f"skip_{i}",), f"controlnet_down_blocks.{i}")
    yield from tensors.convolution(("middle",), "controlnet_mid_block")
