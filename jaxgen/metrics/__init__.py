"""Numbers that judge masks, probabilities, scores and sets of samples."""

from jaxgen.metrics.calibration import Reliability, brier_score, expected_calibration_error, reliability_curve
from jaxgen.metrics.distribution import (
    generalized_energy_distance,
    matched_iou,
    maximum_dice_matching,
    pairwise_iou,
)
from jaxgen.metrics.overlap import dice, iou
from jaxgen.metrics.ranking import auroc, average_precision
from jaxgen.metrics.segmentation import (
    average_surface_distance,
    component_count,
    component_count_error,
    hausdorff95,
    surface_dice,
)

__all__ = [
    "Reliability",
    "auroc",
    "average_precision",
    "average_surface_distance",
    "brier_score",
    "component_count",
    "component_count_error",
    "dice",
    "expected_calibration_error",
    "generalized_energy_distance",
    "hausdorff95",
    "iou",
    "matched_iou",
    "maximum_dice_matching",
    "pairwise_iou",
    "reliability_curve",
    "surface_dice",
]
