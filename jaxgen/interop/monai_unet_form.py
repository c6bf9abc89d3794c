"""The keyword arguments that make MONAI's U-Nets and ControlNets, as options of ours."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxgen.errors import UserError
from jaxgen.interop.entries import Entries, Kind, shown
from jaxgen.nets.embedding import sinusoidal
from jaxgen.nets.spade import MONAI_FORM
from jaxgen.nets.unet_variant import Shape, Transformer, UNetVariant, shape_of

_COMMON: dict[str, Any] = {
    "spatial_dims": None,
    "in_channels": 1,
    "num_res_blocks": (2, 2, 2, 2),
    "channels": (32, 64, 64, 64),
    "attention_levels": (False, False, True, True),
    "norm_num_groups": 32,
    "norm_eps": 1e-6,
    "resblock_updown": False,
    "num_head_channels": 8,
    "with_conditioning": False,
    "transformer_num_layers": 1,
    "cross_attention_dim": None,
    "num_class_embeds": None,
    "include_fc": True,
    "use_combined_linear": False,
    # without effect on what the network answers
    "upcast_attention": False,
    "use_flash_attention": False,
    "dropout_cattn": 0.0,
}
_UNET = {**_COMMON, "out_channels": 1}
_CONTROL = {
    **_COMMON,
    "conditioning_embedding_in_channels": 1,
    "conditioning_embedding_num_channels": (16, 32, 96, 256),
}
_PARTS = {  # what MAISI embeds apart from the time: the tensors' name and how many numbers it is
    "include_top_region_index_input": ("top_region_index_layer", 4),
    "include_bottom_region_index_input": ("bottom_region_index_layer", 4),
    "include_spacing_input": ("spacing_layer", 3),
}
_MAISI = {"include_fc": False, "use_checkpointing": True}
_DEFAULTS = {
    "DiffusionModelUNet": _UNET,
    "DiffusionModelUNetMaisi": {**_UNET, **_MAISI, **dict.fromkeys(_PARTS, False)},
    "SPADEDiffusionModelUNet": {**_UNET, "label_nc": None, "spade_intermediate_channels": 128},
    "ControlNet": _CONTROL,
    "ControlNetMaisi": {**_CONTROL, **_MAISI},
}
_RENAMED = {  # earlier names
    "num_channels": "channels",
    "input_top_region_index": "include_top_region_index_input",
    "input_bottom_region_index": "include_bottom_region_index_input",
    "input_spacing": "include_spacing_input",
}
_KINDS_RENAMED = {"CustomDiffusionModelUNet": "DiffusionModelUNetMaisi", "CustomControlNet": "ControlNetMaisi"}
_COUNT = Kind((int,), 1, 2**16)
_KINDS = {
    "spatial_dims": Kind((int,), 2, 3, null=True),
    "in_channels": _COUNT,
    "out_channels": _COUNT,
    "num_res_blocks": Kind((int,), 1, 32, many=12),
    "channels": Kind((int,), 1, 2**16, many=12, single=False),
    "attention_levels": Kind((bool,), many=12, single=False),
    "norm_num_groups": _COUNT,
    "norm_eps": Kind((float,), 0, 1),
    "num_head_channels": Kind((int,), 0, 2**16, many=12),
    "transformer_num_layers": Kind((int,), 1, 32),
    "cross_attention_dim": _COUNT._replace(null=True),
    "num_class_embeds": _COUNT._replace(null=True),
    "dropout_cattn": Kind((float,), 0, 1),
    "conditioning_embedding_in_channels": _COUNT,
    "conditioning_embedding_num_channels": Kind((int,), 1, 2**16, many=12, single=False),
    "label_nc": _COUNT._replace(null=True),
    "spade_intermediate_channels": _COUNT,
}


class Form(NamedTuple):
    """One of MONAI's U-Nets or ControlNets.

    Attributes:
        options: of `jaxgen.nets.unet` or `jaxgen.nets.controlnet`.
        spatial_dims: 2 or 3.
        in_channels: of the image.
        out_channels: of the answer; None for a ControlNet.
        context: width of the tokens that it attends to; None without.
        parts: names of the layers that embed the parts of the vector, and the width of each.
        hint: channels of the image that steers; None for a U-Net.
        maps: classes of the segmentation; None without.
        combined: whether query, key and value of self-attention are one layer there.
    """

    options: dict[str, Any]
    spatial_dims: int
    in_channels: int
    out_channels: int | None
    context: int | None
    parts: tuple[tuple[str, int], ...]
    hint: int | None
    maps: int | None
    combined: bool

    @property
    def shape(self) -> Shape:
        """The options of the encoder, which U-Net and ControlNet share."""
        return shape_of(**{name: value for name, value in self.options.items() if name != "hint_channels"})


def form_of(config: Mapping[str, Any], file: str) -> Form:
    """Our form of the keyword arguments that make one of MONAI's networks.

    Names of earlier versions (monai-generative, the first MAISI) are read as well. There the self-attention of
    residual levels had an output layer that it never applied, which ours do not have.

    Args:
        config: the arguments, with ``"_target_"`` the name of the class, alone or with its module.
        file: where they are from, for messages.

    Returns:
        The form.

    Raises:
        UserError: if an entry is not supported.
    """
    target = str(config.get("_target_", ""))
    kind = target.rpartition(".")[2]
    kind = _KINDS_RENAMED.get(kind, kind)
    if kind not in _DEFAULTS:
        raise UserError(f"{file}: _target_ is {shown(target)}; supported: {', '.join(_DEFAULTS)}")
    given = {_RENAMED.get(name, name): value for name, value in config.items()}
    entries = Entries(given, file, _DEFAULTS[kind], _KINDS, "jaxgen.interop.monai_unet")
    conditioned = entries["with_conditioning"]
    if conditioned != (entries["cross_attention_dim"] is not None):
        raise UserError(f"{file}: cross_attention_dim goes with with_conditioning true, and only with it")
    fc = entries["include_fc"]
    if target.startswith(("generative.", "scripts.")) and "include_fc" not in given:
        fc = conditioned
    names = [name for name in _PARTS if name in _DEFAULTS[kind] and entries[name]]
    parts = tuple(_PARTS[name] for name in names)
    spade = "label_nc" in _DEFAULTS[kind]
    if spade:
        if entries["label_nc"] is None:
            raise UserError(f"{file}: lacks label_nc; give the number of classes of the segmentation")
        entries.only("use_combined_linear", False)
        entries.only("include_fc", True)
    options = _options(entries, file, fc, tuple(width for _, width in parts), spade)
    # MAISI's adds in place, to the array that its middle is given
    options["variant"] = options["variant"]._replace(controlled_middle=kind == "DiffusionModelUNetMaisi")
    control = "conditioning_embedding_in_channels" in _DEFAULTS[kind]
    if control:
        options["hint_channels"] = tuple(entries["conditioning_embedding_num_channels"])
    return Form(
        options,
        entries["spatial_dims"],
        entries["in_channels"],
        None if control else entries["out_channels"],
        entries["cross_attention_dim"],
        parts,
        entries["conditioning_embedding_in_channels"] if control else None,
        entries["label_nc"] if spade else None,
        entries["use_combined_linear"],
    )


def _options(entries: Entries, file: str, fc: bool, parts: tuple[int, ...], spade: bool) -> dict[str, Any]:
    if entries["spatial_dims"] is None:
        raise UserError(f"{file}: lacks spatial_dims; give 2 for images or 3 for volumes")
    channels, groups = tuple(entries["channels"]), entries["norm_num_groups"]
    levels = len(channels)
    heads = _per_level(entries, "num_head_channels", levels, file)
    attends = _per_level(entries, "attention_levels", levels, file)
    if any(width % groups for width in channels) or any(width % 2 for width in channels[:1]):
        raise entries.error("norm_num_groups", groups)
    for level, (width, head) in enumerate(zip(channels, heads, strict=True)):
        if (attends[level] or level == levels - 1) and (head == 0 or width % head):
            raise entries.error("num_head_channels", entries["num_head_channels"])
    attention = tuple(level for level in range(levels) if attends[level])
    conditioned, classes = entries["with_conditioning"], entries["num_class_embeds"]
    variant = UNetVariant(
        cross_attention=attention if conditioned else (),
        transformer=Transformer(entries["transformer_num_layers"], middle=conditioned),
        middle_attention=True,
        groups=groups,
        group_width=1,
        epsilon=entries["norm_eps"],
        time_features=functools.partial(sinusoidal, scale=1.0),
        residual_resampling=entries["resblock_updown"],
        attention_projection=fc,
        vector_parts=parts,
        spade=entries["spade_intermediate_channels"] if spade else None,
        spade_form=MONAI_FORM,
    )
    return {
        "channels": channels,
        "blocks": _per_level(entries, "num_res_blocks", levels, file),
        "attention": () if conditioned else attention,
        "head_width": tuple(head or width for head, width in zip(heads, channels, strict=True)),
        "adaptive": False,
        "classes": None if classes is None else classes - 1,
        "variant": variant,
    }


def _per_level(entries: Entries, name: str, levels: int, file: str) -> tuple[Any, ...]:
    value = entries[name]
    if isinstance(value, int):
        return (value,) * levels
    if len(value) != levels or not levels:
        raise UserError(f"{file}: {name} has {len(value)} entries, and channels has {levels}")
    return tuple(value)
