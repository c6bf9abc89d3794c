"""Shapes of volumes from one slice: the options, data, training, baselines, evaluation and use of their experiments."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgen import draws
from jaxgen.chunks import in_chunks
from jaxgen.config import option
from jaxgen.data import ArraySource, Source, Splits, Subset, load, measure_range, most_of
from jaxgen.data.image import Image
from jaxgen.data.middle_slices import middle_slices
from jaxgen.data.source import evenly_spaced
from jaxgen.data.square import to_square
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Metric, Run
from jaxgen.families.translation import conditional_diffusion, direct_translation
from jaxgen.figures.editing import first_rows
from jaxgen.figures.volumes import middle
from jaxgen.imaging.augment import random_flip
from jaxgen.imaging.inflation import cylinder, fit_thickness, inflated
from jaxgen.metrics.shapes import shape_errors, spread_of
from jaxgen.paths import PATHS
from jaxgen.samplers import Sampling, grids
from jaxgen.samplers.catalogue import SAMPLERS
from jaxgen.tasks import images, networks
from jaxgen.types import Array, Batch, Key, Model

MOST_FITTED = 100
"""Training volumes that the thickness of baselines is fitted to."""
DESCRIBE = {
    "dice": Metric("Dice", "higher", "with the true volume, mean over test volumes"),
    "volume_error": Metric("Error of the volume", "lower", "relative, mean of its absolute value"),
    "surface_error": Metric("Error of the surface", "lower", "the same of the area"),
    "roughness_error": Metric(
        "Error of the roughness", "lower", "the same of the surface over that of the smoothed volume"
    ),
    "spread": Metric("Spread", "", "1 less the mean Dice of two samples of one slice"),
    "thickness": Metric("Thickness", "", "half of it over the largest distance from the outline, fitted in training"),
}
Draw = Callable[[Key, np.ndarray], np.ndarray]
"""``draw(key, slices [n, h, w, 2]) -> bool [n, m, x, y, z]``, m volumes for each slice."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShapeConfig(networks.UNetConfig):
    """The options of experiments that find a volume from its middle slice."""

    data: str = option("cell3d_phantom", "volumes with masks: a name, a folder, or an npz", group="data")
    size: int = option(32, "voxels along each axis; volumes are resized", ge=8, le=512, group="data")
    chunk: int = option(16, "volumes computed together", ge=1, le=4096, group="evaluation")
    path: str = option("cosine", "how noise is mixed in", choices=PATHS, group="method")
    prediction: Literal["noise", "x0", "v"] = option("v", "what diffusion predicts", group="method")
    mask_only: float = option(0.2, "share of training slices without image", ge=0, lt=1, group="method")
    sampler: str = option("ddim_eta1", "how volumes are drawn", choices=SAMPLERS, group="sampling")
    sampler_steps: int = option(20, "steps from noise to volume", ge=1, le=10_000, group="sampling")
    members: int = option(5, "samples of each slice", ge=2, le=1024, group="sampling")
    test_images: int = option(64, "test volumes to evaluate at most, evenly spaced", ge=1, group="evaluation")


def load_volumes(config: ShapeConfig) -> Splits:
    """Volumes with the mask of one structure."""
    return load(config.data, seed=config.seed, wants=("image", "mask"), foreground="binary", spatial=3)


def measure(config: ShapeConfig, splits: Splits) -> images.ImageFacts:
    """The range of values of the training volumes; what is drawn has one channel."""
    bounds = measure_range(splits.train)
    return images.ImageFacts(value_range=bounds, image_channels=1)


def slices_of(run: Run, source: Source, most: int | None = None) -> ArraySource:
    """Middle slices ``source`` and the masks of their volumes ``image``, at most `most`, evenly chosen."""
    chosen = Subset(source, evenly_spaced(len(source), len(source) if most is None else most))
    return middle_slices(chosen, run.config.size, run.facts.value_range)


def repeated(slices: Array, depth: int) -> Array:
    """Slices ``[b, h, w, c]`` as volumes ``[b, h, w, depth, c]``, every slice alike."""
    return jnp.repeat(slices[:, :, :, None], depth, axis=3)


