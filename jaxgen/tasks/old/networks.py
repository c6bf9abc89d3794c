"""What the experiments with a U-Net share: its options and how it is made."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxgen.config import option
from jaxgen.errors import UserError
from jaxgen.nets import UNetVariant, unet
from jaxgen.tasks.old import images
from jaxgen.types import Net

Widths = tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class UNetConfig(images.ImageConfig):
    """The options of an experiment on images whose network is a U-Net."""

    channels: Widths = option((32, 64, 96), "widths of the U-Net's levels", ge=4, group="network")
    blocks: int = option(1, "residual blocks a level", ge=1, le=8, group="network")
    attention: Widths | None = option((2,), "levels with self-attention, 0 the finest", ge=0, group="network")
    head_width: int = option(32, "width of an attention head", ge=4, group="network")
    dropout: float = option(0.0, "dropout in the residual blocks", ge=0, lt=1, group="network")
    adaptive: bool = option(True, "time scales and shifts the norms; otherwise it is added", group="network")
    residual_resampling: bool = option(False, "change resolution inside residual blocks", group="network")
    patch: int = option(2, "fold blocks of so many pixels into channels first", ge=1, le=16, group="network")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        multiple = self.patch * 2 ** (len(self.channels) - 1)
        if self.size % multiple:
            raise UserError(f"--size must be a multiple of {multiple} with such a --patch and levels, got {self.size}")
        if self.attention and max(self.attention) >= len(self.channels):
            last = len(self.channels) - 1
            raise UserError(f"--attention must name levels from 0 to {last}, got {max(self.attention)}")


def network(config: UNetConfig, constants: Mapping[str, Any], *, classes: int | None = None) -> Net:
    """The U-Net that denoises."""
    return unet(
        constants["channels"],
        channels=config.channels,
        blocks=config.blocks,
        attention=config.attention or (),
        head_width=config.head_width,
        dropout=config.dropout,
        adaptive=config.adaptive,
        variant=UNetVariant(residual_resampling=config.residual_resampling),
        patch=config.patch,
        classes=classes,
    )
