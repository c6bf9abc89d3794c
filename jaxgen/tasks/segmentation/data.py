"""Segmentation: the options, data, facts and training that its experiments share, and the baseline, a U-Net."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from jaxgen.config import RunConfig, option
from jaxgen.data import Splits, Subset, load
from jaxgen.data.checks import FOREGROUND, SEVERAL, parse_foreground
from jaxgen.data.grid import Grid, check_axes
from jaxgen.data.images import sides_of
from jaxgen.data.respacing import patch_shape, training_grid
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
from jaxgen.types import Model, Net

MOST_NETWORKS = 10
"""Of a deep ensemble."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentationConfig(RunConfig):
    """The options of every segmentation experiment."""

    data: str = option("nuclei_dsb2018", "data: a name, a folder with images/ and masks/, or a .npz", group="data")
    foreground: str | int = option("binary", FOREGROUND + SEVERAL, group="data")
    spatial: Literal[2, 3] = option(2, "axes: 2 for images and slices, 3 for whole volumes", group="data")
    slices: bool = option(False, "take volumes slice by slice", group="data")
    spacing: tuple[float, ...] | None = option(
        None, "mm of a voxel along each axis, if files do not say", gt=0, group="data"
    )
    size: int | Widths = option(128, "pixels of a tile's side, or one number an axis", ge=8, le=4096, group="data")
    tile_overlap: int = option(32, "pixels that neighbouring tiles share at least", ge=0, le=2048, group="data")
    labelled: int = option(0, "training images whose masks are used, chosen by --seed (0: all)", ge=0, group="data")
    coordinates: bool = option(
        False, "give networks the place of each pixel in the whole image as further channels", group="data"
    )
    intensity: Literal["image", "data"] = option(
        "image", "scale each image by its own percentiles, or all by those of the training images", group="data"
    )
    percentiles: tuple[float, float] = option((0.1, 99.8), "values that go to -1 and 1", ge=0, le=100, group="data")
    flips: bool = option(True, "mirror tiles at random along every axis", group="data")
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
    whole: bool = option(False, "segment whole images at once, not window by window", group="sampling")
    chunk: int = option(10, "tiles that are segmented together", ge=1, le=4096, group="sampling")
    test_images: int = option(500, "test images to evaluate at most, evenly spaced", ge=1, group="evaluation")
    dropout_rate: float = option(
        0.0,
        "dropout of a further U-Net, drawn --members times (0: none)",
        ge=0,
        lt=1,
        group="evaluation",
    )
    networks: int = option(1, "U-Nets of a deep ensemble (1: none)", ge=1, le=MOST_NETWORKS, group="evaluation")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        object.__setattr__(self, "foreground", str(parse_foreground(self.foreground)))
        check_levels(self.size, self.patch, self.baseline_channels, self.attention)
        check_axes(self.spatial, self.slices, size=self.size, spacing=self.spacing)
        low, high = self.percentiles
        if low >= high:
            raise UserError(f"--percentiles must ascend, such as 0.1,99.8, got {low:g},{high:g}")

    @property
    def multiple(self) -> int:
        """What the sides of a tile must be multiples of, for all networks."""
        widths = [getattr(self, field.name) for field in dataclasses.fields(self) if field.name.endswith("channels")]
        return self.patch * 2 ** (max(map(len, widths)) - 1)

    def baseline(self, outputs: int, *, dropout: float = 0.0) -> Net:
        """The deterministic U-Net, from image to logits."""
        return unet(outputs, channels=self.baseline_channels, dropout=dropout, **unet_options(self))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentationFacts(Facts):
    """What segmenting must know of the training images.

    Attributes:
        image_channels: the number of channels.
        raters: the number of masks of each image.
        value_range: the values of each channel that go to -1 and 1, ``(low, high)``; None where they are each image's
            own.
        classes: the names of the classes where there are several.
        spacing: of volumes, the voxel size in millimetres that the networks see.
        tile: of volumes, the shape of patches in such voxels.
    """

    image_channels: int
    raters: int
    value_range: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    classes: tuple[str, ...] = ()
    spacing: tuple[float, ...] = ()
    tile: tuple[int, ...] = ()
    sparse: ClassVar[tuple[str, ...]] = ("home", "classes", "spacing", "tile")
    renamed: ClassVar[Mapping[str, str]] = {"channels": "image_channels", "readers": "raters"}

    @property
    def class_count(self) -> int:
        """The number of classes, 1 for one foreground."""
        return max(1, len(self.classes))


