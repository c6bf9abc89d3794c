"""Features and classes of images: by a trained classifier, or by filters where there are no classes."""

import functools

import jax
import numpy as np

from jaxgen.chunks import in_chunks
from jaxgen.metrics.oriented_energy import oriented_energy
from jaxgen.metrics.sample_sets import Unclassified
from jaxgen.types import Net, Params

CHUNK = 64
"""Images whose features are computed together."""


class ImageFeatures:
    """A trained classifier as a feature extractor (`jaxgen.metrics.sample_sets.FeatureExtractor`).

    Args:
        net: a classifier whose ``apply`` takes ``features=True``, such as `jaxgen.nets.classifier`.
        params: its parameters.
        chunk: images whose features are computed together.
    """

    def __init__(self, net: Net, params: Params, chunk: int = CHUNK) -> None:
        self._params, self._chunk = params, chunk
        self._features = jax.jit(lambda params, x: net.apply(params, x, features=True))
        self._logits = jax.jit(net.apply)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features ``[n, d]``."""
        return in_chunks(lambda x: self._features(self._params, x), len(images), self._chunk, images)

    def answers(self, images: np.ndarray) -> np.ndarray:
        """What the network answers, ``[n, k]``: logits, or numbers."""
        return in_chunks(lambda x: self._logits(self._params, x), len(images), self._chunk, images)

    def classes(self, images: np.ndarray) -> np.ndarray:
        """The most likely class, ``[n]``, or that of each pixel ``[n, *spatial]``."""
        return self.answers(images).argmax(-1)


class Energies(Unclassified):
    """Energies of oriented filters as a feature extractor, see `jaxgen.metrics.oriented_energy`.

    Args:
        chunk: images whose features are computed together.
    """

    def __init__(self, chunk: int = CHUNK) -> None:
        self._chunk = chunk

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features ``[n, d]``."""
        return in_chunks(_energies, len(images), self._chunk, images)


_energies = jax.jit(functools.partial(oriented_energy().apply, ()))
