"""Bijections as pure functions: ``Bijection(init, forward, inverse)``, with exact log-determinants."""

from jaxgen.bijections import masks
from jaxgen.bijections.actnorm import actnorm
from jaxgen.bijections.autoregressive import autoregressive
from jaxgen.bijections.bijection import Bijection, invert
from jaxgen.bijections.chain import chain, scan_chain
from jaxgen.bijections.conv1x1 import conv1x1
from jaxgen.bijections.coupling import coupling
from jaxgen.bijections.elementwise import elementwise
from jaxgen.bijections.logit import logit
from jaxgen.bijections.monotonic import MonotonicTransform, affine
from jaxgen.bijections.multiscale import level_shapes, multiscale
from jaxgen.bijections.permutation import permutation, reverse
from jaxgen.bijections.spline import rational_quadratic
from jaxgen.bijections.squeeze import squeeze

__all__ = [
    "Bijection",
    "MonotonicTransform",
    "actnorm",
    "affine",
    "autoregressive",
    "chain",
    "conv1x1",
    "coupling",
    "elementwise",
    "invert",
    "level_shapes",
    "logit",
    "masks",
    "multiscale",
    "permutation",
    "rational_quadratic",
    "reverse",
    "scan_chain",
    "squeeze",
]