def load_masks(config: SegmentationConfig) -> Splits:
    """Images with their masks, of one or several raters."""
    return load(
        config.data,
        seed=config.seed,
        optional=("masks", "spacing"),
        foreground=config.foreground,
        slices=config.slices,
        spatial=config.spatial,
    )


def measure_masks(config: SegmentationConfig, splits: Splits) -> SegmentationFacts:
    """The channels, the raters, the classes, the range of values with ``--intensity data``, and the grid of volumes."""
    first, value_range = splits.train[0], None
    spacing: tuple[float, ...] = ()
    size: tuple[int, ...] = ()
    if config.spatial == 3:
        spacing, largest = training_grid(splits.train, f"--data {config.data}", config.spacing)
        size = patch_shape(config.size, spacing, largest, config.multiple)
    if config.intensity == "data":
        every = (splits.train[i]["image"] for i in range(len(splits.train)))
        low, high = percentile_range(every, *config.percentiles)
        value_range = tuple(low.tolist()), tuple(high.tolist())
    return SegmentationFacts(
        image_channels=int(first["image"].shape[-1]),
        raters=len(masks_of(first)),
        value_range=value_range,
        classes=splits.mask_names,
        spacing=spacing,
        tile=size,
    )


def grid(run: Run) -> Grid:
    """How the networks see images."""
    config, facts = run.config, run.facts
    size, scale = facts.tile or sides_of(config.size), (config.percentiles, facts.value_range)
    return Grid(size, config.tile_overlap, *scale, facts.spacing, config.spacing, config.coordinates)


def example_tiles(run: Run) -> SegmentationTiles:
    """What training is fed: tiles of scaled images, with a map of each rater's mask (``--target``)."""
    config, classes = run.config, run.facts.class_count
    maps = {"truncate": config.truncation, "convention": config.convention, "target": config.target}
    source = run.splits.train
    if 0 < config.labelled < len(source):
        chosen = np.random.default_rng(config.seed).permutation(len(source))[: config.labelled]
        source = Subset(source, sorted(chosen.tolist()))
    return grid(run).tiles(source, classes=classes, **maps)


def threshold(config: SegmentationConfig) -> float:
    """A map is foreground where it is at most this."""
    return decision_threshold(config.truncation, config.convention) if config.target == "distance" else 0.0


def prepare_tiles(config: SegmentationConfig) -> images.Prepare:
    """On the device: `jaxgen.data.segmentation.augment_tiles`."""
    return functools.partial(augment_tiles, flips=config.flips, quarter_turns=config.quarter_turns)


def unet_options(config: SegmentationConfig) -> dict[str, Any]:
    """The options of `jaxgen.nets.unet` that all U-Nets of an experiment share, those in patches."""
    return {
        "blocks": config.blocks,
        "attention": config.attention or (),
        "head_width": config.heads_width,
        "patch": config.patch,
    }


def baseline_network(config: SegmentationConfig, classes: int = 1, *, dropout: float = 0.0) -> Net:
    """The deterministic U-Net, from image to logits: one, or of the background and each of several classes."""
    return config.baseline(classes + (classes > 1), dropout=dropout)


def baseline_model(run: Run) -> Model:
    """How it is trained."""
    return deterministic(baseline_network(run.config, run.facts.class_count))


BASELINE = images.stage("unet", baseline_model, prepare=prepare_tiles)
"""The stage of the deterministic U-Net."""
