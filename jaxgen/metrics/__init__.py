"""Numbers that judge masks, probabilities, scores, and sets of samples."""

from jaxgen.metrics.calibration import Reliability, brier_score, expected_calibration_error, reliability_curve
from jaxgen.metrics.distribution import (
    generalized_energy_distance,
    matched_iou,
    maximum_dice_matching,
    pairwise_iou,
)
from jaxgen.metrics.fidelity import frechet_distance, kernel_distance
from jaxgen.metrics.memorisation import memorisation_ratio, nearest_neighbours
from jaxgen.metrics.overlap import dice, iou
from jaxgen.metrics.precision_recall import density_coverage, precision_recall
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
    "density_coverage",
    "dice",
    "expected_calibration_error",
    "frechet_distance",
    "generalized_energy_distance",
    "hausdorff95",
    "iou",
    "kernel_distance",
    "matched_iou",
    "maximum_dice_matching",
    "memorisation_ratio",
    "nearest_neighbours",
    "pairwise_iou",
    "precision_recall",
    "reliability_curve",
    "surface_dice",
]
