"""Images and volumes with covariates: options, data, facts, and whether samples have the covariates asked for."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from jaxgen.config import option
from jaxgen.data import Everything, Splits, load, measure_range, resized
from jaxgen.data.covariates import covariates_of, range_of, to_unit
from jaxgen.data.resizing import ResizedSource
from jaxgen.data.source import Subset, evenly_spaced
from jaxgen.data.volumetry import PhantomVolumetry, Reading, Segmentation
from jaxgen.errors import UserError
from jaxgen.experiment import Run, StageSpec
from jaxgen.families import classifier_model, regression_model
from jaxgen.families.image_features import Energies, ImageFeatures
from jaxgen.metrics.label_volumes import fit_covariates, label_dice
from jaxgen.metrics.sample_sets import FeatureExtractor, RealArrays, Scaled, Whitened
from jaxgen.nets import classifier, unet
from jaxgen.tasks import features, images
from jaxgen.train import Stage
from jaxgen.types import Batch, Key, Net

MOST_TRAIN, MOST_MEASURED, MOST_FITTED = 1000, 50, 200
"""Training volumes that samples are compared with, whose range is measured, and whose labels give their covariates."""


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
        of_labels: of volumes with masks, what gives covariates of them (`jaxgen.metrics.label_volumes.fit_covariates`).
    """

    covariates: tuple[str, ...] = ()
    covariate_range: tuple[tuple[float, ...], ...] = ((), ())
    of_labels: tuple[tuple[float, ...], ...] = ()
    sparse: ClassVar[tuple[str, ...]] = ("home", "of_labels")


def load_volumes(config: VolumeConfig) -> Splits:
    """Volumes with their covariates, and masks if real ones have them; data without covariates are refused."""
    masks = () if config.exact else ("mask",)
    wanted: dict[str, Any] = {"wants": ("image", "covariates"), "optional": masks, "foreground": None}
    return load(config.data, seed=config.seed, spatial=3, **wanted)


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
        of_labels=_of_labels(config, splits) if "mask" in splits.train[0] else (),
    )


def _of_labels(config: images.ImageConfig, splits: Splits) -> tuple[tuple[float, ...], ...]:
    some = Subset(splits.train, evenly_spaced(len(splits.train), MOST_FITTED))
    masks = resized(some, config.size, ((0.0,), (1.0,)), dtype=np.uint8).arrays["mask"]
    return tuple(map(tuple, fit_covariates(masks, covariates_of(some)).tolist()))


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
    """The network that finds the labels of volumes, if real ones have masks; else that which reads covariates off."""
    widths, classes = run.config.feature_channels, len(run.facts.of_labels)
    if classes:
        return unet(classes, channels=widths, blocks=1, patch=2)
    return classifier(len(run.facts.covariates), channels=widths, blocks=1, patch=2)


def build(run: Run) -> Stage:
    """Train it on real volumes."""
    config, steps = run.config, run.config.feature_steps
    prepared = features.noisy(dataclasses.replace(config, mirror=config.mirror and not run.facts.of_labels))

    def prepare(key: Key, batch: Batch) -> Batch:
        return prepared(key, {**batch, **conditions_of(batch, run.facts)})

    net, optimizers = network(run), {"net": images.optimizer(config, steps)}
    model = classifier_model(net, label="mask") if run.facts.of_labels else regression_model(net)
    return Stage("features", model, optimizers, steps, prepare)


STAGE = StageSpec("features", build, wanted=lambda config: not config.exact)


Measure = PhantomVolumetry | Segmentation | Reading


def measuring(run: Run) -> Measure:
    """What measures covariates of volumes: of phantoms by thresholds, of real ones by the trained network."""
    config, facts = run.config, run.facts
    if config.exact:
        return PhantomVolumetry(facts.value_range)
    if "features" not in run.params:
        raise UserError(f"--data {config.data}: the run can measure phantoms alone, brain3d_phantom")
    trained = ImageFeatures(network(run), run.params["features"]["net"], config.chunk)
    if facts.of_labels:
        return Segmentation(trained, facts.of_labels, config.chunk)
    return Reading(trained, facts.covariate_range)


class RealVolumes(RealArrays):
    """Training and held-out volumes, `covariates`, those of the latter, and ``measure``, which gives those of any.

    Features are seven volumes and intensities of phantoms; of real volumes energies of oriented filters, whitened on
    the training volumes. Real ones are few: those of validation, which chooses nothing here, are held out too. ``dice``
    says how well a segmentation network does on held-out volumes, by label.
    """

    def __init__(self, run: Run) -> None:
        config, splits, self.measure, self.dice = run.config, run.splits, measuring(run), {}
        one = config.exact or isinstance(config.data, Everything)
        unseen = (splits.test,) if one else (splits.test, splits.validation)
        chosen = [Subset(part, evenly_spaced(len(part), config.samples)) for part in unseen]
        parts = [images.real_images(run, part) for part in chosen]
        held_out = {name: np.concatenate([part[name] for part in parts])[: config.samples] for name in parts[0]}
        self.covariates = np.concatenate([covariates_of(part) for part in chosen])[: config.samples]
        train = images.real_images(run, splits.train, MOST_TRAIN)["image"]
        extract: FeatureExtractor = Whitened(Energies(config.chunk), train)
        if isinstance(self.measure, PhantomVolumetry):
            extract = Scaled(self.measure.features, train)
        elif isinstance(self.measure, Segmentation) and "mask" in held_out:
            found, labels = self.measure.labels(held_out["image"]), len(run.facts.of_labels) - 1
            self.dice = label_dice(found, held_out["mask"], labels)
        super().__init__(extract, train, held_out["image"])
