"""Metrics of masks, probabilities, scores, and sets of samples."""

from jaxgen.metrics.authenticity import authenticity
from jaxgen.metrics.bootstrap import Estimate, Interval, bootstrap_interval, jackknife_error
from jaxgen.metrics.calibration import Reliability, brier_score, expected_calibration_error, reliability_curve
from jaxgen.metrics.distribution import (
    generalized_energy_distance,
    matched_iou,
    maximum_dice_matching,
    pairwise_iou,
)
from jaxgen.metrics.diversity import pairwise_similarity, within_class_distance
from jaxgen.metrics.features import Extractor, Features, extract, frechet
from jaxgen.metrics.fidelity import frechet_distance, frechet_distance_infinity
from jaxgen.metrics.groups import by_group, f1_scores, worst_and_gap
from jaxgen.metrics.image_quality import ms_ssim, psnr, slice_jumps, ssim
from jaxgen.metrics.intervals import interval_coverage, interval_widening, sample_uncertainty, sample_widening
from jaxgen.metrics.kernel_distance import kernel_distance, maximum_mean_discrepancy
from jaxgen.metrics.likelihood import bits_per_dimension, dequantise
from jaxgen.metrics.memorisation import copying_test, memorisation_ratio, nearest_neighbours
from jaxgen.metrics.modes import ModeCoverage, mode_coverage
from jaxgen.metrics.oriented_energy import oriented_energy
from jaxgen.metrics.overlap import dice, iou
from jaxgen.metrics.precision_recall import density_coverage, precision_recall
from jaxgen.metrics.ranking import auroc, average_precision, mean_auroc
from jaxgen.metrics.segmentation import (
    average_surface_distance,
    component_count,
    component_count_error,
    hausdorff95,
    surface_dice,
)
from jaxgen.metrics.straightness import straightness
from jaxgen.metrics.streaming import Statistics, load_statistics, merge, save_statistics, statistics
from jaxgen.metrics.two_sample import classifier_test
from jaxgen.metrics.wasserstein import sliced_wasserstein, wasserstein_along

__all__ = [
    "Estimate",
    "Extractor",
    "Features",
    "Interval",
    "ModeCoverage",
    "Reliability",
    "Statistics",
    "auroc",
    "authenticity",
    "average_precision",
    "average_surface_distance",
    "bits_per_dimension",
    "bootstrap_interval",
    "brier_score",
    "by_group",
    "classifier_test",
    "component_count",
    "component_count_error",
    "copying_test",
    "density_coverage",
    "dequantise",
    "dice",
    "expected_calibration_error",
    "extract",
    "f1_scores",
    "frechet",
    "frechet_distance",
    "frechet_distance_infinity",
    "generalized_energy_distance",
    "hausdorff95",
    "interval_coverage",
    "interval_widening",
    "iou",
    "jackknife_error",
    "kernel_distance",
    "load_statistics",
    "matched_iou",
    "maximum_dice_matching",
    "maximum_mean_discrepancy",
    "mean_auroc",
    "memorisation_ratio",
    "merge",
    "mode_coverage",
    "ms_ssim",
    "nearest_neighbours",
    "oriented_energy",
    "pairwise_iou",
    "pairwise_similarity",
    "precision_recall",
    "psnr",
    "reliability_curve",
    "sample_uncertainty",
    "sample_widening",
    "save_statistics",
    "slice_jumps",
    "sliced_wasserstein",
    "ssim",
    "statistics",
    "straightness",
    "surface_dice",
    "wasserstein_along",
    "within_class_distance",
    "worst_and_gap",
]
