"""Schedulers of flow matching, and solvers of diffusion that are run on its levels (``use_flow_sigmas``)."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxgen import paths
from jaxgen.interop.schedulers import levels as noise
from jaxgen.interop.schedulers.asked import Asked, refuse
from jaxgen.interop.schedulers.config import Config
from jaxgen.interop.schedulers.defaults import FLOW_PREDICTIONS
from jaxgen.interop.schedulers.methods import holding, method
from jaxgen.interop.schedulers.scheduler import Predict, Scheduler, interpolated, regardless
from jaxgen.paths import Path
from jaxgen.samplers import ddim, heun
from jaxgen.types import Array, Denoise

# Time is the noise level, so that the velocity is noise - x0.
PATH = Path(lambda t: 1 - t, lambda t: t, t_data=0.0, t_noise=1.0)


def _shift(levels: Any, shift: float) -> Any:
    return shift * levels / (1 + (shift - 1) * levels)


def _dynamic_shift(config: Config, asked: Asked) -> float:
    """The shift that follows from mu, which follows from the size of an image."""
    if asked.mu is None:
        raise config.wrong("use_dynamic_shifting is true: give mu (see jaxgen.samplers.shifting.mu_of_tokens)")
    if config.one_of("time_shift_type", "exponential", "linear") == "exponential":
        shift = float(np.exp(np.clip(asked.mu, -700, 700)))
    else:
        shift = asked.mu
    if not 0 < shift < 1e12:
        raise config.wrong(f"mu is {asked.mu}: it makes a shift of {shift:g}; give one nearer to 1")
    return shift


def _stretched(config: Config, levels: np.ndarray) -> np.ndarray:
    end = config.get("shift_terminal")
    if not end or levels[-1] >= 1:  # there is nothing to stretch
        return levels
    return 1 - (1 - levels) * (1 - end) / (1 - levels[-1])


def from_flow(config: Config, asked: Asked) -> Scheduler:
    """The scheduler of flow matching by Euler's or Heun's method."""
    n, shift = config["num_train_timesteps"], config["shift"]
    numbers = None
    if config.get("use_dynamic_shifting"):
        shift, ends = _dynamic_shift(config, asked), (1.0, 1 / n)
    else:
        refuse(config, asked, "mu")
        # The ends of the range are shifted, and then all levels are once more.
        ends = (_shift(1.0, shift), _shift(1 / n, shift))
    levels = np.linspace(*ends, asked.steps)
    if asked.sigmas is not None:
        levels = asked.sigmas
    if asked.timesteps is not None:
        levels, numbers = asked.timesteps / n, asked.timesteps
    if levels[0] > 1:
        raise config.wrong(f"sigmas must lie between 0 and 1, and timesteps between 0 and {n} (num_train_timesteps)")
    levels = _stretched(config, _shift(levels, shift))
    respaced = noise.respaced(config, levels[0], levels[-1], asked.steps)
    levels = np.append(levels if respaced is None else respaced, 0.0)
    inverted = bool(config.get("invert_sigmas"))
    # Networks with inverted levels are told how much data there is, and predict x0 - noise.
    path, times = (paths.rectified(), 1 - levels) if inverted else (PATH, levels)
    known = interpolated(times[:-1], numbers) if numbers is not None and not inverted else None

    def number(t: Array) -> Array:
        return known(t) if known else t * n

    def denoiser(predict: Predict) -> Denoise:
        return lambda x, t: paths.convert(path, x, t, predict(x, number(t)), "velocity", "x0")

    if config.kind == "FlowMatchHeunDiscreteScheduler":
        step = heun(path)
    else:
        # With all of the noise new, nothing of x_t is kept but what x0 says.
        step = ddim(path, float("inf") if config["stochastic_sampling"] else 0.0)
    return Scheduler(path, "velocity", jnp.asarray(times), 1.0, number, denoiser, regardless(step))


def _solver_levels(config: Config, asked: Asked) -> np.ndarray:
    """The levels that the solvers of diffusion visit, in the same order of operations as theirs."""
    n, steps, shift = config["num_train_timesteps"], asked.steps, config["flow_shift"]
    if config.get("use_dynamic_shifting") and (asked.mu is not None or config.kind.startswith("UniPC")):
        shift = _dynamic_shift(config, asked)
    else:
        refuse(config, asked, "mu")
    if not config.kind.startswith("UniPC"):
        refuse(config, asked, "sigmas")
        return np.flip(_shift(1.0 - np.linspace(1, 1 / n, steps + 1), shift))[:-1]
    if asked.sigmas is not None and asked.sigmas[0] > 1:
        raise config.wrong(f"sigmas begin at {asked.sigmas[0]:g}; they must lie between 0 and 1")
    levels = np.linspace(1, 1 / n, steps + 1)[:-1] if asked.sigmas is None else asked.sigmas
    levels = _stretched(config, _shift(levels, shift))
    # A little of the data is left at the first level, so that its logarithm is finite.
    return np.append(levels[0] - 1e-6 if abs(levels[0] - 1) < 1e-6 else levels[0], levels[1:])


def from_flow_sigmas(config: Config, asked: Asked) -> Scheduler:
    """A solver of diffusion on the levels of flow matching."""
    refuse(config, asked, "timesteps")
    ratios = noise.ratios(noise.betas(config))
    prediction = FLOW_PREDICTIONS[config.one_of("prediction_type", *FLOW_PREDICTIONS)]
    respaced = noise.respaced(config, ratios[-1], ratios[0], asked.steps)
    unipc = config.kind.startswith("UniPC")
    if respaced is None:
        levels = _solver_levels(config, asked)
    else:
        if not (unipc and config["use_karras_sigmas"]):
            asked_too = [kind for kind in noise.RESPACINGS if config.get(kind)]
            raise config.wrong(f"use_flow_sigmas and {asked_too[0]} are both true; set one of them to false")
        refuse(config, asked, "sigmas", "mu")
        levels = respaced / (respaced + 1)
    if config.kind == "DEISMultistepScheduler":
        end = levels[-1]
    elif config.one_of("final_sigmas_type", "zero", "sigma_min") == "zero":
        end = 0.0
    else:
        end = levels[-1] if unipc else min(ratios[0], levels[-1])
    # They are told as whole numbers, with the fraction cut off.
    number = interpolated(levels, np.floor(levels * config["num_train_timesteps"]))
    hold = holding(config)

    def denoiser(predict: Predict) -> Denoise:
        return hold(lambda x, t: paths.convert(PATH, x, t, predict(x, number(t)), prediction, "x0"))

    step = method(config, PATH, asked.steps)
    grid = jnp.asarray(np.append(levels, end))
    return Scheduler(PATH, prediction, grid, 1.0, number, denoiser, regardless(step))
