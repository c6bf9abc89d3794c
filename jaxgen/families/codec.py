"""A trained autoencoder on any number of images: codes, images of codes, and those of a Gaussian of codes."""

from collections.abc import Callable

import jax
import numpy as np

from jaxgen.baselines import gaussian_images, principal_components
from jaxgen.chunks import in_chunks
from jaxgen.families.vae import posterior
from jaxgen.metrics.sample_sets import cut
from jaxgen.types import Array, Net, Params


class Codec:
    """Encoder and decoder of `jaxgen.families.latent_autoencoder_model`, compiled for chunks of images.

    Args:
        encoder: to mean and log-variance of a code.
        decoder: from a code.
        params: the groups ``"encoder"`` and ``"decoder"``.
        chunk: images at once.
    """

    def __init__(self, encoder: Net, decoder: Net, params: Params, chunk: int) -> None:
        self._params, self._chunk = params, chunk
        self._moments = jax.jit(lambda params, x: posterior(encoder, params["encoder"], x))
        self._decode = jax.jit(lambda params, z: cut(decoder.apply(params["decoder"], z)))

    def _chunks(self, function: Callable[[Params, Array], Array], x: np.ndarray) -> np.ndarray:
        return in_chunks(lambda x: function(self._params, x), len(x), self._chunk, x, exactly=True)

    def moments(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and log-variance ``[n, *code]`` of the codes of images ``[n, *shape]`` in [-1, 1]."""
        mean, log_variance = self._chunks(self._moments, x)
        return mean, log_variance

    def encode(self, x: np.ndarray) -> np.ndarray:
        """The means."""
        return self.moments(x)[0]

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Images of codes ``[n, *code]``, cut to [-1, 1]."""
        return self._chunks(self._decode, z)

    def gaussian(self, codes: np.ndarray, n: int, seed: int) -> np.ndarray:
        """The baseline: n decoded draws of the Gaussian with the mean and the covariance of these codes."""
        widest = 4 * np.abs(codes).max()  # that of images cuts to [-1, 1]
        return self.decode(widest * gaussian_images(codes / widest, n, seed))

    def reconstructions(self, train: np.ndarray, test: np.ndarray) -> tuple[dict[str, np.ndarray], int]:
        """Test images reconstructed from their codes, and by as many principal components of training images.

        Args:
            train: ``[n, *shape]`` in [-1, 1].
            test: ``[m, *shape]``.

        Returns:
            The reconstructions by ``"autoencoder"`` and ``"principal components"``, and the latent dimension.
        """
        codes = self.encode(test)
        dimensions = codes[0].size
        components = principal_components(train, dimensions).reconstruct(test)
        return {"autoencoder": self.decode(codes), "principal components": components}, dimensions
