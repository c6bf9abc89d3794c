"""The U-Net of the experiments on images: its options, and how it is made."""

import dataclasses
from typing import Any

from jaxgen.config import option
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.nets import UNetVariant, controlnet, unet
from jaxgen.tasks.images import ImageConfig, Widths
from jaxgen.types import Net


@dataclasses.dataclass(frozen=True, kw_only=True)
class UNetConfig(ImageConfig):
    """The options of an experiment on images whose network is a U-Net."""

    channels: Widths = option((32, 64, 96), "widths of the U-Net's levels", ge=4, group="network")
    blocks: int = option(1, "residual blocks per level", ge=1, le=8, group="network")
    attention: Widths | None = option((2,), "levels with self-attention, 0 the finest", ge=0, group="network")
    head_width: int = option(32, "width of an attention head", ge=4, group="network")
    dropout: float = option(0.0, "dropout in the residual blocks", ge=0, lt=1, group="network")
    adaptive: bool = option(True, "time scales and shifts the norms; otherwise it is added", group="network")
    residual_resampling: bool = option(False, "change resolution inside residual blocks", group="network")
    patch: int = option(2, "fold blocks of this many pixels per side into channels first", ge=1, le=16, group="network")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        check_levels(self.size, self.patch, self.channels, self.attention)


def check_levels(size: int | Widths, patch: int, channels: Widths, attention: Widths | None) -> None:
    """Refuse a size that the levels do not divide, and attention on a level that is not there."""
    last = len(channels) - 1
    multiple = patch * 2**last
    if any(side % multiple for side in ((size,) if isinstance(size, int) else size)):
        shown = size if isinstance(size, int) else ",".join(map(str, size))
        raise UserError(f"--size must be a multiple of {multiple} with this --patch and these levels, got {shown}")
    if attention and max(attention) > last:
        raise UserError(f"--attention must name levels from 0 to {last}, got {max(attention)}")


def network(run: Run, *, classes: int | None = None, image_channels: int | None = None, **variant: Any) -> Net:
    """The U-Net that ``run.config`` describes.

    Args:
        run: the run.
        classes: the number of classes that it is told; None for none.
        image_channels: channels of what it gives; None for those of the images.
        **variant: other fields of `jaxgen.nets.UNetVariant`.
    """
    channels = run.facts.image_channels if image_channels is None else image_channels
    return unet(channels, classes=classes, **_options(run.config, **variant))


def control_network(run: Run, hint_channels: Widths, **variant: Any) -> Net:
    """The ControlNet of `network`, made with the same options."""
    return controlnet(hint_channels=hint_channels, **_options(run.config, **variant))


def _options(config: Any, **variant: Any) -> dict[str, Any]:
    """What the U-Net and its ControlNet are both made with."""
    return {
        "channels": config.channels,
        "blocks": config.blocks,
        "attention": config.attention or (),
        "head_width": config.head_width,
        "dropout": config.dropout,
        "adaptive": config.adaptive,
        "variant": UNetVariant(residual_resampling=config.residual_resampling, **variant),
        "patch": config.patch,
    }
