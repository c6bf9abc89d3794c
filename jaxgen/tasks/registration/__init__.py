"""Registration: the options, data, evaluation and presets that its experiments share.

Single images with label maps become pairs: each under a known warp, and each with another subject.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.config import RunConfig, option
from jaxgen.data import ArraySource, Source, Splits, Subset, load, measure_range, resized
from jaxgen.data.images import convert_channels, sides_of
from jaxgen.data.registering import in_network, registered_maps
from jaxgen.data.registration_pairs import PairSource
from jaxgen.data.source import evenly_spaced
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Experiment, Run, StageSpec
from jaxgen.facts import Facts
from jaxgen.medical.registration.models import Alignment, Registration
from jaxgen.presets import FULL as FULL_OF_ALL
from jaxgen.presets import SMOKE as SMOKE_OF_ALL
from jaxgen.presets import Changes, make
from jaxgen.tasks import images
from jaxgen.tasks.images import Widths
from jaxgen.train import Stage
from jaxgen.types import Batch, Key

HELD_BYTES = 2**28
"""Of training pairs that are made once and kept; more are made when they are asked for."""
EVALUATED = {"size": 32, "test_images": 4, "chunk": 4, "shares": 3}
SMOKE: Changes = {**SMOKE_OF_ALL, **EVALUATED, "checkpoint_every": 2, "channels": (8,)}
FULL: Changes = {**FULL_OF_ALL, "precision": "bfloat16"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegistrationConfig(RunConfig):
    """The options of every registration experiment."""

    data: str = option(
        "brain_tissue_phantom", "data: a name, a folder with images/ and masks/, or a .npz", group="data"
    )
    foreground: str = option(
        "each", "labels of the masks that are compared, separated by commas; or each", group="data"
    )
    size: int | Widths = option(64, "pixels of a side, or voxels along each of three axes", ge=8, le=2048, group="data")
    displacement: float = option(4.5, "largest component of known warps, in pixels", gt=0, le=100, group="data")
    window: int = option(9, "side of the windows of the local correlation, in pixels, odd", ge=3, le=63, group="method")
    weight: float = option(2.0, "lambda: weight of correlation and smoothness together", gt=0, group="method")
    smoothness: float = option(1.0, "weight of the field's squared gradient within them", ge=0, group="method")
    squarings: int = option(
        0, "take answers as velocities, in this number of squarings (0: as fields)", ge=0, le=12, group="method"
    )
    test_images: int = option(64, "test images, each of which is in two pairs", ge=2, group="evaluation")
    shares: int = option(9, "shares of the way that trajectories are evaluated at", ge=3, le=101, group="evaluation")
    chunk: int = option(32, "pairs that are registered together", ge=1, le=4096, group="evaluation")

    def __post_init__(self) -> None:
        """Check every field."""
        super().__post_init__()
        if not isinstance(self.size, int) and len(self.size) not in (2, 3):
            raise UserError(f"--size must be one number, or one for each of two or three axes, got {self.size}")
        if self.window % 2 == 0:
            raise UserError(f"--window must be odd, got {self.window}")

    @property
    def spatial(self) -> int:
        """The number of spatial axes."""
        return len(sides_of(self.size))

    @property
    def alignment(self) -> Alignment:
        """What fields are trained for."""
        return Alignment(self.weight, self.smoothness, self.window, self.squarings)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegistrationFacts(Facts):
    """What registering must know of the training images.

    Attributes:
        value_range: raw values of -1 and 1, ``(low, high)``.
        structures: the names of the labels that are compared.
    """

    value_range: tuple[tuple[float, ...], ...]
    structures: tuple[str, ...]


def load_labelled(config: RegistrationConfig) -> Splits:
    """Images with label maps; the computed slices are computed volumes where a size has three axes."""
    name, wants = config.data, ("image", "mask")
    if name == "brain_tissue_phantom" and config.spatial == 3:
        name = "brain3d_tissue_phantom"
    splits = load(name, seed=config.seed, wants=wants, foreground=config.foreground, spatial=config.spatial)
    return splits if splits.mask_names else splits._replace(mask_names=("foreground",))


def measure(config: RegistrationConfig, splits: Splits) -> RegistrationFacts:
    """The range of the values, in grey, and the names of the structures."""
    return RegistrationFacts(value_range=measure_range(splits.train, channels=1), structures=splits.mask_names)


def pairs_of(run: Run, source: Source, purpose: int, most: int | None = None, **options: Any) -> PairSource:
    """The pairs of a split, at the size and in the values that the networks see."""
    chosen = Subset(source, evenly_spaced(len(source), len(source) if most is None else most))
    if len(chosen) < 2:
        raise UserError(f"--data {run.config.data}: one image makes no pair of subjects; 2 are the least")
    seen = resized(chosen, run.config.size, run.facts.value_range, channels=1, dtype=np.uint8)
    return PairSource(seen, run.config.displacement, seed=3 * run.config.seed + purpose, **options)


def example_pairs(run: Run) -> Source:
    """What training is fed: pairs of images as bytes."""
    pairs = pairs_of(run, run.splits.train, 0, images_only=True)
    held = 2 * len(pairs) * int(np.prod(sides_of(run.config.size))) <= HELD_BYTES
    return ArraySource.from_source(pairs) if held else pairs


def to_unit(key: Key, batch: Batch) -> Batch:
    """On the device: bytes to [-1, 1]."""
    del key
    return {name: batch[name].astype(jnp.float32) / 127.5 - 1 for name in ("moving", "fixed")}


def stage(name: str, build: Callable[[Any], Registration]) -> StageSpec:
    """A stage that trains one model of ``--methods``, by Adam with the paper's decay of the first moment."""

    def made(run: Run) -> Stage:
        model = build(run.config).model
        optimizers = {group: images.optimizer(run.config, b1=0.5) for group in model.objectives[0].groups}
        return Stage(name, model, optimizers, run.config.steps, to_unit)

    return StageSpec(name, made, lambda config: name in config.methods)


