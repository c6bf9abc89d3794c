"""Samplers: grids of times, steps, and the loop that runs them.

`jaxgen.samplers.ode.solve_ode` is not imported here: diffrax takes a second to load and most sampling does without.
"""

from jaxgen.samplers import grids
from jaxgen.samplers.ancestral import ddpm, euler_ancestral
from jaxgen.samplers.clipping import clip, dynamic_threshold
from jaxgen.samplers.driver import sample
from jaxgen.samplers.edm import edm
from jaxgen.samplers.euler_maruyama import euler_maruyama
from jaxgen.samplers.langevin import annealed_langevin, predictor_corrector, reverse_diffusion
from jaxgen.samplers.steps import Sample, ddim, denoiser, euler, from_velocity, heun, midpoint, runge_kutta4, start

__all__ = [
    "Sample",
    "annealed_langevin",
    "clip",
    "ddim",
    "ddpm",
    "denoiser",
    "dynamic_threshold",
    "edm",
    "euler",
    "euler_ancestral",
    "euler_maruyama",
    "from_velocity",
    "grids",
    "heun",
    "midpoint",
    "predictor_corrector",
    "reverse_diffusion",
    "runge_kutta4",
    "sample",
    "start",
]
