"""Low-dose CT as a translation: from a low dose to the full one, computed from clean slices or given as pairs."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from jaxgen import draws, headings
from jaxgen.config import option
from jaxgen.data import ArraySource, Splits, Subset
from jaxgen.data.domains import Domain, has_sources
from jaxgen.data.hounsfield import check_hounsfield
from jaxgen.data.scans import Scanned
from jaxgen.data.source import evenly_spaced
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Run
from jaxgen.imaging.augment import random_crop, random_flip
from jaxgen.medical.reconstruction.filters import FILTERS, best_setting, filtered
from jaxgen.metrics.noise_texture import contrast_to_noise, false_structures, local_std_error, noise_power_distance
from jaxgen.tasks import images
from jaxgen.tasks.translation import data
from jaxgen.tasks.translation.baselines import Translator
from jaxgen.tasks.translation.evaluation import Comparison
from jaxgen.types import Batch, Key

LOW = -1024.0
"""Hounsfield units that -1 stands for."""
SCANS = {"data": "ct_lesion_phantom/32", "size": 32, "crop": 24, "views": 24, "train_slices": 8, "tuning": 2}
SMOKE = {**SCANS, "feature_steps": 3, "game_steps": 6, "critic_steps": 2}
"""What ``smoke`` changes in the data and the training."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowDoseConfig(data.TranslationConfig):
    """The options of low-dose CT."""

    data: str = option(
        "ct_lesion_phantom", "clean slices in Hounsfield units, or pairs: source/ (low dose) and target/", group="data"
    )
    train_slices: int = option(600, "training slices at most, evenly spaced", ge=2, group="data")
    low_dose: float = option(1e4, "photons per ray of the low dose, where it is computed", gt=1, group="scan")
    full_dose: float = option(1e5, "the same of the full dose; 0 for no noise", ge=0, group="scan")
    views: int = option(180, "views over half a circle", ge=4, le=4096, group="scan")
    field: float = option(400.0, "width of an image in mm", gt=0, group="scan")
    high: float = option(1500.0, "Hounsfield units of the brightest value kept; -1024 is the darkest", group="data")
    window: tuple[float, float] = option((-160.0, 240.0), "Hounsfield units between which metrics look", group="data")
    crop: int = option(32, "pixels of a side of training patches", ge=8, group="data")
    tuning: int = option(16, "validation slices on which filters are tuned", ge=1, group="evaluation")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        if self.window[0] >= self.window[1]:
            raise UserError(f"--window must ascend, such as -160,240, got {self.window[0]:g},{self.window[1]:g}")
        if self.crop > self.size:
            raise UserError(f"--crop must be at most --size {self.size}, got {self.crop}")


def load(config: LowDoseConfig) -> Splits:
    """Pairs in Hounsfield units, or clean slices of which they are computed."""
    if config.unpaired:
        raise UserError("--unpaired: every method of low-dose CT learns from pairs; leave it out")
    given = has_sources(config.data)
    splits = data.load(config) if given else images.open_images(config, ("image",), ("mask",))
    for part in splits[:3]:
        check_hounsfield(part, f"--data {config.data}")
        if given:
            check_hounsfield(Domain(part, "source"), f"--data {config.data}, low dose")
    if len(splits.train):
        some = evenly_spaced(len(splits.train), config.train_slices)
        splits = splits._replace(train=Subset(splits.train, some))
    if given:
        return splits
    doses, seed = (config.low_dose, config.full_dose), config.seed
    train, validation, test = (
        Scanned(part, doses, views=config.views, field=config.field, seed=seed) for part in splits[:3]
    )
    return splits._replace(train=train, validation=validation, test=test)


def measure(config: LowDoseConfig, splits: Splits) -> data.TranslationFacts:
    """Slices of one channel, between the same Hounsfield units at both doses."""
    bounds = ((LOW,), (config.high,))
    return data.TranslationFacts(value_range=bounds, image_channels=1, source_range=bounds, source_channels=1)


def examples(run: Run) -> ArraySource:
    """What training is fed: pairs at one size, in float32, for a byte would round the window to a few values."""
    found = data.brought(run, run.splits.train)
    return ArraySource({name: found[name] for name in ("image", "source")})


def prepare(config: LowDoseConfig) -> images.Prepare:
    """On the device: a patch of each pair at random, mirrored if the configuration says so."""

    def prepare(key: Key, batch: Batch) -> Batch:
        crop_key, flip_key = draws.split(key, 2)
        names = ("image", "source")
        pair = {name: batch[name] for name in names}
        cropped = random_crop(crop_key, pair, (config.crop, config.crop), names=names)
        return random_flip(flip_key, cropped, axes=(1,), names=names) if config.mirror else cropped

    return prepare


def in_window(config: LowDoseConfig, x: np.ndarray) -> np.ndarray:
    """Images in [-1, 1] as the window shows them, in [-1, 1] again."""
    low, high = config.window
    return np.clip(2 * (hounsfield(config, x) - low) / (high - low) - 1, -1, 1).astype(np.float32)


def hounsfield(config: LowDoseConfig, x: np.ndarray) -> np.ndarray:
    """Images in [-1, 1] in Hounsfield units."""
    return LOW + (np.asarray(x) + 1) / 2 * (config.high - LOW)


def texture(config: LowDoseConfig, x: np.ndarray, test: Mapping[str, np.ndarray]) -> dict[str, float]:
    """What is left of noise and lesions: the metrics that squared errors do not see."""
    shown, truth = in_window(config, x)[..., 0], in_window(config, test["image"])[..., 0]
    found = {"local_std": local_std_error(shown, truth)}
    if "clean" in test and config.full_dose > 0:
        clean = in_window(config, test["clean"])[..., 0]
        found["noise_power"] = noise_power_distance(shown - clean, truth - clean)
        if "mask" in test and not (test["mask"] > 0).any((1, 2)).all():
            found["false_structures"] = false_structures(shown - clean, truth - clean, test["mask"])
    if "mask" in test and (test["mask"] > 0).any():
        found["contrast_to_noise"] = contrast_to_noise(hounsfield(config, x)[..., 0], test["mask"])
    return found


def filters(run: Run) -> list[Translator]:
    """The low dose as it is, and each filter at the setting of least squared error on validation slices."""
    config = run.config
    tuned = data.brought(run, run.splits.validation, config.tuning)
    truth = in_window(config, tuned["image"])
    found = [Translator("source", lambda key, x: x)]
    for name in FILTERS:
        setting = best_setting(name, tuned["source"], truth, functools.partial(in_window, config))
        found.append(Translator(name, functools.partial(_filtered, name, setting)))
    return found


def _filtered(name: str, setting: tuple[float, ...], key: Key, x: np.ndarray) -> np.ndarray:
    del key
    return filtered(name, setting, x)


def evaluated(run: Run, methods: Sequence[Translator], network: Translator) -> Evaluation:
    """The methods compared with filters and a network of least squares, in the window of Hounsfield units.

    Args:
        run: the run.
        methods: of the recipe.
        network: that of least squares.
    """
    config = run.config
    return Comparison(
        run,
        methods,
        references=[*filters(run), network],
        view=functools.partial(in_window, config),
        extra=functools.partial(texture, config),
        describe=headings.LOW_DOSE,
    ).evaluation()
