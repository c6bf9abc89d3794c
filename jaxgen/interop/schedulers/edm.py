"""Schedulers whose time is the noise level: those of EDM, and of consistency models, which share its scaling."""

import jax.numpy as jnp
import numpy as np

from jaxgen import draws, paths
from jaxgen.interop.schedulers.asked import Asked, refuse
from jaxgen.interop.schedulers.config import Config
from jaxgen.interop.schedulers.methods import holding, method
from jaxgen.interop.schedulers.scheduler import Predict, Scheduler, regardless
from jaxgen.samplers import clipping, consistency
from jaxgen.types import Array, Denoise, Key


def _karras(config: Config, ramp: np.ndarray) -> np.ndarray:
    low, high, rho = config["sigma_min"], config["sigma_max"], config["rho"]
    return (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho


def from_edm(config: Config, asked: Asked) -> Scheduler:
    """The scheduler of EDM."""
    refuse(config, asked, "timesteps", "sigmas", "mu")
    sign = {"epsilon": -1, "v_prediction": 1}[config.one_of("prediction_type", "epsilon", "v_prediction")]
    low, high, data = config["sigma_min"], config["sigma_max"], config["sigma_data"]
    ramp = np.linspace(0, 1, asked.steps)
    if config.one_of("sigma_schedule", "karras", "exponential") == "karras":
        levels = _karras(config, ramp)
    else:
        levels = np.exp(np.log(high) + ramp * (np.log(low) - np.log(high)))
    final = 0.0 if config.one_of("final_sigmas_type", "zero", "sigma_min") == "zero" else levels[-1]
    path, hold = paths.edm(high), holding(config)

    def number(t: Array) -> Array:
        return 0.25 * jnp.log(t)

    def denoiser(predict: Predict) -> Denoise:
        def denoise(x: Array, t: Array) -> Array:
            # A v of the data divided by its standard deviation, on the circle of angle arctan(t / data).
            norm = jnp.sqrt(t**2 + data**2)
            output = predict((x / norm).astype(x.dtype), number(t))
            return (data / norm) ** 2 * x - sign * t * data / norm * output

        return hold(denoise)

    step = method(config, path, asked.steps)
    start, grid = float(np.sqrt(high**2 + 1)), jnp.asarray(np.append(levels, final))
    return Scheduler(path, "v", grid, start, number, denoiser, regardless(step))


def from_consistency(config: Config, asked: Asked) -> Scheduler:
    """The scheduler of a consistency model, which answers with a sample at the smallest noise level."""
    refuse(config, asked, "sigmas", "mu")
    n, low, high, data = (config[key] for key in ("num_train_timesteps", "sigma_min", "sigma_max", "sigma_data"))
    if asked.steps > n:
        raise config.wrong(f"num_train_timesteps is {n}, less than the {asked.steps} steps; ask for fewer")
    entries = np.arange(asked.steps) * (n // asked.steps)
    if asked.timesteps is not None:
        entries = asked.timesteps[::-1]
        if entries[-1] > n - 1 or (entries != entries.round()).any():
            raise config.wrong(f"timesteps must be whole numbers from {n - 1} (num_train_timesteps - 1) down to 0")
    levels = _karras(config, entries / max(n - 1, 1))
    path = paths.edm(high)

    def number(t: Array) -> Array:
        return 250 * jnp.log(t)

    def denoiser(predict: Predict) -> Denoise:
        def denoise(x: Array, t: Array) -> Array:
            norm = jnp.sqrt(t**2 + data**2)
            output = predict((x / norm).astype(x.dtype), number(t))
            # At the smallest level the answer is x itself.
            kept = data**2 / ((t - low) ** 2 + data**2)
            return kept * x + (t - low) * data / norm * output

        return clipping.clip(denoise, -1.0, 1.0) if config["clip_denoised"] else denoise

    def noise(key: Key, shape: tuple[int, ...]) -> Array:
        return config["s_noise"] * draws.normal(key, shape)

    grid = jnp.asarray(np.append(levels, low))
    return Scheduler(path, "v", grid, float(high), number, denoiser, regardless(consistency(path, noise=noise)))
