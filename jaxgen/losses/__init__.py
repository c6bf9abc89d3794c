"""Losses: pure functions that return one value per example. They need nothing but JAX."""

from jaxgen.losses import weights
from jaxgen.losses.adversarial import (
    Adversarial,
    gradient_penalty,
    hinge,
    least_squares,
    minimax,
    non_saturating,
    r1,
    r2,
    relativistic,
    squared_gradient,
    wasserstein,
)
from jaxgen.losses.autoencoding import (
    codebook_loss,
    free_bits,
    gaussian_divergence,
    gaussian_kl,
    importance_weighted_bound,
    negative_elbo,
    straight_through,
)
from jaxgen.losses.contrastive import info_nce
from jaxgen.losses.diffusion import denoising, hybrid, split_variance
from jaxgen.losses.interpolants import bridge_matching
from jaxgen.losses.likelihood import bernoulli, categorical, discretised_gaussian, discretised_logistic, gaussian
from jaxgen.losses.matching import flow_matching
from jaxgen.losses.mean_flow import adaptively_weighted, interval_times, mean_flow
from jaxgen.losses.overlap import soft_dice
from jaxgen.losses.perceptual import perceptual_distance
from jaxgen.losses.pixels import absolute_error
from jaxgen.losses.score_matching import (
    denoising_score_matching,
    implicit_score_matching,
    likelihood_weight,
    sliced_score_matching,
)
from jaxgen.losses.similarity import lncc, mutual_information
from jaxgen.losses.smoothness import bending_energy, diffusion_energy
from jaxgen.losses.times import (
    logit_normal,
    low_discrepancy,
    noise_levels,
    spread_time,
    uniform_log_snr,
    uniform_time,
)
from jaxgen.losses.variational import Bound, continuous_bound, discrete_bound, step_bound

__all__ = [
    "absolute_error",
    "Adversarial",
    "Bound",
    "adaptively_weighted",
    "bending_energy",
    "bernoulli",
    "bridge_matching",
    "categorical",
    "codebook_loss",
    "continuous_bound",
    "denoising",
    "denoising_score_matching",
    "diffusion_energy",
    "discrete_bound",
    "discretised_gaussian",
    "discretised_logistic",
    "flow_matching",
    "free_bits",
    "gaussian",
    "gaussian_divergence",
    "gaussian_kl",
    "gradient_penalty",
    "hinge",
    "hybrid",
    "implicit_score_matching",
    "importance_weighted_bound",
    "info_nce",
    "interval_times",
    "least_squares",
    "likelihood_weight",
    "lncc",
    "logit_normal",
    "low_discrepancy",
    "mean_flow",
    "minimax",
    "mutual_information",
    "negative_elbo",
    "noise_levels",
    "non_saturating",
    "perceptual_distance",
    "r1",
    "r2",
    "relativistic",
    "sliced_score_matching",
    "soft_dice",
    "split_variance",
    "spread_time",
    "squared_gradient",
    "step_bound",
    "straight_through",
    "uniform_log_snr",
    "uniform_time",
    "wasserstein",
    "weights",
]
