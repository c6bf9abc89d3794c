"""Healthy images to learn from and lesions to find: the options, data and facts of every anomaly experiment.

Phantoms, computed: brain slices in T2 with four kinds of lesions, and the healthy twin of each. Or images of a user:
with labels, one of which is that of healthy images (evaluated image by image), with masks of lesions (trained on images
whose mask is empty), or a folder of patients (`jaxgen.data.lesion_patients`).
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxgen.config import option
from jaxgen.data import ArraySource, Everything, Source, Splits, Subset, lesion_patients, measure_range
from jaxgen.data.checks import FOREGROUND, parse_foreground
from jaxgen.data.held_out import hold_out
from jaxgen.data.phantoms import Lesion, brain_slices
from jaxgen.data.source import identity
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.imaging.augment import random_flip
from jaxgen.medical.anomaly import RESIDUALS
from jaxgen.tasks import images
from jaxgen.tasks.networks import UNetConfig
from jaxgen.types import Key

PHANTOM = "brain2d"
HEADROOM = 0.25
"""Of the range of healthy values, above it: a lesion may be brighter than anything healthy."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LesionConfig(UNetConfig):
    """The options of an experiment that looks for lesions, with a small U-Net."""

    data: str = option(
        PHANTOM, f"data: {PHANTOM} (phantoms in T2), a .npz or folder with labels or masks, or patients", group="data"
    )
    healthy: str = option("notumor", "the label of healthy images, where data have labels", group="data")
    foreground: str | int = option("binary", FOREGROUND, group="data")
    contrast: str = option(
        "FLAIR", "the contrast to use of patients with several, or some of them as channels: FLAIR,T1,T2", group="data"
    )
    test_patients: tuple[str, ...] | int | None = option(
        None,
        "the patients held out for the test, by name; of a folder of patients by number too, from 0, and the first "
        "where none are named; of other data those of the split",
        group="data",
        formerly="test_patient",  # a number
    )
    phantoms: int = option(2000, "healthy phantoms to train on", ge=8, group="data")

    channels: images.Widths = option((16, 32, 64), "widths of the U-Net's levels", ge=4, group="network")
    attention: images.Widths | None = option(None, "levels with self-attention, 0 the finest", ge=0, group="network")
    patch: int = option(1, "fold blocks of this many pixels per side into channels first", ge=1, le=16, group="network")

    lesions: int = option(200, "phantoms of each kind of lesion to evaluate on", ge=2, group="evaluation")
    chosen_on: int = option(
        100, "validation images with artificial anomalies, to choose settings on", ge=2, group="evaluation"
    )
    erosion: int = option(0, "layers of pixels taken off the foreground before evaluation", ge=0, group="evaluation")
    residual: str = option(
        "absolute",
        "what counts: any change, or only what is brighter (lesions in FLAIR) or darker than restored",
        choices=tuple(RESIDUALS),
        group="evaluation",
    )
    score_channels: images.Widths | None = option(
        None,
        "channels of the images whose changes make the map, their mean, 0 the first; none for all of them",
        ge=0,
        group="evaluation",
    )
    median: int = option(3, "width in pixels of the median filter that cleans the maps, odd", ge=1, group="evaluation")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        object.__setattr__(self, "foreground", str(parse_foreground(self.foreground, several=False)))
        if self.median % 2 == 0:
            raise UserError(f"--median must be odd, got {self.median}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnomalyConfig(LesionConfig):
    """The options of an anomaly experiment with learned references."""

    mirror: bool = option(False, "mirror training images left to right at random", group="data")

    reference_steps: int = option(
        1000, "training steps of the reference, a coarse-noise autoencoder; 0 for none", ge=0, group="evaluation"
    )
    vae_steps: int = option(
        0, "training steps of the reference variational autoencoder; 0 for none", ge=0, group="evaluation"
    )
    vae_code: int = option(64, "its latent dimension", ge=1, group="evaluation")


class Drawn(ArraySource):
    """Phantoms: of the size asked for and in [-1, 1] already."""


def phantoms(
    config: LesionConfig, n: int, part: int, lesion: Lesion | None = None, *, first: int = 0
) -> dict[str, np.ndarray]:
    """Phantoms (`brain_slices`) of a part of the data: 0 training, 1 validation, 2 test, 3 lesions."""
    return brain_slices(4 * config.seed + part, n, config.size, lesion, first=first)


def counts(config: LesionConfig) -> tuple[int, int, int]:
    """The number of phantoms to train, validate and test on."""
    few = max(8, config.phantoms // 10)
    return config.phantoms, few, few


def phantom_splits(*parts: dict[str, np.ndarray]) -> Splits:
    """Phantoms for training, validation and test as data."""
    train, validation, test = map(Drawn, parts)
    return Splits(train, validation, test, name=PHANTOM, origin="computed", licence="CC0-1.0")


def load_phantoms(config: LesionConfig) -> Splits:
    """Healthy phantoms."""
    return phantom_splits(*({"image": phantoms(config, n, part)["image"]} for part, n in enumerate(counts(config))))


def load(config: LesionConfig, *, unknown: bool = False) -> Splits:
    """Healthy images for training and validation, and all test images; of other data test images alone.

    Args:
        config: the configuration.
        unknown: whether data that do not say which images are healthy are taken as they are.

    Raises:
        UserError: if the data do not say which images are healthy, or none is.
    """
    if config.data == PHANTOM:
        return load_phantoms(config)
    folder, whole = Path(config.data).expanduser(), isinstance(config.data, Everything)
    if folder.is_dir() and lesion_patients.files(folder):
        wanted = config.contrast.split(","), config.test_patients, config.foreground
        return lesion_patients.load(folder, *wanted, whole=whole)
    splits = held_out(config, images.open_images(config, ("image",), ("label", "mask"), config.foreground))
    example = splits.test[0]
    if unknown and not tells_healthy(config, splits):
        return splits
    if "label" in example:
        check_healthy(config, splits)
    elif "mask" not in example:
        raise UserError(f"--data {config.data}: it has neither labels nor masks, so that nobody knows what is healthy")
    if whole:
        return splits

    def is_healthy(example: Mapping[str, np.ndarray]) -> bool:
        if "label" in example:
            return splits.label_names[int(example["label"])] == config.healthy
        return not example["mask"].any()

    def healthy(source: Source) -> Source:
        return Subset(source, [i for i in range(len(source)) if is_healthy(source[i])])

    train, validation = healthy(splits.train), healthy(splits.validation)
    if not len(train) or not len(validation):
        raise UserError(f"--data {config.data}: it has no healthy image to learn from")
    return splits._replace(train=train, validation=validation)


def held_out(config: LesionConfig, splits: Splits) -> Splits:
    """The data with the patients that the configuration names as the test set, if it names any."""
    named = config.test_patients
    if not isinstance(named, tuple) or isinstance(config.data, Everything):
        return splits
    return hold_out(splits, named, seed=config.seed, where=f"--data {config.data}")


def tells_healthy(config: LesionConfig, splits: Splits) -> bool:
    """Whether it is known which images are healthy, by phantoms, masks or labels."""
    return config.data == PHANTOM or config.healthy in splits.label_names or "mask" in splits.test[0]


def check_healthy(config: LesionConfig, splits: Splits) -> None:
    """Refuse labels among which that of the healthy is not; other data may hold ill images alone.

    Raises:
        UserError: with the labels that there are.
    """
    if config.healthy not in splits.label_names and not isinstance(config.data, Everything):
        known = ", ".join(splits.label_names)
        raise UserError(f"--healthy {config.healthy}: {config.data} has no such label; it has {known}")


def measure(
    config: LesionConfig, splits: Splits, *, headroom: float = HEADROOM, phantom_low: float = 0.0
) -> images.ImageFacts:
    """The range of the values, the number of channels, and which training images these are.

    Values out of the range are cut off; `headroom`, a share of the range, is left above it. Phantoms, which are
    not brought to a range, are said to begin at `phantom_low`, which must be that of runs of before.
    """
    if config.data == PHANTOM:
        check_channels(config, 1)
        return images.ImageFacts(value_range=((phantom_low,), (1.0,)), image_channels=1)
    example = splits.train[0]["image"]
    check_channels(config, example.shape[-1])
    low, high = (np.array(bound) for bound in measure_range(splits.train))
    high = high + headroom * (high - low)
    if example.dtype == np.uint8:
        high = np.minimum(high, 255.0)
    value_range = tuple(low.tolist()), tuple(high.tolist())
    return images.ImageFacts(value_range=value_range, image_channels=example.shape[-1], home=identity(splits.train))


def check_channels(config: LesionConfig, channels: int) -> None:
    """Refuse channels that make the map where images have none of that number.

    Raises:
        UserError: with the last one that there is.
    """
    for k in config.score_channels or ():
        if k >= channels:
            raise UserError(f"--score-channels {k}: the last channel of the images is {channels - 1}")


def is_home(run: Run) -> bool:
    """Whether these are the images that the run was trained on: its baselines may be fitted to no others."""
    return isinstance(run.splits.train, Drawn) or run.facts.home == identity(run.splits.train)


def prepared(run: Run, source: Source, most: int | None = None) -> dict[str, np.ndarray]:
    """Images of one size in [-1, 1], which phantoms are already, with their labels and masks, `most` at most."""
    if isinstance(source, Drawn):
        return {name: array[:most] for name, array in source.arrays.items()}
    return images.real_images(run, source, most)


def examples(run: Run) -> ArraySource:
    """What training is fed: the healthy images."""
    return ArraySource({"image": prepared(run, run.splits.train)["image"]})


def prepare(config: LesionConfig) -> images.Prepare:
    """On the device: images mirrored at random if the configuration says so."""

    def mirrored(key: Key, batch: images.Batch) -> images.Batch:
        return random_flip(key, batch, axes=(1,), names=("image",)) if config.mirror else batch

    return mirrored
