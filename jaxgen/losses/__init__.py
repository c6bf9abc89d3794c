"""Losses: pure functions that return one value an example. They need nothing but JAX."""

from jaxgen.losses import weights
from jaxgen.losses.diffusion import denoising, hybrid, split_variance
from jaxgen.losses.likelihood import bernoulli, categorical, discretised_gaussian, gaussian
from jaxgen.losses.matching import flow_matching, logit_normal, uniform_time
from jaxgen.losses.score_matching import (
    denoising_score_matching,
    implicit_score_matching,
    likelihood_weight,
    sliced_score_matching,
)
from jaxgen.losses.times import low_discrepancy, noise_levels, spread_time, uniform_log_snr
from jaxgen.losses.variational import Bound, continuous_bound, discrete_bound, step_bound

__all__ = [
    "Bound",
    "bernoulli",
    "categorical",
    "continuous_bound",
    "denoising",
    "denoising_score_matching",
    "discrete_bound",
    "discretised_gaussian",
    "flow_matching",
    "gaussian",
    "hybrid",
    "implicit_score_matching",
    "likelihood_weight",
    "logit_normal",
    "low_discrepancy",
    "noise_levels",
    "sliced_score_matching",
    "split_variance",
    "spread_time",
    "step_bound",
    "uniform_log_snr",
    "uniform_time",
    "weights",
]
