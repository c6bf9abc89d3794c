"""The setting of a method, chosen on artificial anomalies: no true lesion is looked at."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxgen.medical.anomaly.comparison import Clean, find
from jaxgen.medical.anomaly.methods import Method
from jaxgen.metrics import average_precision
from jaxgen.metrics.best import highest
from jaxgen.types import Key


class Tuned(NamedTuple):
    """A method with a setting that was chosen.

    Attributes:
        method: the method at that setting.
        setting: the chosen one.
        scores: the average precision of artificial anomalies, by setting.
    """

    method: Method
    setting: Any
    scores: Mapping[Any, float]


def tune(clean: Clean, key: Key, method: Method, x: np.ndarray, mask: np.ndarray) -> Tuned:
    """The method at the setting that finds artificial anomalies best, by average precision.

    Args:
        clean: what is done to maps.
        key: the key of the method's random numbers.
        method: a method with settings.
        x: healthy images with artificial anomalies, ``[n, h, w, c]``.
        mask: where those are, ``[n, h, w]``.
    """
    scores = {
        setting: float(average_precision(find(clean, key, method.at(setting), x).score, mask))
        for setting in method.settings
    }
    best = highest(scores)
    return Tuned(method.at(best), best, scores)
