"""Anomalies: models of healthy images, and what they make of an image that is not."""

from jaxgen.medical.anomaly.baselines import (
    Detector,
    Residual,
    intensity,
    principal_residual,
    z_map,
)
from jaxgen.medical.anomaly.counterfactual import (
    Pair,
    classifier_free_pair,
    classifier_pair,
    dynamic_normalisation,
    label_pair,
    translate,
)
from jaxgen.medical.anomaly.detection import (
    CaseCounts,
    Detection,
    average_precision_gain,
    average_precision_interval,
    case_counts,
    evaluate_detection,
)
from jaxgen.medical.anomaly.gan_inversion import inversion_model, inversion_score
from jaxgen.medical.anomaly.latent_healing import LatentHealing
from jaxgen.medical.anomaly.latent_likelihood import (
    Healthy,
    calibrate,
    gated_residual,
    heal,
    latent_divergence,
    unlikely,
)
from jaxgen.medical.anomaly.partial_diffusion import (
    SIMPLEX_STD,
    coarse_covariance,
    make_coarse_noise,
    make_simplex_noise,
    partial_diffusion,
)
from jaxgen.medical.anomaly.patch_diffusion import box_masks, patch_diffusion, patch_diffusion_model, stitching_weights
from jaxgen.medical.anomaly.saliency import saliency
from jaxgen.medical.anomaly.scoring import (
    absolute_residual,
    brighter_residual,
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
from jaxgen.medical.anomaly.synthetic import paste_anomalies

__all__ = [
    "CaseCounts",
    "Detection",
    "Detector",
    "Healthy",
    "LatentHealing",
    "Pair",
    "Residual",
    "SIMPLEX_STD",
    "absolute_residual",
    "average_precision_gain",
    "average_precision_interval",
    "box_masks",
    "brighter_residual",
    "calibrate",
    "case_counts",
    "classifier_free_pair",
    "classifier_pair",
    "clean",
    "coarse_covariance",
    "make_coarse_noise",
    "dice_threshold",
    "dynamic_normalisation",
    "erode",
    "evaluate_detection",
    "foreground",
    "gated_residual",
    "heal",
    "healthy_threshold",
    "intensity",
    "inversion_model",
    "inversion_score",
    "label_pair",
    "latent_divergence",
    "median_filter",
    "partial_diffusion",
    "paste_anomalies",
    "patch_diffusion",
    "patch_diffusion_model",
    "perceptual_residual",
    "principal_residual",
    "remove_small",
    "make_simplex_noise",
    "saliency",
    "squared_residual",
    "stitching_weights",
    "translate",
    "unlikely",
    "z_map",
]
