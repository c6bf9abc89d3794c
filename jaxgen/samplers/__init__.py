"""Samplers: grids of times, steps, and the loop that runs them.

`jaxgen.samplers.ode.solve_ode` is not imported here: diffrax takes a second to load and most sampling does without.
"""

from jaxgen.samplers import grids
from jaxgen.samplers.ancestral import ddpm, euler_ancestral
from jaxgen.samplers.clipping import clip, dynamic_threshold
from jaxgen.samplers.consistency import consistency
from jaxgen.samplers.deis import deis
from jaxgen.samplers.dpm_solver import dpm_solver_1s, dpm_solver_2m, dpm_solver_2s, dpm_solver_3m, dpm_solver_3s
from jaxgen.samplers.driver import Sampling, from_noise, sample, starting_noise
from jaxgen.samplers.editing import invert, lerp, repaint, replacement, sdedit, slerp, time_travel
from jaxgen.samplers.edm import edm
from jaxgen.samplers.euler_maruyama import euler_maruyama
from jaxgen.samplers.inverse_dpm_solver import inverse_dpm_solver
from jaxgen.samplers.kdpm2 import kdpm2
from jaxgen.samplers.langevin import annealed_langevin, predictor_corrector, reverse_diffusion
from jaxgen.samplers.lms import lms
from jaxgen.samplers.planes import alternating, plane_denoiser
from jaxgen.samplers.pndm import pndm
from jaxgen.samplers.renewal import renewal
from jaxgen.samplers.steps import Sample, ddim, denoiser, euler, from_velocity, heun, midpoint, runge_kutta4, start
from jaxgen.samplers.tcd import tcd
from jaxgen.samplers.unipc import unipc

__all__ = [
    "Sample",
    "Sampling",
    "alternating",
    "annealed_langevin",
    "clip",
    "consistency",
    "ddim",
    "ddpm",
    "deis",
    "denoiser",
    "dpm_solver_1s",
    "dpm_solver_2m",
    "dpm_solver_2s",
    "dpm_solver_3m",
    "dpm_solver_3s",
    "dynamic_threshold",
    "edm",
    "euler",
    "euler_ancestral",
    "euler_maruyama",
    "from_noise",
    "from_velocity",
    "grids",
    "heun",
    "inverse_dpm_solver",
    "invert",
    "kdpm2",
    "lerp",
    "lms",
    "midpoint",
    "plane_denoiser",
    "pndm",
    "predictor_corrector",
    "renewal",
    "repaint",
    "replacement",
    "reverse_diffusion",
    "runge_kutta4",
    "sample",
    "sdedit",
    "slerp",
    "start",
    "starting_noise",
    "tcd",
    "time_travel",
    "unipc",
]
