"""Anomalies: models of healthy images, and what they make of an image that is not."""

from jaxgen.medical.anomaly.baselines import Detector, intensity, principal_components, principal_residual, z_map
from jaxgen.medical.anomaly.detection import (
    CaseCounts,
    Detection,
    average_precision_gain,
    average_precision_interval,
    case_counts,
    judge,
)
from jaxgen.medical.anomaly.scoring import (
    absolute_residual,
    clean,
    dice_threshold,
    erode,
    foreground,
    healthy_threshold,
    median_filter,
    perceptual_residual,
    remove_small,
    squared_residual,
)

__all__ = [
    "CaseCounts",
    "Detection",
    "Detector",
    "absolute_residual",
    "average_precision_gain",
    "average_precision_interval",
    "case_counts",
    "clean",
    "dice_threshold",
    "erode",
    "foreground",
    "healthy_threshold",
    "intensity",
    "judge",
    "median_filter",
    "perceptual_residual",
    "principal_components",
    "principal_residual",
    "remove_small",
    "squared_residual",
    "z_map",
]
