"""Likelihood of images in bits per dimension: whole numbers, dequantised, compared with a Gaussian's."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.baselines import gaussian_log_prob
from jaxgen.data import Source, most_of
from jaxgen.experiment import Metric, Run
from jaxgen.families import bernoulli_likelihood, gaussian_likelihood, logistic_likelihood
from jaxgen.families.vae import Likelihood
from jaxgen.imaging.augment import random_flip
from jaxgen.metrics.likelihood import bits_per_dimension, dequantise
from jaxgen.tasks.generation import MOST_TRAIN
from jaxgen.tasks.images import Batch, ImageConfig, Prepare, draw_in_chunks, real_images
from jaxgen.types import Array, Key, Model, Params


class PixelLikelihood(NamedTuple):
    """A decoder's likelihood of pixels, and the values that it is one of.

    Attributes:
        likelihood: the likelihood.
        values: ``values(key, bytes)``, what it is one of.
        low: the lowest value, -1 or 0; the highest is 1.
        discrete: whether it is a probability of whole numbers, not a density.
    """

    likelihood: Likelihood
    values: Callable[[Key, Array], Array]
    low: float = -1.0
    discrete: bool = False

    def to_image(self, x: Array) -> Array:
        """Values as an image in [-1, 1]."""
        return x if self.low else 2 * x - 1

    def from_image(self, x: Array) -> Array:
        """An image in [-1, 1] as values."""
        return x if self.low else (x + 1) / 2


PIXELS = {
    "gaussian": PixelLikelihood(gaussian_likelihood(start=0.2), dequantise),
    "logistic": PixelLikelihood(
        logistic_likelihood(start=0.1), lambda key, x: 2 * (x.astype(jnp.float32) / 255) - 1, discrete=True
    ),
    "bernoulli": PixelLikelihood(bernoulli_likelihood(), lambda key, x: x.astype(jnp.float32) / 255, low=0.0),
}


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


def log_prob_of_bytes(
    run: Run, stage: str, model: Model, draws: int, *, labelled: bool = False
) -> Callable[[Key, np.ndarray, np.ndarray], np.ndarray]:
    """The log-likelihood of images as bytes, by a model with a dequantiser of its own.

    Args:
        run: the run.
        stage: the stage that trained the model.
        model: the model.
        draws: draws of the dequantiser's noise per image; the result is the mean over them.
        labelled: whether the model is told the class of an image.

    Returns:
        ``log_prob(key, bytes [n, h, w, c], label [n]) -> [n]``, nats.
    """
    log_density = model.log_prob
    assert log_density is not None

    @jax.jit
    def mean(params: Params, keys: Key, whole: Array, label: Array) -> Array:
        x, cond = whole.astype(jnp.float32) / 127.5 - 1, label if labelled else None

        def add(i: Array, total: Array) -> Array:
            return total + log_density(params, jax.vmap(jax.random.fold_in, (0, None))(keys, i), x, cond)

        return jax.lax.fori_loop(0, draws, add, jnp.zeros(len(x))) / draws

    def log_prob(key: Key, whole: np.ndarray, label: np.ndarray) -> np.ndarray:
        found = draw_in_chunks(run, lambda *arrays: mean(run.params[stage], *arrays), key, len(whole), whole, label)
        return found.astype(np.float64)

    return log_prob


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


def compared_bits(
    run: Run, stage: str, model: Model, key: Key, most: int, *, discrete: bool = False, **options: Any
) -> dict[str, dict[str, float]]:
    """Bits per dimension of test images, by a trained model and by a Gaussian.

    Args:
        run: the run.
        stage: the stage that trained the model; its name among the metrics, too.
        model: the model.
        key: one key.
        most: test images at most.
        discrete: whether its likelihood is that of whole numbers scaled to [-1, 1], not of dequantised ones.
        **options: of ``model.log_prob``.
    """
    params, log_prob = run.params[stage], model.log_prob
    assert log_prob is not None
    data_key, model_key, fit_key = jax.random.split(key, 3)
    whole = whole_numbers(run, run.splits.test, most_of(run.config.data, most))
    dequantised = np.asarray(dequantise(jax.random.split(data_key, len(whole)), jnp.asarray(whole)))
    x = whole.astype(np.float32) / 127.5 - 1 if discrete else dequantised
    log_density = jax.jit(lambda keys, x: log_prob(params, keys, x, **options))
    nats = draw_in_chunks(run, log_density, model_key, len(x), x)
    return {
        stage: bits(nats, x[0].size, bins=None if discrete else 256),
        "gaussian": bits(gaussian_baseline(run, fit_key, dequantised), x[0].size),
    }


DESCRIBE = {
    "bits": Metric("Bits per dimension", "lower", "of test images, dequantised uniformly; of a bound an upper bound"),
    "bits_error": Metric("its standard error", "", "over test images"),
}
