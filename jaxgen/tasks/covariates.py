"""Images and volumes with covariates: options, data, facts, and whether samples have the covariates asked for."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxgen import draws
from jaxgen.config import option
from jaxgen.data import Splits, load, measure_range
from jaxgen.data.covariates import covariates_of, range_of, to_unit
from jaxgen.data.phantoms.brain3d import covariates_of_brain3d, features_of_brain3d
from jaxgen.data.resizing import ResizedSource
from jaxgen.data.source import Subset, evenly_spaced
from jaxgen.errors import UserError
from jaxgen.experiment import Metric, Run, StageSpec
from jaxgen.families import regression_model
from jaxgen.families.image_features import ImageFeatures
from jaxgen.metrics.sample_sets import RealArrays, Scaled
from jaxgen.nets import classifier
from jaxgen.tasks import images
from jaxgen.train import Stage
from jaxgen.types import Batch, Key, Net

MOST_TRAIN, MOST_MEASURED = 1000, 50
"""Training volumes that samples are compared with, and those whose range of values is measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VolumeConfig(images.ImageConfig):
    """The options of experiments on volumes with covariates."""

    data: str = option(
        "brain3d_phantom", "data: a name, a folder with covariates.csv, or a .npz with covariates", group="data"
    )
    size: images.Widths = option(  # type: ignore[assignment]  # three axes, where images have one number for both
        (32, 48, 32), "voxels along each axis; volumes are resized", ge=8, le=1024, group="data"
    )
    chunk: int = option(16, "volumes computed together", ge=1, le=4096, group="evaluation")
    samples: int = option(256, "volumes to draw for the metrics, and real ones to compare", ge=8, group="evaluation")
    sweeps: int = option(16, "volumes in which one covariate is changed, for each", ge=1, group="evaluation")
    feature_steps: int = option(600, "training steps of the network that measures covariates", ge=1, group="evaluation")
    feature_channels: images.Widths = option((16, 32, 64), "widths of its levels", ge=4, group="evaluation")

    def __post_init__(self) -> None:
        """Check every field, and that there are three axes."""
        super().__post_init__()
        if len(self.size) != 3:
            raise UserError(f"--size must be three numbers such as 32,48,32, got {','.join(map(str, self.size))}")
        if self.slices:
            raise UserError("--slices: whole volumes are wanted here; leave it out")

    @property
    def exact(self) -> bool:
        """Whether the data are phantoms, whose covariates thresholds measure."""
        return self.data.split("/")[0] == "brain3d_phantom"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CovariateFacts(images.ImageFacts):
    """What sampling must know of images with covariates.

    Attributes:
        covariates: their names, empty without any.
        covariate_range: the lowest and the highest value of each in the training data, ``(low, high)``.
    """

    covariates: tuple[str, ...] = ()
    covariate_range: tuple[tuple[float, ...], ...] = ((), ())


def load_volumes(config: VolumeConfig) -> Splits:
    """Volumes with their covariates; data without are refused."""
    return load(config.data, seed=config.seed, wants=("image", "covariates"), spatial=3)


def load_images(config: images.ImageConfig) -> Splits:
    """Images, with their classes and covariates if they have any."""
    return images.open_images(config, ("image",), ("label", "covariates"))


def measure(config: images.ImageConfig, splits: Splits) -> CovariateFacts:
    """The range of the values and of each covariate, the channels and the classes of the training data."""
    first, names = splits.train[0]["image"], splits.covariate_names
    low, high = measure_range(splits.train, most=MOST_MEASURED if first.ndim == 4 else 10 * MOST_MEASURED)
    return CovariateFacts(
        value_range=(tuple(low), tuple(high)),
        image_channels=int(first.shape[-1]),
        classes=tuple(splits.label_names),
        covariates=tuple(names),
        covariate_range=range_of(splits.train, names, f"--data {config.data}"),
    )


def examples(run: Run) -> ResizedSource:
    """What training is fed: volumes of one size, a byte per value, brought to it when they are asked for."""
    return ResizedSource(run.splits.train, run.config.size, run.facts.value_range, dtype=np.uint8)


def conditions_of(batch: Mapping[str, Any], facts: CovariateFacts) -> dict[str, Any]:
    """The class and the covariates of a batch as a model takes them, the latter with their range brought to [0, 1]."""
    found = {"label": batch["label"]} if facts.classes and "label" in batch else {}
    if facts.covariates:
        found["covariates"] = to_unit(batch["covariates"], facts.covariate_range)
    return found


def network(run: Run) -> Net:
    """The network that reads covariates off real volumes."""
    return classifier(len(run.facts.covariates), channels=run.config.feature_channels, blocks=1, patch=2)


def build(run: Run) -> Stage:
    """Train it on real volumes with a little noise."""
    prepared, steps = images.prepare_images(run.config), run.config.feature_steps

    def prepare(key: Key, batch: Batch) -> Batch:
        image_key, noise_key = draws.split(key, 2)
        image = prepared(image_key, {"image": batch["image"]})["image"]
        return conditions_of(batch, run.facts) | {"image": image + 0.05 * draws.normal(noise_key, image.shape)}

    optimizers = {"net": images.optimizer(run.config, steps)}
    return Stage("features", regression_model(network(run)), optimizers, steps, prepare)


STAGE = StageSpec("features", build, wanted=lambda config: not config.exact)

Reading = Callable[[np.ndarray], np.ndarray]
"""Of volumes in [-1, 1], numbers ``[n, d]``."""


def readings(run: Run) -> tuple[Reading, Reading]:
    """Features of volumes, and their covariates in the units of the data.

    Of phantoms the features are seven volumes and intensities measured by thresholds; of other data those of the
    network that was trained to read the covariates of real training volumes.
    """
    facts = run.facts
    low, high = (np.asarray(bound, np.float32) for bound in facts.covariate_range)
    if "features" not in run.params:
        if not run.config.exact:
            raise UserError(f"--data {run.config.data}: the run can measure phantoms alone, brain3d_phantom")
        dark, bright = (np.asarray(bound, np.float32) for bound in facts.value_range)
        raw = lambda x: dark + (x + 1) / 2 * (bright - dark)  # noqa: E731
        return lambda x: features_of_brain3d(raw(x)), lambda x: covariates_of_brain3d(raw(x))
    trained = ImageFeatures(network(run), run.params["features"]["net"], run.config.chunk)
    return trained, lambda x: low + trained.answers(x) * (high - low)


class RealVolumes(RealArrays):
    """Training and test volumes, `covariates`, those of the latter, and ``measure``, which gives those of any."""

    def __init__(self, run: Run) -> None:
        test = run.splits.test
        chosen = Subset(test, evenly_spaced(len(test), run.config.samples))
        train = images.real_images(run, run.splits.train, MOST_TRAIN)["image"]
        features, self.measure = readings(run)
        self.covariates = covariates_of(chosen)
        super().__init__(Scaled(features, train), train, images.real_images(run, chosen)["image"])


def described(names: tuple[str, ...]) -> dict[str, Metric]:
    """How to show the metrics of covariates."""
    return {f"r_{name}": Metric(f"r, {name}", "higher", "correlation of asked and measured") for name in names} | {
        "similarity": Metric("MS-SSIM of pairs", "", "of two samples; best where it is that of held-out volumes"),
        "moved": Metric("Moved", "", "measured change over the change that was asked for; 1 is right"),
        "others": Metric("Others moved", "lower", "the largest change of another covariate, over that of this one"),
    }
