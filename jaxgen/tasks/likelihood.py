"""Images as whole numbers, dequantised: what the experiments that state bits per dimension share."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.baselines import gaussian_log_prob
from jaxgen.data import Source, Splits, most_of
from jaxgen.imaging.augment import random_flip
from jaxgen.metrics.likelihood import bits_per_dimension, dequantise
from jaxgen.tasks import images
from jaxgen.tasks import sample_quality as judging


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
    """`jaxgen.baselines.gaussian_log_prob` of the dequantised training images, at dequantised images x: ``[b]``."""
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