def apply_pair(run: Run, name: str, registration: Registration) -> Callable[..., dict[str, np.ndarray]]:
    """What ``jaxgen apply`` makes of two images by a trained stage (`jaxgen.data.registering.registered_maps`)."""
    sides, bounds = sides_of(run.config.size), run.facts.value_range
    program = jax.jit(registration.flow)

    def find(moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
        if fixed.ndim - 1 != len(sides):
            raise UserError(f"the run registers images of {len(sides)} axes, and these have {fixed.ndim - 1}")
        grey = [convert_channels(np.asarray(x, np.float32), 1) for x in (moving, fixed)]
        seen, back = in_network(grey, sides, bounds)
        return back(np.asarray(program(run.params[name], *(x[None] for x in seen)))[0])

    return functools.partial(registered_maps, find)


def experiment(
    *,
    config: type[RegistrationConfig],
    presets: Mapping[str, Changes],
    stages: Sequence[StageSpec],
    evaluate: Callable[[Run], Evaluation],
    **fields: Any,
) -> Experiment:
    """An experiment that registers pairs.

    Args:
        config: the class of the configuration.
        presets: what each preset changes (`jaxgen.presets.make`).
        stages: the stages of training.
        evaluate: ``evaluate(run)``, by `jaxgen.tasks.registration.evaluation.compare`.
        **fields: of `Experiment`: ``name``, ``summary`` and ``data``.
    """
    shared: dict[str, Any] = {
        "load": load_labelled,
        "measure": measure,
        "facts": RegistrationFacts,
        "examples": example_pairs,
        "spatial_dims": lambda config: config.spatial,
        "baseline": "identity",
    }
    made = make(config, presets, smoke=SMOKE, full=FULL)
    return Experiment(presets=made, stages=stages, evaluate=evaluate, **shared, **fields)
