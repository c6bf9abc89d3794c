"""Covariates measured on volumes: by thresholds, by segmentation, or by a network that reads them off."""

from collections.abc import Sequence

import numpy as np

from jaxgen.chunks import in_chunks
from jaxgen.data.phantoms.brain3d import covariates_of_brain3d, features_of_brain3d
from jaxgen.families.image_features import ImageFeatures
from jaxgen.metrics.label_volumes import covariates_of_labels

Range = Sequence[Sequence[float]]


class PhantomVolumetry:
    """Covariates of phantom brains (`jaxgen.data.phantoms.brain3d`), measured exactly, by thresholds.

    Args:
        value_range: raw values of -1 and 1, ``(low, high)``, a number per channel.
    """

    def __init__(self, value_range: Range) -> None:
        self._dark, self._bright = (np.asarray(bound, np.float32) for bound in value_range)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Covariates ``[n, 4]`` of volumes ``[n, *spatial, 1]`` in [-1, 1]."""
        return covariates_of_brain3d(self._raw(x))

    def features(self, x: np.ndarray) -> np.ndarray:
        """Seven volumes and intensities ``[n, 7]``."""
        return features_of_brain3d(self._raw(x))

    def _raw(self, x: np.ndarray) -> np.ndarray:
        return self._dark + (x + 1) / 2 * (self._bright - self._dark)


class Segmentation:
    """Covariates by a network that finds labels, and a linear map of the volumes of these.

    Args:
        trained: its answers are logits of labels ``[n, *spatial, 1 + labels]``.
        of_labels: ``[labels + 1, k]`` of `jaxgen.metrics.label_volumes.fit_covariates`.
        chunk: volumes whose labels are found together.
    """

    def __init__(self, trained: ImageFeatures, of_labels: Range, chunk: int) -> None:
        self._trained, self._of_labels, self._chunk = trained, np.array(of_labels), chunk

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Covariates ``[n, k]`` of volumes ``[n, *spatial, c]`` in [-1, 1]."""
        return covariates_of_labels(self.labels(x), self._of_labels)

    def labels(self, x: np.ndarray) -> np.ndarray:
        """The label of each voxel ``[n, *spatial]``, 0 for the background; NaN counts as 0."""
        return in_chunks(self._trained.classes, len(x), self._chunk, np.nan_to_num(x))


class Reading:
    """Covariates that a network reads off.

    Args:
        trained: its answers are covariates ``[n, k]``, with their range brought to [0, 1].
        covariate_range: ``(low, high)``, a number per covariate.
    """

    def __init__(self, trained: ImageFeatures, covariate_range: Range) -> None:
        self._trained = trained
        self._low, self._high = (np.asarray(bound, np.float32) for bound in covariate_range)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Covariates ``[n, k]`` of volumes ``[n, *spatial, c]`` in [-1, 1]."""
        return self._low + self._trained.answers(x) * (self._high - self._low)