def prepare(config: ShapeConfig) -> images.Prepare:
    """On the device: bytes to [-1, 1], turned over at random in the plane; some slices lose their image."""

    def prepare(key: Key, batch: Batch) -> Batch:
        flip_key, lost_key = draws.split(key, 2)
        pair = {name: batch[name].astype(jnp.float32) / 127.5 - 1 for name in ("image", "source")}
        if config.mirror:
            pair = random_flip(flip_key, pair, axes=(0, 1), names=("image", "source"))
        lost = draws.uniform(lost_key, (len(pair["source"]), 1, 1, 1)) < config.mask_only
        known = jnp.where(lost & (jnp.arange(2) == 0), -1.0, pair["source"])
        return pair | {"source": repeated(known, config.size)}

    return prepare


def regression(run: Run) -> Model:
    """The baseline: an equal network that says for each voxel how likely it is inside."""

    def error(logits: Array, x: Array) -> Array:
        return optax.sigmoid_binary_cross_entropy(logits, (x + 1) / 2).reshape(len(x), -1).mean(1)

    return direct_translation(networks.network(run), error)


def model(run: Run) -> Model:
    """Diffusion of volumes given their slice, repeated along z as clean channels."""
    config, path = run.config, PATHS[run.config.path]()
    grid = grids.uniform(path, config.sampler_steps)
    sampling = Sampling(path, SAMPLERS[config.sampler].step(path), grid, config.prediction)
    return conditional_diffusion(networks.network(run), (config.size,) * 3 + (1,), sampling)


MODELS = {"unet": regression, "diffusion": model}
STAGES = tuple(images.stage(name, one, prepare=prepare) for name, one in MODELS.items())


def drawn(run: Run, name: str, members: int = 1) -> Draw:
    """How a trained stage finds volumes."""
    made, depth = MODELS[name](run), run.config.size
    program = jax.jit(lambda params, keys, s: made.sample(params, keys, len(s), repeated(s, depth)) > 0)

    def draw(key: Key, slices: np.ndarray) -> np.ndarray:
        keys = jax.random.split(key, members * len(slices))
        again = np.repeat(slices, members, 0)
        found = in_chunks(lambda *x: program(run.params[name], *x), len(again), run.config.chunk, keys, again)
        return found[..., 0].reshape(len(slices), members, *(depth,) * 3)

    return draw


def baselines(run: Run) -> tuple[dict[str, Draw], dict[str, float]]:
    """Inflated outlines and cylinders, and the thickness of each, fitted to training volumes."""
    arrays = slices_of(run, run.splits.train, MOST_FITTED).arrays
    outlines, true = arrays["source"][..., 1] > 0, arrays["image"][..., 0] > 0
    kinds, size = {"inflated outline": inflated, "cylinder": cylinder}, run.config.size
    fitted = {name: fit_thickness(make, outlines, true) for name, make in kinds.items()}

    def draw(name: str, key: Key, slices: np.ndarray) -> np.ndarray:
        return np.stack([kinds[name](mask, size, fitted[name]) for mask in slices[..., 1] > 0])[:, None]

    return {name: functools.partial(draw, name) for name in kinds}, fitted


