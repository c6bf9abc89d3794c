"""Segmentation: the options, data, facts and training that its experiments share, and the baseline, a U-Net."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from jaxgen.config import RunConfig, option
from jaxgen.data import Splits, load
from jaxgen.data.checks import FOREGROUND, parse_foreground
from jaxgen.data.segmentation import Convention, SegmentationTiles, Target, augment_tiles, masks_of
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.facts import Facts
from jaxgen.imaging.intensity import percentile_range
from jaxgen.medical.segmentation.deterministic import deterministic
from jaxgen.medical.segmentation.uncertainty import decision_threshold
from jaxgen.nets import unet
from jaxgen.tasks import images
from jaxgen.tasks.images import Widths
from jaxgen.tasks.networks import check_levels
from jaxgen.types import Net


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentationConfig(RunConfig):
    """The options of every segmentation experiment."""

    data: str = option("nuclei_dsb2018", "data: a name, a folder with images/ and masks/, or a .npz", group="data")
    foreground: str | int = option("binary", FOREGROUND, group="data")
    slices: bool = option(False, "take volumes slice by slice", group="data")
    size: int = option(128, "pixels along one side of a training tile", ge=8, le=4096, group="data")
    tile_overlap: int = option(32, "pixels that neighbouring tiles share at least", ge=0, le=2048, group="data")
    intensity: Literal["image", "data"] = option(
        "image", "scale each image by its own percentiles, or all by those of the training images", group="data"
    )
    percentiles: tuple[float, float] = option((0.1, 99.8), "values that go to -1 and 1", ge=0, le=100, group="data")
    quarter_turns: bool = option(True, "turn tiles by multiples of 90 degrees at random, besides flips", group="data")

    target: Target = option(
        "distance", "what masks become: signed distances, or -1 inside and 1 outside", group="method"
    )
    truncation: float = option(5.0, "delta: distances are truncated here, in pixels", gt=0, group="method")
    convention: Convention = option(
        "boundary_zero", "where distances are zero: last pixel inside, or edge", group="method"
    )

    patch: int = option(4, "fold blocks of this many pixels per side into channels first", ge=1, le=16, group="network")
    baseline_channels: Widths = option((32, 64, 112), "widths of the baseline's levels", ge=4, group="network")
    blocks: int = option(1, "residual blocks per level", ge=1, le=8, group="network")
    attention: Widths | None = option(None, "levels with self-attention, 0 the finest", ge=0, group="network")
    heads_width: int = option(32, "width of an attention head", ge=4, group="network")

    members: int = option(16, "samples in an ensemble", ge=1, le=1024, group="sampling")
    chunk: int = option(10, "tiles that are segmented together", ge=1, le=4096, group="sampling")
    test_images: int = option(500, "test images to evaluate at most, evenly spaced", ge=1, group="evaluation")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        object.__setattr__(self, "foreground", str(parse_foreground(self.foreground)))
        check_levels(self.size, self.patch, self.baseline_channels, self.attention)
        low, high = self.percentiles
        if low >= high:
            raise UserError(f"--percentiles must ascend, such as 0.1,99.8, got {low:g},{high:g}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentationFacts(Facts):
    """What segmenting must know of the training images.

    Attributes:
        image_channels: the number of channels.
        raters: the number of masks of each image.
        value_range: the values of each channel that go to -1 and 1, ``(low, high)``; None where they are each image's
            own.
    """

    image_channels: int
    raters: int
    value_range: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    renamed: ClassVar[Mapping[str, str]] = {"channels": "image_channels", "readers": "raters"}


def load_masks(config: SegmentationConfig) -> Splits:
    """Images with their masks, of one or several raters."""
    return load(
        config.data,
        seed=config.seed,
        optional=("masks",),
        foreground=config.foreground,
        slices=config.slices,
        spatial=2,
    )


def measure_masks(config: SegmentationConfig, splits: Splits) -> SegmentationFacts:
    """The channels, the raters, and with ``--intensity data`` the range of values of the training images."""
    first, value_range = splits.train[0], None
    if config.intensity == "data":
        every = (splits.train[i]["image"] for i in range(len(splits.train)))
        low, high = percentile_range(every, *config.percentiles)
        value_range = tuple(low.tolist()), tuple(high.tolist())
    return SegmentationFacts(
        image_channels=int(first["image"].shape[-1]), raters=len(masks_of(first)), value_range=value_range
    )


def example_tiles(run: Run) -> SegmentationTiles:
    """What training is fed: tiles of scaled images, with a map of each rater's mask (``--target``)."""
    config = run.config
    return SegmentationTiles(
        run.splits.train,
        config.size,
        percentiles=config.percentiles,
        value_range=run.facts.value_range,
        truncate=config.truncation,
        convention=config.convention,
        target=config.target,
        overlap=min(config.tile_overlap, config.size - 1),
    )


def threshold(config: SegmentationConfig) -> float:
    """A map is foreground where it is at most this."""
    return decision_threshold(config.truncation, config.convention) if config.target == "distance" else 0.0


def prepare_tiles(config: SegmentationConfig) -> images.Prepare:
    """On the device: `jaxgen.data.segmentation.augment_tiles`."""
    return functools.partial(augment_tiles, quarter_turns=config.quarter_turns)


def unet_options(config: SegmentationConfig) -> dict[str, Any]:
    """The options of `jaxgen.nets.unet` that all U-Nets of an experiment share, those in patches."""
    return {
        "blocks": config.blocks,
        "attention": config.attention or (),
        "head_width": config.heads_width,
        "patch": config.patch,
    }


def baseline_network(config: SegmentationConfig) -> Net:
    """The deterministic U-Net, from image to logits."""
    return unet(1, channels=config.baseline_channels, **unet_options(config))


BASELINE = images.stage("unet", lambda run: deterministic(baseline_network(run.config)), prepare=prepare_tiles)
"""The stage of the deterministic U-Net."""
