"""CT: slices in Hounsfield units seen in a few views or with metal in the body, and sinograms that a person brings."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.data import ArraySource, Source, Splits, most_of, resized
from jaxgen.data.hounsfield import check_hounsfield
from jaxgen.data.image import Image
from jaxgen.data.source import evenly_spaced
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.imaging.affine import random_affine
from jaxgen.imaging.augment import random_flip
from jaxgen.imaging.ct_scan import AIR, CTScan, ct_scan, ct_system, filtered, interpolated, sparse_views, with_metal
from jaxgen.imaging.filtered_backprojection import WINDOWS
from jaxgen.imaging.projection import covering
from jaxgen.medical.reconstruction import total_variation
from jaxgen.medical.reconstruction.cases import Case, Method
from jaxgen.metrics.best import nearest
from jaxgen.metrics.sample_sets import cut
from jaxgen.tasks import diffusion, images
from jaxgen.tasks.reconstruction import posterior
from jaxgen.types import Array, Batch, Key

METAL = "metal"
SHOWN = 500.0
"""Figures show -1000 to 500 Hounsfield units, where most of the anatomy is."""


def load(config: images.ImageConfig) -> Splits:
    """Slices, refused where they cannot be in Hounsfield units."""
    splits = images.load_images(config)
    for part in splits[:3]:
        check_hounsfield(part, f"--data {config.data}")
    return splits


def measure(config: Any, splits: Splits) -> images.ImageFacts:
    """Slices of one channel, from air to ``config.high`` Hounsfield units."""
    return images.ImageFacts(value_range=((AIR,), (config.high,)), image_channels=1)


def _moves(config: Any) -> dict[str, Any]:
    """How far training slices are moved; empty where they are not."""
    moves = {"rotation": float(np.deg2rad(config.rotate)), "zoom": config.zoom, "shift": config.shift}
    return moves if any(moves.values()) else {}


def examples(run: Run) -> ArraySource:
    """Slices at their size; at twice their size where they are moved, which would blur them otherwise."""
    size = run.config.size * (2 if _moves(run.config) else 1)
    return resized(run.splits.train, size, run.facts.value_range, channels=1, dtype=np.float16)


def prepare(config: Any) -> images.Prepare:
    """On the device: mirrored at random, and moved as ``rotate``, ``zoom`` and ``shift`` of the configuration say."""
    moves = _moves(config)

    def prepare(key: Key, batch: Batch) -> Batch:
        flip_key, move_key = draws.split(key, 2)
        batch = {**batch, "image": batch["image"].astype(jnp.float32)}
        if config.mirror:
            batch = random_flip(flip_key, batch, axes=(1,), names=("image",))
        if moves:
            moved = random_affine(move_key, batch, **moves, names=("image",))["image"]
            batch["image"] = moved.reshape(len(moved), config.size, 2, config.size, 2, -1).mean((2, 4))
        return batch

    return prepare


def problem(run: Run) -> posterior.Problem:
    """CT, as posterior methods need it; samples are cut to [-1, 1]."""
    return posterior.Problem(
        kind="ct",
        system=ct_system,
        prior=lambda params, scan: diffusion.denoise_with(run, params),
        channels=lambda scan: 1,
        finish=lambda scan, operator, y, x: (cut(x), None),
        view=lambda x: x,
        ends_on_prior=True,
    )


def baselines(run: Run, weights: tuple[float, ...]) -> tuple[Method, ...]:
    """Filtered back-projection, the same through interpolated metal traces, and total variation with these weights."""

    @jax.jit
    def variation(scan: CTScan, weight: Array) -> Array:
        options: dict[str, Any] = {"iterations": run.config.tv_steps, "squared_norm": 1.05, "minimum": -1.0}
        return cut(total_variation(*ct_system(scan), weight, **options))

    def tv(scan: CTScan, weight: float) -> np.ndarray:
        return posterior.in_chunks(run, lambda part: variation(part, weight), scan)

    def interpolation(scan: CTScan, window: str) -> np.ndarray:
        return filtered(scan, window, interpolated(scan))

    return (
        Method("fbp", filtered, tuple(WINDOWS)),
        Method("interpolation", interpolation, tuple(WINDOWS), only=(METAL,)),
        Method("tv", tv, weights),
    )


def same_views(run: Run) -> dict[str, str]:
    """Posterior methods are tuned once for all numbers of views, on the middle one."""
    views = sorted(run.config.views)
    return {str(n): str(views[len(views) // 2]) for n in views}


def cases(run: Run) -> tuple[dict[str, Case], dict[str, Case]]:
    """Validation and test slices in every situation: each number of views, and metal."""
    config = run.config
    scan_key, draw_key = jax.random.split(jax.random.fold_in(run.key, 0))
    tuned = _cases(run, run.splits.validation, config.tuning, scan_key, lambda number: draw_key)
    most = most_of(config.data, config.cases)
    draw = functools.partial(jax.random.fold_in, run.key)
    return tuned, _cases(run, run.splits.test, most, draw(1), lambda number: draw(2 + number))


def _cases(run: Run, source: Source, count: int | None, key: Key, draw_key: Callable[[int], Key]) -> dict[str, Case]:
    config = run.config
    numbers = evenly_spaced(len(source), count or len(source))
    picked = ArraySource({"image": np.stack([source[i]["image"] for i in numbers])})
    x = resized(picked, config.size, run.facts.value_range, channels=1).arrays["image"]
    pixel = config.field / config.size
    metal = with_metal(key, x, config.metal_views, high=config.high, pixel=pixel, photons=config.photons)
    nowhere, most = np.zeros(x.shape, bool), max(config.views)
    scans = {str(views): (sparse_views(x, views, most), nowhere) for views in config.views} | {METAL: metal}
    window = (-1.0, 2 * (SHOWN - AIR) / (config.high - AIR) - 1)
    return {
        name: Case(scan, x, draw_key(i), "metal (white)" if name == METAL else f"{name} views", 2.0, window, ignore)
        for i, (name, (scan, ignore)) in enumerate(scans.items())
    }


def apply(run: Run) -> Callable[[Key, Image], dict[str, np.ndarray]]:
    """Reconstruct a sinogram ``[views, detectors, 1]`` with its angles and geometry, to Hounsfield units."""
    config, reconstruct = run.config, posterior.reconstructor(run, problem(run))

    def apply(key: Key, image: Image) -> dict[str, np.ndarray]:
        y, angles, geometry = image.array[..., 0], image.meta["angles"], image.meta["geometry"]
        most = covering(geometry, config.size)
        if y.shape[1] > most + 2:
            raise UserError(
                f"the sinogram has {y.shape[1]} detectors {geometry.spacing:.3g} pixels apart, and images of "
                f"{config.size} pixels are seen by {most}: save its true `spacing`, or train with a larger --size"
            )
        scan = ct_scan(y[None] / ((config.high - AIR) / 1000), angles, config.size, geometry=geometry)
        found = reconstruct(key, scan, str(nearest(config.views, len(angles))))
        half = (config.high - AIR) / 2
        return {"reconstruction": AIR + half * (found.image + 1), "uncertainty": half * found.uncertainty}

    return apply