def evaluate(run: Run) -> Evaluation:
    """All methods on test slices: outlines alone, the U-Net, samples and their majority, with image and without."""
    arrays = slices_of(run, run.splits.test, most_of(run.config.data, run.config.test_images)).arrays
    slices, true = arrays["source"].astype(np.float32) / 127.5 - 1, arrays["image"][..., 0] > 0
    geometry, thickness = baselines(run)
    ensemble = drawn(run, "diffusion", run.config.members)
    blind = lambda key, s: ensemble(key, np.stack([np.full_like(s[..., 0], -1), s[..., 1]], -1))  # noqa: E731
    methods = {**geometry, "unet": drawn(run, "unet"), "diffusion": ensemble, "mask alone": blind}
    table: dict[str, Any] = {}
    rows: list[dict[str, Any]] = [{"volume": i} for i in range(len(true))]
    shown, seconds = {"slice": slices[..., :1], "true": _side(true)}, {}
    for number, (method, draw) in enumerate(methods.items()):
        began = time.perf_counter()
        found = draw(jax.random.fold_in(run.key, number), slices)
        seconds[method] = {"s per slice": (time.perf_counter() - began) / len(slices)}
        kinds = {method: found.mean(1) > 0.5}
        if found.shape[1] > 1:
            kinds[f"{method}, one sample"] = found[:, 0]
        for name, x in kinds.items():
            each = [shape_errors(a, b) for a, b in zip(x, true, strict=True)]
            table[name] = {metric: float(np.mean([one[metric] for one in each])) for metric in each[0]}
            for row, one in zip(rows, each, strict=True):
                row |= {f"{name}: {metric}": value for metric, value in one.items()}
            shown[name] = _side(x)
        if found.shape[1] > 1:
            table[method]["spread"] = float(np.mean([spread_of(x) for x in found]))
    table = {name: row | ({"thickness": thickness[name]} if name in thickness else {}) for name, row in table.items()}
    caption = "Test volumes: the slice that is seen, and the middle of the volume across it, true and found."
    said = ", ".join(f"{name} {row['dice']:.3f}" for name, row in table.items())
    figures, headline = {"volumes": first_rows(shown, caption, 8)}, f"Dice of volumes from one slice: {said}."
    return Evaluation({**table, "volumes": len(true)}, figures, headline, DESCRIBE, timings=seconds, cases=rows)


def _side(masks: np.ndarray) -> np.ndarray:
    return middle(2.0 * masks[..., None] - 1, axis=1)


def sampled(run: Run, n: int) -> Evaluation:
    """What ``jaxgen sample`` leaves: volumes of n test slices, from the first on and over again."""
    test = slices_of(run, run.splits.test).arrays["source"]
    slices = test[np.arange(n) % len(test)].astype(np.float32) / 127.5 - 1
    found = drawn(run, "diffusion")(run.key, slices)[:, 0]
    figures = {"samples": first_rows({"slice": slices[..., :1], "diffusion": _side(found)}, "Test slices and volumes.")}
    arrays = {"slice": slices[..., 0], "volume": 2 * found.astype(np.float32) - 1}
    return Evaluation({"volumes": n}, figures, f"{n} volumes drawn", arrays=arrays, images=("slice", "volume"))


def applied(run: Run) -> Callable[[Key, Image], Mapping[str, Any]]:
    """What ``jaxgen apply`` makes of a slice: ``volume``, the share of samples that each voxel is inside of.

    An image of one channel is a mask, not zero inside; of two channels the second is the mask.
    """
    size, members = run.config.size, run.config.members
    low, high = (np.asarray(bound, np.float32)[:1] for bound in run.facts.value_range)
    draw = drawn(run, "diffusion", members)

    def find(key: Key, image: Image) -> dict[str, Any]:
        raw = np.asarray(image.array, np.float32)
        if raw.shape[-1] > 2:
            raise UserError(f"the run takes a mask, or an image and its mask, and this has {raw.shape[-1]} channels")
        inside = raw[..., -1:] != 0
        if not inside.any():
            raise UserError("nothing is in its mask; give an image whose last channel is not zero inside")
        mask, _ = to_square(np.where(inside, 1.0, 0.0).astype(np.float32), size, np.zeros(1), np.ones(1))
        light = to_square(raw[..., :1], size, low, high)[0] if raw.shape[-1] == 2 else np.full_like(mask, -1)
        given = np.concatenate([np.where(mask > 0, np.clip(light, -1, 1), -1), np.where(mask > 0, 1, -1)], -1)
        found = draw(key, given[None].astype(np.float32))[0].mean(0).astype(np.float32)
        pixel = max(raw.shape[:2]) / size
        return {"volume": Image(found[..., None], np.diag([pixel, pixel, pixel, 1]), {"kind": "volume"})}

    return find
