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
class PhantomConfig(UNetConfig):
    """The options of an experiment with a small U-Net on phantom brains, or on images of a user."""

    data: str = option(
        PHANTOM, f"data: {PHANTOM} (phantoms in T2, computed), a folder, a TFDS name or a .npz", group="data"
    )
    phantoms: int = option(2000, "healthy phantoms to train on", ge=8, group="data")

    channels: images.Widths = option((16, 32, 64), "widths of the U-Net's levels", ge=4, group="network")
    attention: images.Widths | None = option(None, "levels with self-attention, 0 the finest", ge=0, group="network")
    patch: int = option(1, "fold blocks of this many pixels per side into channels first", ge=1, le=16, group="network")

    lesions: int = option(200, "phantoms of each kind of lesion to evaluate on", ge=2, group="evaluation")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnomalyConfig(PhantomConfig):
    """The options of every anomaly experiment."""

    data: str = option(
        PHANTOM, f"data: {PHANTOM} (phantoms in T2), a .npz or folder with labels or masks, or patients", group="data"
    )
    healthy: str = option("notumor", "the label of healthy images, where data have labels", group="data")
    foreground: str | int = option("binary", FOREGROUND, group="data")
    contrast: str = option("FLAIR", "the contrast to use of patients with several", group="data")
    test_patient: int = option(0, "which patient of a folder is held out for the test", ge=0, group="data")
    mirror: bool = option(False, "mirror training images left to right at random", group="data")

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
    median: int = option(3, "width in pixels of the median filter that cleans the maps, odd", ge=1, group="evaluation")
    reference_steps: int = option(
        1000, "training steps of the reference, a coarse-noise autoencoder; 0 for none", ge=0, group="evaluation"
    )
    vae_steps: int = option(
        0, "training steps of the reference variational autoencoder; 0 for none", ge=0, group="evaluation"
    )
    vae_code: int = option(64, "its latent dimension", ge=1, group="evaluation")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        object.__setattr__(self, "foreground", str(parse_foreground(self.foreground)))
        if self.median % 2 == 0:
            raise UserError(f"--median must be odd, got {self.median}")


class Drawn(ArraySource):
    """Phantoms: of the size asked for and in [-1, 1] already."""


def phantoms(
    config: PhantomConfig, n: int, part: int, lesion: Lesion | None = None, *, first: int = 0
) -> dict[str, np.ndarray]:
    """Phantoms (`brain_slices`) of a part of the data: 0 training, 1 validation, 2 test, 3 lesions."""
    return brain_slices(4 * config.seed + part, n, config.size, lesion, first=first)


def counts(config: PhantomConfig) -> tuple[int, int, int]:
    """The number of phantoms to train, validate and test on."""
    few = max(8, config.phantoms // 10)
    return config.phantoms, few, few


def phantom_splits(*parts: dict[str, np.ndarray]) -> Splits:
    """Phantoms for training, validation and test as data."""
    train, validation, test = map(Drawn, parts)
    return Splits(train, validation, test, name=PHANTOM, origin="computed", licence="CC0-1.0")


def load_phantoms(config: PhantomConfig) -> Splits:
    """Healthy phantoms."""
    return phantom_splits(*({"image": phantoms(config, n, part)["image"]} for part, n in enumerate(counts(config))))


def load(config: AnomalyConfig) -> Splits:
    """Healthy images for training and validation, and all test images; of other data test images alone.

    Raises:
        UserError: if the data do not say which images are healthy, or none is.
    """
    if config.data == PHANTOM:
        return load_phantoms(config)
    folder, whole = Path(config.data).expanduser(), isinstance(config.data, Everything)
    if folder.is_dir() and lesion_patients.files(folder):
        wanted = config.contrast, config.test_patient, config.foreground
        return lesion_patients.load(folder, *wanted, whole=whole)
    splits = images.open_images(config, ("image",), ("label", "mask"), config.foreground)
    example = splits.test[0]
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


def check_healthy(config: AnomalyConfig, splits: Splits) -> None:
    """Refuse labels among which that of the healthy is not; other data may hold ill images alone.

    Raises:
        UserError: with the labels that there are.
    """
    if config.healthy not in splits.label_names and not isinstance(config.data, Everything):
        known = ", ".join(splits.label_names)
        raise UserError(f"--healthy {config.healthy}: {config.data} has no such label; it has {known}")


def measure(
    config: PhantomConfig, splits: Splits, *, headroom: float = HEADROOM, phantom_low: float = 0.0
) -> images.ImageFacts:
    """The range of the values, the number of channels, and which training images these are.

    Values out of the range are cut off; `headroom`, a share of the range, is left above it. Phantoms, which are
    not brought to a range, are said to begin at `phantom_low`, which must be that of runs of before.
    """
    if config.data == PHANTOM:
        return images.ImageFacts(value_range=((phantom_low,), (1.0,)), image_channels=1)
    example = splits.train[0]["image"]
    low, high = (np.array(bound) for bound in measure_range(splits.train))
    high = high + headroom * (high - low)
    if example.dtype == np.uint8:
        high = np.minimum(high, 255.0)
    value_range = tuple(low.tolist()), tuple(high.tolist())
    return images.ImageFacts(value_range=value_range, image_channels=example.shape[-1], home=identity(splits.train))


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


def prepare(config: PhantomConfig) -> images.Prepare:
    """On the device: images mirrored at random if the configuration says so."""

    def mirrored(key: Key, batch: images.Batch) -> images.Batch:
        return random_flip(key, batch, axes=(1,), names=("image",)) if config.mirror else batch

    return mirrored
