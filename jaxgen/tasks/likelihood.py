"""Likelihood of images in bits per dimension: whole numbers, dequantised, compared with a Gaussian's."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws, presets
from jaxgen.baselines import gaussian_log_prob
from jaxgen.config import option
from jaxgen.data import Source, most_of
from jaxgen.experiment import Metric, Run
from jaxgen.imaging.augment import random_flip
from jaxgen.metrics.likelihood import bits, dequantise
from jaxgen.tasks import generation
from jaxgen.tasks.images import Batch, ImageConfig, Prepare, in_chunks, real_images
from jaxgen.types import Array, Key, Params

CHUNK = 24
"""Images whose likelihood is computed together, at most: the adaptive solver takes the smallest step of all of them."""

Density = Callable[[Params, Key, Array], Array]
"""``density(params, keys [b], x [b, h, w, c]) -> [b]``, nats."""

FLOW_DEFAULTS: dict[str, presets.Changes] = {
    "small": generation.SMALL,
    "smoke": generation.SMOKE,
    "full": {
        **generation.FULL,
        "schedule": "constant",
        "optimizer": "adam",
        "likelihood_images": 1000,
        "tolerance": 1e-5,
    },
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlowLikelihoodConfig(ImageConfig):
    """The options of an experiment that solves an equation for the likelihood of test images."""

    likelihood_images: int = option(48, "test images whose likelihood is computed", ge=2, group="evaluation")
    tolerance: float = option(1e-3, "tolerances of the adaptive solver", gt=0, lt=1, group="evaluation")

    @property
    def solver(self) -> dict[str, float]:
        """Options of the adaptive solver."""
        return {"rtol": self.tolerance, "atol": self.tolerance}


def prepare_dequantised(config: ImageConfig) -> Prepare:
    """On the device: bytes to continuous values in [-1, 1), mirrored at random if the configuration says so."""
    return prepare_with(config, dequantise)


def prepare_with(config: ImageConfig, values: Callable[[Key, Array], Array]) -> Prepare:
    """On the device: ``values(key, bytes)``, mirrored at random if the configuration says so."""

    def prepare(key: Key, batch: Batch) -> Batch:
        values_key, flip_key = draws.split(key, 2)
        batch = {**batch, "image": values(values_key, batch["image"])}
        return random_flip(flip_key, batch, axes=(1,), names=("image",)) if config.mirror else batch

    return prepare


def whole_numbers(run: Run, source: Source, most: int | None) -> np.ndarray:
    """Images of a split as bytes ``[n, h, w, c]``, `most` at most."""
    return real_images(run, source, most, np.uint8)["image"]


def dequantised_test_images(run: Run, key: Key, most: int) -> np.ndarray:
    """Dequantised test images ``[n, h, w, c]``, `most` at most."""
    test = whole_numbers(run, run.splits.test, most_of(run.config.data, most))
    return np.asarray(dequantise(jax.random.split(key, len(test)), jnp.asarray(test)))


def gaussian_baseline(run: Run, key: Key, x: np.ndarray) -> np.ndarray:
    """The log-density ``[b]`` of dequantised images x, or of bytes, under a Gaussian fitted to the training images.

    The number of its principal directions is chosen on the validation images.
    """
    if x.dtype == np.uint8:
        x = np.asarray(dequantise(jax.random.fold_in(key, 2), jnp.asarray(x)))
    train, validation = (
        np.asarray(dequantise(jax.random.fold_in(key, i), jnp.asarray(whole_numbers(run, part, generation.MOST_TRAIN))))
        for i, part in enumerate((run.splits.train, run.splits.validation))
    )
    return gaussian_log_prob(train, validation, x)


def compared_bits(
    run: Run,
    params: Params,
    densities: Mapping[str, tuple[Density, Key]],
    data_key: Key,
    fit_key: Key,
    *,
    chunk: int = CHUNK,
    discrete: bool = False,
) -> dict[str, dict[str, float]]:
    """Bits per dimension of ``config.likelihood_images`` test images, by each density and by a fitted Gaussian.

    Args:
        run: the run.
        params: the parameters that the densities are given.
        densities: each with the key of its random numbers, of which every image has its own.
        data_key: of the dequantisation of the test images.
        fit_key: of that of the images to which the Gaussian is fitted.
        chunk: how many are computed together at most, if ``config.chunk`` is not less.
        discrete: whether the densities are of whole numbers scaled to [-1, 1], not of dequantised ones.
    """
    most, together = run.config.likelihood_images, min(run.config.chunk, chunk)
    whole = whole_numbers(run, run.splits.test, most_of(run.config.data, most))
    dequantised = np.asarray(dequantise(jax.random.split(data_key, len(whole)), jnp.asarray(whole)))
    x, bins = (whole.astype(np.float32) / 127.5 - 1, None) if discrete else (dequantised, 256)
    found = {}
    for name, (density, key) in densities.items():
        program = functools.partial(jax.jit(density), params)
        found[name] = bits(in_chunks(program, len(x), together, jax.random.split(key, len(x)), x), x[0].size, bins)
    return found | {"gaussian": bits(gaussian_baseline(run, fit_key, dequantised), x[0].size)}


def sentence(found: Mapping[str, Mapping[str, float]], method: str) -> str:
    """The bits of a method and of the Gaussian, for a headline."""
    own, others = found[method], {name: row for name, row in found.items() if name != method}
    compared = ", ".join(f"{name} {row['bits']:.3f}" for name, row in others.items())
    return f"{own['bits']:.3f} +- {own['bits_error']:.3f} bits per dimension by {method} ({compared})."


DESCRIBE = {
    "bits": Metric("Bits per dimension", "lower", "of test images, dequantised uniformly; of a bound an upper bound"),
    "bits_error": Metric("its standard error", "", "over test images"),
}
