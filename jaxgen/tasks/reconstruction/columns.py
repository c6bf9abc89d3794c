"""MRI of whole columns of k-space: complex images with a smooth phase, one coil, and a network trained to restore them.

In contrast to `jaxgen.tasks.reconstruction.mri` the network is not a prior: it has seen what is left of images.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.data import Source, most_of
from jaxgen.data.image import Image
from jaxgen.experiment import Evaluation, Run
from jaxgen.figures.columns import columns_filled
from jaxgen.imaging.augment import random_flip
from jaxgen.imaging.fourier import add_phase, centred_ifft2, from_complex
from jaxgen.imaging.mri import mri_operator
from jaxgen.imaging.sampling_masks import equispaced_mask, random_mask
from jaxgen.medical.reconstruction import kspace_cold_diffusion as cold
from jaxgen.medical.reconstruction import total_variation
from jaxgen.medical.reconstruction.cases import Case, Method
from jaxgen.medical.reconstruction.columns import ColumnScan, Restore, magnitude, restore_coils
from jaxgen.tasks import images
from jaxgen.tasks.reconstruction.comparison import compare
from jaxgen.types import Array, Batch, Key, Params

MASKS = {"random": random_mask, "equispaced": equispaced_mask}
WEIGHTS = tuple(float(w) for w in np.geomspace(3e-4, 3e-2, 7))
"""Of total variation, in units of the largest magnitude, to choose from on validation images."""
MOST_TUNING = 32


def prepare(config: Any) -> images.Prepare:
    """On the device: bytes to complex images with a phase, mirrored at random; colours are averaged.

    ``config.phase`` is the standard deviation of the phase.
    """

    def prepare(key: Key, batch: Batch) -> Batch:
        flip_key, phase_key = draws.split(key, 2)
        batch = {"image": batch["image"].astype(jnp.float32).mean(-1, keepdims=True) / 255}
        batch = random_flip(flip_key, batch, axes=(1,), names=("image",)) if config.mirror else batch
        return {"image": add_phase(phase_key, batch["image"], config.phase)}

    return prepare


def restorations(run: Run, params: Params, restore: Restore) -> Callable[[ColumnScan], dict[str, np.ndarray]]:
    """Complex images ``[n, h, w, 2]`` of a scan by method: one program gives them all, and is run once for a scan."""
    program = jax.jit(restore, static_argnums=3)

    @functools.lru_cache(maxsize=1)
    def restored(scan: ColumnScan) -> dict[str, np.ndarray]:
        def chunk(keys: Key, y: np.ndarray) -> Mapping[str, Array]:
            return program(params, keys, y, scan.missing)

        return images.in_chunks(chunk, len(scan.y), run.config.chunk, scan.keys, scan.y)

    return restored


def baselines(run: Run) -> tuple[Method, ...]:
    """The zero-filled image, and total variation with a weight tuned on random columns."""

    @jax.jit
    def variation(weight: Array, mask: Array, y: Array) -> Array:
        operator, iterations = mri_operator(mask, channels=2), run.config.tv_iterations
        return total_variation(operator, y, weight, iterations=iterations, squared_norm=1.0)

    def tv(scan: ColumnScan, weight: float) -> np.ndarray:
        part = functools.partial(variation, weight)
        return magnitude(images.in_chunks(part, len(scan.y), run.config.chunk, scan.mask, scan.y))

    random = {_name("equispaced", a): _name("random", a) for a in run.config.accelerations}
    return (
        Method("zero-filled", lambda scan, _: magnitude(from_complex(centred_ifft2(jnp.asarray(scan.y))[..., 0]))),
        Method("total variation", tv, WEIGHTS, tuned_on=random),
    )


def _name(family: str, acceleration: int) -> str:
    return f"{family}_{acceleration}x"


def cases(run: Run) -> tuple[dict[str, Case], dict[str, Case]]:
    """Validation and test images at every acceleration: random columns, as the network was trained on, and others."""
    config = run.config
    validation = _cases(run, run.splits.validation, 1, min(MOST_TUNING, config.test_images))
    return validation, _cases(run, run.splits.test, 0, most_of(config.data, config.test_images))


def _cases(run: Run, source: Source, number: int, most: int | None) -> dict[str, Case]:
    config, found = run.config, {}
    pixels = images.real_images(run, source, most, np.uint8)["image"]

    def keys(number: int) -> Key:
        return jax.random.split(jax.random.fold_in(run.key, number), len(pixels))

    x = add_phase(keys(number), jnp.asarray(pixels, jnp.float32).mean(-1, keepdims=True) / 255, config.phase)
    for acceleration in config.accelerations:
        missing = config.size - round(config.size / acceleration)
        for family, draw in MASKS.items():
            one = functools.partial(draw, shape=(config.size, config.size), acceleration=acceleration)
            mask = jax.vmap(one)(keys(2))
            y = np.asarray(mri_operator(mask, channels=2).forward(x))
            scan = ColumnScan(y, np.asarray(mask), keys(3), missing)
            label = f"{acceleration}x, {family} columns"
            found[_name(family, acceleration)] = Case(scan, magnitude(x), keys(3)[0], label, 1.0, (0.0, 1.0))
    return found


def evaluate(run: Run, restored: Callable[[ColumnScan], Mapping[str, np.ndarray]]) -> Evaluation:
    """Cold diffusion, as `restorations` hold it, compared with direct prediction, the zero-filled image and TV."""

    def method(name: str) -> Method:
        return Method(name, lambda scan, _: magnitude(restored(scan)[name]))

    *direct, own = map(method, cold.METHODS)
    validation, test = cases(run)
    found = compare(run, (*baselines(run), *direct), (own,), validation, test, about="of magnitudes")
    first = next(iter(test.values())).scan
    shown = {**found.figures, "along": columns_filled(first, restored(first)[own.name][:3])}
    tables = {name: row for name, row in found.metrics.items() if isinstance(row, Mapping)}
    weights = {a: found.chosen[_name("random", a)]["total variation"] for a in run.config.accelerations}
    facts = {**{f"tv_weight_{a}x": weight for a, weight in weights.items()}, "images": found.metrics["slices"]}
    return found._replace(metrics={**tables, **facts}, figures=shown, chosen={})


def apply(params: Params, restore: Restore) -> Callable[[Key, Image], dict[str, np.ndarray]]:
    """Restore k-space ``[h, w, coils]`` of an image's array (`restore_coils`)."""
    restored = restore_coils(params, restore)
    return lambda key, image: restored(key, image.array)
