"""What MONAI's schedulers describe, from their entries in a bundle's configuration.

Ours do not follow MONAI's where a step does not end where the next begins: DDPM with fewer steps than its table, DDIM
with a number of steps that does not divide it, PNDM, and rectified flow with fractions of a timestep.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxgen import paths, schedules
from jaxgen.interop.schedulers.asked import Asked
from jaxgen.interop.schedulers.config import Config
from jaxgen.interop.schedulers.scheduler import Predict, Scheduler, regardless
from jaxgen.interop.schedulers.table import from_table
from jaxgen.samplers import clipping, euler, shifting
from jaxgen.types import Array, Denoise

_TABLE = {
    "num_train_timesteps": 1000,
    "schedule": "linear_beta",
    "beta_start": 1e-4,
    "beta_end": 2e-2,
    "sig_range": 6.0,
    "s": 8e-3,
    "prediction_type": "epsilon",
}
_CLIP = {"clip_sample": True, "clip_sample_min": -1.0, "clip_sample_max": 1.0}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "DDPMScheduler": {**_TABLE, **_CLIP, "variance_type": "fixed_small"},
    "DDIMScheduler": {**_TABLE, **_CLIP, "set_alpha_to_one": True, "steps_offset": 0},
    "PNDMScheduler": {**_TABLE, "skip_prk_steps": False, "set_alpha_to_one": False, "steps_offset": 0},
    "RFlowScheduler": {
        "num_train_timesteps": 1000,
        "use_discrete_timesteps": True,
        "sample_method": "uniform",
        "loc": 0.0,
        "scale": 1.0,
        "use_timestep_transform": False,
        "transform_scale": 1.0,
        "steps_offset": 0,
        "base_img_size_numel": 32**3,
        "spatial_dim": 3,
    },
}


def from_monai(entries: Mapping[str, Any], steps: int, *, voxels: int | None = None) -> Scheduler:
    """Read a scheduler of MONAI.

    Args:
        entries: as in a bundle's configuration, with ``"_target_"``: ``DDPMScheduler``, ``DDIMScheduler``,
            ``PNDMScheduler`` or ``RFlowScheduler``, with or without the package before it.
        steps: the number of steps to sample with (``num_inference_steps``); 1 or more.
        voxels: height x width (x depth) of an image, or of its code in latent diffusion; needed by ``RFlowScheduler``
            with ``use_timestep_transform``.

    Returns:
        The scheduler's path, prediction, grid and step, and how to put a network into them.

    Raises:
        UserError: if the class, an entry or a value is not supported, or `voxels` is missing.
        ValueError: if there is no step.

    Example:
        >>> s = from_monai({"_target_": "monai.networks.schedulers.RFlowScheduler"}, 4)
        >>> s.prediction, s.number(s.grid).tolist()
        ('velocity', [1000.0, 750.0, 500.0, 250.0, 0.0])
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}: at least 1 is needed")
    target = entries.get("_target_")
    named = {**entries, "_target_": target.rpartition(".")[2] if isinstance(target, str) else target}
    config = Config(named, "the scheduler's entries", key="_target_", defaults=_DEFAULTS)
    n = config["num_train_timesteps"]
    if steps > n:
        raise config.wrong(f"num_train_timesteps is {n}, less than the {steps} steps; ask for fewer")
    if config.kind == "RFlowScheduler":
        return _rectified_flow(config, steps, voxels)
    return _from_table(config, steps)


def _betas(config: Config) -> np.ndarray:
    n, start, end = (config[key] for key in ("num_train_timesteps", "beta_start", "beta_end"))
    config.one_of("sig_range", 6.0)
    config.one_of("s", 8e-3)
    tables = {
        "linear_beta": lambda: schedules.linear_betas(n, start, end),
        "scaled_linear_beta": lambda: schedules.scaled_linear_betas(n, start, end),
        "sigmoid_beta": lambda: schedules.sigmoid_betas(n, start, end),
        "cosine": lambda: schedules.cosine_betas(n),
    }
    return tables[config.one_of("schedule", *tables)]()


def _from_table(config: Config, steps: int) -> Scheduler:
    config.one_of("variance_type", "fixed_small", "fixed_large")
    same = ("prediction_type", "num_train_timesteps", "variance_type", "set_alpha_to_one", "skip_prk_steps")
    entries = {key: config[key] for key in same if config.get(key) is not None}
    entries |= {"_class_name": config.kind, "trained_betas": _betas(config).tolist()}
    if config.kind != "PNDMScheduler":
        entries["clip_sample"] = False
    asked, offset = Asked(steps), config.get("steps_offset", 0)
    if config.kind == "PNDMScheduler":
        entries |= {"timestep_spacing": "leading", "steps_offset": offset}
    else:
        n = config["num_train_timesteps"]
        if offset > n - steps:
            raise config.wrong(f"steps_offset is {offset}, which leaves no {steps} steps of a table of {n}; lower it")
        numbers = np.linspace(n - 1 - offset, 0, steps).round() + offset
        asked = asked._replace(timesteps=numbers)
    made = from_table(Config(entries, config.name), asked)
    if not config.get("clip_sample"):
        return made
    low, high = config["clip_sample_min"], config["clip_sample_max"]
    return made._replace(denoiser=lambda predict: clipping.clip(made.denoiser(predict), low, high))


def _rectified_flow(config: Config, steps: int, voxels: int | None) -> Scheduler:
    n = config["num_train_timesteps"]
    levels = 1 - np.arange(steps) / steps
    if config["use_discrete_timesteps"]:
        levels = np.round(levels * n) / n
    if config["use_timestep_transform"]:
        if voxels is None:
            raise config.wrong("use_timestep_transform is true: give the number of voxels of an image")
        # transform_scale is of the times that are trained on, in MONAI too.
        shift = shifting.shift_of_size(voxels, config["base_img_size_numel"], config["spatial_dim"])
        levels = shift * levels / (1 + (shift - 1) * levels)
    # MONAI keeps the numbers in half precision, and cuts off the fraction.
    numbers = (levels * n).astype(np.float16).astype(np.float64)
    if config["use_discrete_timesteps"]:
        numbers = np.floor(numbers)
    numbers = np.append(numbers + config["steps_offset"], 0.0)
    path = paths.rectified()

    def number(t: Array) -> Array:
        return (1 - t) * n

    def denoiser(predict: Predict) -> Denoise:
        return lambda x, t: paths.convert(path, x, t, predict(x, number(t)), "velocity", "x0")

    grid = jnp.asarray(1 - numbers / n)
    if not (np.diff(numbers) < 0).all() or numbers[0] > n:
        raise config.wrong(f"its timesteps do not fall from {n} to 0; check steps_offset and ask for fewer steps")
    return Scheduler(path, "velocity", grid, 1.0, number, denoiser, regardless(euler(path)))
