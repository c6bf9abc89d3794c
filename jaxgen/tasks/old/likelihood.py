"""Images as whole numbers, dequantised: what the experiments that state bits per dimension share."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.data import Source, Splits, most_of
from jaxgen.imaging.augment import random_flip
from jaxgen.metrics.likelihood import bits_per_dimension, dequantise
from jaxgen.tasks.old import images
from jaxgen.tasks.old import sample_quality as judging


def prepare(config: images.ImageConfig):
    """On the device: bytes to continuous values in [-1, 1), and mirrored images."""

    def prepared(key, batch):
        noise_key, flip_key = draws.split(key, 2)
        batch = {**batch, "image": dequantise(noise_key, batch["image"])}
        return random_flip(flip_key, batch, axes=(1,), names=("image",)) if config.mirror else batch

    return prepared


def whole_numbers(
    config: images.ImageConfig, constants: Mapping[str, Any], source: Source, most: int | None
) -> np.ndarray:
    """At most so many images of a split as bytes, ``[n, h, w, c]``."""
    return images.real_images(config, constants, source, most, np.uint8)["image"]


def test_images(config: images.ImageConfig, constants: Mapping[str, Any], splits: Splits, key, most: int) -> np.ndarray:
    """At most so many dequantised test images, ``[n, h, w, c]``."""
    test = whole_numbers(config, constants, splits.test, most_of(config.data, most))
    return np.asarray(dequantise(jax.random.split(key, len(test)), jnp.asarray(test)))


def bits(nats: np.ndarray, dimensions: int, bins: int | None = 256) -> dict[str, float]:
    """Log-densities ``[b]`` as the metrics ``bits`` per dimension and ``bits_error``, its standard error."""
    found = bits_per_dimension(jnp.asarray(nats), dimensions, bins=bins)
    return {"bits": found.value, "bits_error": found.standard_error}


def fitted_gaussian_log_prob(
    config: images.ImageConfig, constants: Mapping[str, Any], splits: Splits, key, x: np.ndarray
) -> np.ndarray:
    """The log-density ``[b]`` of dequantised images x under `gaussian_log_prob` of the training images."""
    train, validation = (
        np.asarray(
            dequantise(
                jax.random.fold_in(key, i),
                jnp.asarray(whole_numbers(config, constants, part, judging.MOST_TRAIN)),
            )
        )
        for i, part in enumerate((splits.train, splits.validation))
    )
    return gaussian_log_prob(train, validation, x)


def gaussian_log_prob(train: np.ndarray, validation: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The log-density ``[b]`` of a normal law with a few principal directions and equal variance in all others.

    The number of directions is the one under which the validation images are most likely. Tipping & Bishop 1999,
    "Probabilistic principal component analysis", eq. 7 and 8.
    """
    flat = [a.reshape(len(a), -1).astype(np.float64) for a in (train, validation, x)]
    mean, d = flat[0].mean(0), flat[0].shape[1]
    _, singular, directions = np.linalg.svd(flat[0] - mean, full_matrices=False)
    variance = singular**2 / len(train)

    def log_density(a: np.ndarray, q: int) -> np.ndarray:
        rest = max(variance[q:].sum() / (d - q), 1e-8)
        off = a - mean
        along = off @ directions[:q].T
        square = (along**2 / variance[:q]).sum(1) + ((off**2).sum(1) - (along**2).sum(1)) / rest
        return -0.5 * (square + np.log(variance[:q]).sum() + (d - q) * math.log(rest) + d * math.log(2 * math.pi))

    most = int((variance > 1e-8).sum()) - 1
    candidates = np.unique(np.clip([1, 2, 4, 8, 16, 32, 64, 128, 256], 1, max(1, min(most, d - 1))))
    best = max(candidates, key=lambda q: log_density(flat[1], q).mean())
    return log_density(flat[2], best)
