"""Likelihoods of pixels that decoders can have, by name, and the values that each is a likelihood of."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from jaxgen.families.vae import Likelihood, bernoulli_likelihood, gaussian_likelihood, logistic_likelihood
from jaxgen.metrics.likelihood import dequantise
from jaxgen.types import Array, Key


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
