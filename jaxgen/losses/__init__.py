"""Losses: pure functions that return one value an example. They need nothing but JAX."""

from jaxgen.losses.likelihood import bernoulli, categorical, gaussian
from jaxgen.losses.matching import flow_matching, logit_normal, uniform_time

__all__ = ["bernoulli", "categorical", "flow_matching", "gaussian", "logit_normal", "uniform_time"]
