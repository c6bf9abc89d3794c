"""Scores of pairs of images, of one person and of two, and the errors at a threshold."""

from typing import NamedTuple

import numpy as np

from jaxgen.metrics import auroc


class Pairs(NamedTuple):
    """Scores of pairs of images, larger for one person.

    Attributes:
        same: of pairs of one person.
        apart: of pairs of two.
    """

    same: np.ndarray
    apart: np.ndarray

    def rates(self, threshold: float) -> dict[str, float]:
        """The area under the ROC curve, and both errors at a threshold."""
        label = np.arange(len(self.same) + len(self.apart)) < len(self.same)
        return {
            "auc": float(auroc(np.concatenate(self), label)),
            "missed": float(np.mean(self.same < threshold)),
            "false_links": float(np.mean(self.apart >= threshold)),
        }
