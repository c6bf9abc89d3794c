"""Reading a scheduler of diffusers."""

from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from jaxgen.errors import UserError
from jaxgen.interop import json_files
from jaxgen.interop.schedulers import asked as request
from jaxgen.interop.schedulers.config import Config
from jaxgen.interop.schedulers.edm import from_consistency, from_edm
from jaxgen.interop.schedulers.flow import from_flow, from_flow_sigmas
from jaxgen.interop.schedulers.scheduler import Scheduler
from jaxgen.interop.schedulers.table import from_table


def from_diffusers(
    config: Mapping[str, Any] | str | FilePath,
    steps: int | None = None,
    *,
    timesteps: Sequence[float] | None = None,
    sigmas: Sequence[float] | None = None,
    mu: float | None = None,
) -> Scheduler:
    """Read a diffusers scheduler.

    Args:
        config: a ``scheduler_config.json``, or the folder that holds it, or its entries.
        steps: the number of steps to sample with (``num_inference_steps``); 1 or more. One of `steps`, `timesteps` and
            `sigmas` is given.
        timesteps: the numbers to tell the network, falling: whole entries of the table, and any for flow matching.
        sigmas: the noise levels, falling. Where Euler's method, Heun's, LMS and KDPM2 work with ``sigma / alpha`` they
            have the level to end at too; those of flow matching lie between 0 and 1 and end at 0 by themselves.
        mu: the logarithm of the shift, which follows from the size of an image, where the file has
            ``use_dynamic_shifting``; see `jaxgen.samplers.shifting.mu_of_tokens`.

    Returns:
        The scheduler's path, prediction, grid and step, and how to put a network into them.

    Raises:
        UserError: if the file is missing or is no JSON, or its class, an entry or a value is not supported; it names
            the file, the entry and the nearest that is. Also if this class cannot be told timesteps, sigmas or mu.
        ValueError: if there is no step, or not exactly one of steps, timesteps and sigmas.

    Reference:
        Lin et al. 2024, "Common diffusion noise schedules and sample steps are flawed", table 2, for the spacings.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jaxgen.samplers import sample
        >>> s = from_diffusers({"_class_name": "DDIMScheduler", "prediction_type": "sample", "clip_sample": False}, 4)
        >>> s.prediction, s.number(s.grid[:-1]).tolist()
        ('x0', [750.0, 500.0, 250.0, 0.0])
        >>> predict, noise = lambda x, number: 0 * x + 2, jnp.ones((1, 1))
        >>> sample(s.step(None), s.denoiser(predict), jax.random.key(0), s.start * noise, s.grid).tolist()
        [[2.0]]
    """
    asked = request.read(steps, timesteps, sigmas, mu)
    entries = Config(*_entries(config))
    scheduler = _builder(entries)(entries, asked)
    grid = np.asarray(scheduler.grid)
    rises = scheduler.path.t_data > scheduler.path.t_noise
    if entries.kind == "DPMSolverMultistepInverseScheduler":
        rises = not rises
    away = np.diff(grid) * (-1 if rises else 1)
    if not (np.isfinite(grid).all() and np.isfinite(scheduler.start) and (away <= 0).all()):
        raise entries.wrong("its noise levels do not fall from one finite number to another; check its numbers")
    return scheduler


def _builder(entries: Config) -> Any:
    if entries.kind.startswith("EDM"):
        return from_edm
    if entries.kind.startswith("CM"):
        return from_consistency
    if entries.kind.startswith("Flow"):
        return from_flow
    if entries.get("use_flow_sigmas"):
        if entries.kind == "DPMSolverMultistepInverseScheduler":
            # Theirs runs from noise to data then, which is no inversion.
            entries.refuse("use_flow_sigmas", True, [False])
        return from_flow_sigmas
    return from_table


def _entries(config: Mapping[str, Any] | str | FilePath) -> tuple[Mapping[str, Any], str]:
    """The entries of a file, and its name for messages."""
    if isinstance(config, Mapping):
        return config, "the scheduler config"
    file = FilePath(config)
    name = str(file)
    try:
        file = file / "scheduler_config.json" if file.is_dir() else file
        name = str(file)
        entries = json_files.read(file)
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror}); give a scheduler_config.json") from error
    except ValueError as error:
        raise UserError(f"{name}: is no JSON ({error}); give a scheduler_config.json") from error
    if not isinstance(entries, Mapping):
        raise UserError(f"{name}: holds no JSON object; give a scheduler_config.json")
    return entries, name
