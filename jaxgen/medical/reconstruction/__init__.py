"""Posterior samplers for linear inverse problems: functions from denoisers to denoisers, or from steps to steps."""

from jaxgen.medical.reconstruction.coilwise import coilwise_operator, couple_coils, join_channels, split_channels
from jaxgen.medical.reconstruction.measurement_projection import complex_denoiser, measurement_projection, score_mri
from jaxgen.medical.reconstruction.null_space import ddnm, ddnm_plus
from jaxgen.medical.reconstruction.posterior_sampling import dps, pseudo_inverse_guidance
from jaxgen.medical.reconstruction.proximal import diffpir, proximal
from jaxgen.medical.reconstruction.residual import relative_residual, residual
from jaxgen.medical.reconstruction.sense import cg_sense
from jaxgen.medical.reconstruction.total_variation import total_variation, total_variation_norm

__all__ = [
    "cg_sense",
    "coilwise_operator",
    "complex_denoiser",
    "couple_coils",
    "ddnm",
    "ddnm_plus",
    "diffpir",
    "dps",
    "join_channels",
    "measurement_projection",
    "proximal",
    "pseudo_inverse_guidance",
    "relative_residual",
    "residual",
    "score_mri",
    "split_channels",
    "total_variation",
    "total_variation_norm",
]
