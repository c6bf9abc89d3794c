"""Likelihood of images in bits per dimension: whole numbers, dequantised, compared with a Gaussian's."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.baselines import gaussian_log_prob
from jaxgen.data import Source, most_of
from jaxgen.experiment import Metric, Run
from jaxgen.imaging.augment import random_flip
from jaxgen.metrics.likelihood import bits_per_dimension, dequantise
from jaxgen.tasks.generation import MOST_TRAIN
from jaxgen.tasks.images import Batch, ImageConfig, Prepare, real_images
from jaxgen.types import Array, Key


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


def bits(nats: np.ndarray, dimensions: int, bins: int | None = 256) -> dict[str, float]:
    """Log-densities ``[b]`` as the metrics ``bits`` per dimension and ``bits_error``, its standard error."""
    found = bits_per_dimension(jnp.asarray(nats), dimensions, bins=bins)
    return {"bits": found.value, "bits_error": found.standard_error}


def gaussian_baseline(run: Run, key: Key, x: np.ndarray) -> np.ndarray:
    """The log-density ``[b]`` of dequantised images x under a Gaussian fitted to the training images.

    The number of its principal directions is chosen on the validation images.
    """
    train, validation = (
        np.asarray(dequantise(jax.random.fold_in(key, i), jnp.asarray(whole_numbers(run, part, MOST_TRAIN))))
        for i, part in enumerate((run.splits.train, run.splits.validation))
    )
    return gaussian_log_prob(train, validation, x)


DESCRIBE = {
    "bits": Metric("Bits per dimension", "lower", "of test images, dequantised uniformly; of a bound an upper bound"),
    "bits_error": Metric("its standard error", "", "over test images"),
}
