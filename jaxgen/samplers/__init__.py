"""Samplers: grids of times, steps, and the loop that runs them.

`jaxgen.samplers.ode.solve_ode` is not imported here: diffrax takes a second to load and most sampling does without.
"""

from jaxgen.samplers import grids
from jaxgen.samplers.driver import sample
from jaxgen.samplers.steps import Sample, ddim, denoiser, euler, from_velocity, heun, midpoint, runge_kutta4, start

__all__ = [
    "Sample",
    "ddim",
    "denoiser",
    "euler",
    "from_velocity",
    "grids",
    "heun",
    "midpoint",
    "runge_kutta4",
    "sample",
    "start",
]
