"""Maps of anomalies from codes that a latent diffusion model of healthy images finds unlikely (Pinaya et al. 2022).

`LatentHealing` is the method of the paper and the parts of it that can be left out, of a model that is trained.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from jaxgen.medical.anomaly.baselines import Residual
from jaxgen.medical.anomaly.latent_likelihood import Healthy, gated_residual, unlikely

Maps = tuple[np.ndarray, np.ndarray | None]
"""A map of anomalies ``[n, *spatial]``, and healthy versions of the images ``[n, *spatial, c]`` or None."""


class LatentHealing(NamedTuple):
    """Where codes are unlikely, what they are when healed there, and the maps that come of it.

    Every map is a function of images ``[n, *spatial, c]``.

    Attributes:
        divergence: ``images -> [T, n, *code]``, of `jaxgen.medical.anomaly.latent_divergence`.
        restore: ``(images, mask [n, *code]) -> images``, decoded from codes that are drawn anew under the mask
            (`jaxgen.medical.anomaly.heal`); with an empty mask what the autoencoder reconstructs.
        healthy: of `jaxgen.medical.anomaly.calibrate`.
        residual: what counts as a change.
        std: standard deviation of the Gaussian that smooths the gate, in pixels of the image.

    Reference:
        Pinaya et al. 2022, "Fast unsupervised brain anomaly detection and segmentation with diffusion models", arXiv
        2206.03461.

    Example:
        >>> from jaxgen.medical.anomaly import absolute_residual
        >>> healthy = Healthy(np.array([1.0]), np.array([0.5]), np.zeros(2))
        >>> method = LatentHealing(lambda x: x[None, ..., 0], lambda x, mask: 0 * x, healthy, absolute_residual, 0.0)
        >>> x = np.array([[[0.0], [2.0]]])
        >>> method.healed(x)[0].tolist(), method.ungated(x)[0].tolist()
        ([[0.0, 2.0]], [[0.0, 2.0]])
    """

    divergence: Callable[[np.ndarray], np.ndarray]
    restore: Callable[[np.ndarray, np.ndarray], np.ndarray]
    healthy: Healthy
    residual: Residual
    std: float = 1.0

    def flagged(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The standardised divergence and where it is too high, ``[n, *code]``; NaN is not healthy."""
        score, mask = unlikely(self.divergence(x), self.healthy)
        return score, np.where(np.isfinite(score), mask, np.nan)

    def healed(self, x: np.ndarray) -> Maps:
        """The method: the residual of the healed image, round the places that were healed."""
        _, mask = self.flagged(x)
        restored = self.restore(x, mask)
        return gated_residual(self.residual(x, restored), mask, std=self.std), restored

    def ungated(self, x: np.ndarray) -> Maps:
        """The residual of the healed image everywhere."""
        restored = self.restore(x, self.flagged(x)[1])
        return self.residual(x, restored), restored

    def unhealed(self, x: np.ndarray) -> Maps:
        """The residual of the autoencoder, round the unlikely places of the code."""
        return gated_residual(self.reconstructed(x)[0], self.flagged(x)[1], std=self.std), None

    def likelihood(self, x: np.ndarray) -> Maps:
        """The divergence of the code itself, enlarged to the image and counted from no divergence at all."""
        score = self.flagged(x)[0] + np.mean(self.healthy.mean / self.healthy.deviation)
        return np.asarray(jax.image.resize(score, x.shape[:-1], "linear")), None

    def reconstructed(self, x: np.ndarray) -> Maps:
        """The residual of the autoencoder."""
        restored = self.restore(x, np.zeros((len(x), *self.healthy.threshold.shape)))
        return self.residual(x, restored), restored

    @classmethod
    def maps(cls) -> dict[str, Callable[["LatentHealing", np.ndarray], Maps]]:
        """The maps by name, the method first."""
        return {
            "latent healing": cls.healed,
            "without the gate": cls.ungated,
            "without healing": cls.unhealed,
            "likelihood of the code": cls.likelihood,
            "autoencoder residual": cls.reconstructed,
        }
