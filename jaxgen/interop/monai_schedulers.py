"""MONAI's schedulers: their tables, times and prediction with our samplers.

MONAI's DDIM looks one stride of ``T // steps`` ahead, while its times are rounded from equal parts of ``T - 1``: a step
may end one entry away from where the next one begins. Rectified flow likewise ends its steps at whole times. Both are
kept as they are there, so that samples agree. Those of monai-generative begin at the last whole stride of the table,
not at its end. Where MONAI departs from what it means to compute, ours does not follow:

- DDPM with fewer steps than entries: every step ends where the next begins, not one entry further.
- PNDM: the first step is not taken twice, and the Runge-Kutta steps are of the right length.
- Clipping changes x0, and the noise is what follows from x_t and that x0.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxgen import paths, schedules
from jaxgen.errors import UserError
from jaxgen.interop.entries import Entries, Kind
from jaxgen.interop.schedulers import Predict, Scheduler
from jaxgen.paths import Path
from jaxgen.samplers import clip, ddim, ddpm, pndm
from jaxgen.samplers.shifting import shift_of_size
from jaxgen.types import Array, Denoise, Step

_TABLE = {
    "num_train_timesteps": 1000,
    "schedule": "linear_beta",
    "beta_schedule": None,  # its name before, without "_beta"
    "beta_start": 1e-4,
    "beta_end": 2e-2,
    "sig_range": 6.0,
    "s": 8e-3,
    "prediction_type": "epsilon",
}
_CLIP = {"clip_sample": True, "clip_sample_min": -1.0, "clip_sample_max": 1.0}
_FLOW = {
    "num_train_timesteps": 1000,
    "num_inference_steps": None,  # of an older form, which passes it over
    "use_discrete_timesteps": True,
    "sample_method": "uniform",
    "loc": 0.0,
    "scale": 1.0,
    "use_timestep_transform": False,
    "transform_scale": 1.0,
    "steps_offset": 0,
    "base_img_size_numel": 32**3,
    "spatial_dim": 3,
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "DDIMScheduler": {**_TABLE, **_CLIP, "set_alpha_to_one": True, "steps_offset": 0},
    "DDPMScheduler": {**_TABLE, **_CLIP, "variance_type": "fixed_small"},
    "PNDMScheduler": {**_TABLE, "skip_prk_steps": False, "set_alpha_to_one": False, "steps_offset": 0},
    "RFlowScheduler": _FLOW,
}
_BETA, _ANY = Kind((float,), 1e-12, 1 - 1e-6), Kind((float,), -1e6, 1e6)
_KINDS = {
    "num_train_timesteps": Kind((int,), 2, 100_000),
    "num_inference_steps": Kind((int,), 1, 100_000, null=True),
    "beta_schedule": Kind((str,), null=True),
    "beta_start": _BETA,
    "beta_end": _BETA,
    "clip_sample_min": _ANY,
    "clip_sample_max": _ANY,
    "steps_offset": Kind((int,), 0, 100_000),
    "loc": _ANY,
    "scale": Kind((float,), 1e-6, 1e6),
    "transform_scale": Kind((float,), 1e-6, 1e6),
    "base_img_size_numel": Kind((int,), 1, 10**12),
    "spatial_dim": Kind((int,), 1, 3),
}
_PREDICTIONS = {"epsilon": "noise", "sample": "x0", "v_prediction": "v"}


def from_monai(
    config: Mapping[str, Any], steps: int | None = None, *, positions: int | None = None, file: str = "the scheduler"
) -> Scheduler:
    """Read one of MONAI's schedulers.

    Args:
        config: the arguments of its constructor, and ``_target_``, whose last part names the class.
        steps: sampler steps; None for one per entry of the table.
        positions: pixels or voxels of what is sampled; rectified flow may space its times by it.
        file: where the configuration is from, for messages.

    Returns:
        The scheduler's path, prediction, grid and step; see `jaxgen.interop.schedulers.Scheduler`.

    Raises:
        UserError: if a class, an entry or a value is not supported, there are more steps than entries of the table, or
            `positions` is needed.

    Example:
        >>> s = from_monai({"_target_": "monai.networks.schedulers.DDIMScheduler", "clip_sample": False}, 3)
        >>> s.prediction, s.number(s.grid[:-1]).tolist()
        ('noise', [999.0, 500.0, 0.0])
    """
    target = str(config.get("_target_"))
    kind = target.rpartition(".")[2]
    if kind not in _DEFAULTS:
        raise UserError(f"{file}: _target_ is {target[:80]!r}; supported: {', '.join(_DEFAULTS)}")
    entries = Entries(config, file, _DEFAULTS[kind], _KINDS, __name__)
    table = entries["num_train_timesteps"]
    steps = table if steps is None else steps
    if not 1 <= steps <= table:
        raise UserError(f"{file}: {steps} steps were asked for; give 1 to {table}, its num_train_timesteps")
    if kind == "RFlowScheduler":
        return _flow(entries, steps, positions, file, whole=not target.startswith("scripts."))
    leading = kind == "PNDMScheduler" or target.startswith("generative.")
    return _chain(entries, kind, steps, file, leading)


def _betas(entries: Entries) -> np.ndarray:
    n, start, end = entries["num_train_timesteps"], entries["beta_start"], entries["beta_end"]
    entries.only("sig_range", 6.0, 6)
    entries.only("s", 8e-3)
    tables: dict[str, Callable[..., np.ndarray]] = {
        "linear": schedules.linear_betas,
        "scaled_linear": schedules.scaled_linear_betas,
        "sigmoid": schedules.sigmoid_betas,
    }
    name = entries.only("beta_schedule", None, *tables)
    if name is None:
        name = entries.only("schedule", *(f"{one}_beta" for one in tables), "cosine").removesuffix("_beta")
    return schedules.cosine_betas(n) if name == "cosine" else tables[name](n, start, end)


def _chain(entries: Entries, kind: str, steps: int, file: str, leading: bool) -> Scheduler:
    """DDIM, DDPM and PNDM, on whole entries of a table: from its last one, or with `leading` whole strides from 0."""
    n = entries["num_train_timesteps"]
    path = paths.discrete(_betas(entries))
    offset = entries["steps_offset"] if kind != "DDPMScheduler" else 0
    if leading:
        numbers = np.arange(steps)[::-1] * (n // steps) + offset
    else:
        numbers = np.linspace(n - 1 - offset, 0, steps).round() + offset
    if numbers[0] >= n or offset >= n:
        raise UserError(f"{file}: steps_offset is {offset}, which leads out of a table of {n}; lower it")
    prediction = _PREDICTIONS[entries.only("prediction_type", *_PREDICTIONS)]
    final = 0.0 if kind == "DDPMScheduler" or entries["set_alpha_to_one"] else 1 / n
    if kind == "DDIMScheduler":
        step = _ending(ddim(path), lambda t, s: _stride_ahead(t, n // steps, n, final))
    elif kind == "DDPMScheduler":
        variance = entries.only("variance_type", "fixed_small", "fixed_large")
        step = ddpm(path, variance.removeprefix("fixed_"))
    else:
        step = pndm(path, runge_kutta=not entries["skip_prk_steps"])
    clips = kind != "PNDMScheduler" and entries["clip_sample"]

    def number(t: Array) -> Array:
        position = paths.timestep(jnp.asarray(t, jnp.float32), n)
        near = jnp.round(position)
        return jnp.where(jnp.abs(position - near) < 0.01, near, position)

    def denoiser(predict: Predict) -> Denoise:
        def denoise(x: Array, t: Array) -> Array:
            return paths.convert(path, x, t, predict(x, number(t)), prediction, "x0")

        return clip(denoise, entries["clip_sample_min"], entries["clip_sample_max"]) if clips else denoise

    grid = jnp.asarray(np.append((numbers + 1) / n, final), jnp.float32)
    return Scheduler(path, prediction, grid, 1.0, number, denoiser, lambda predict: step)


def _ending(step: Step, end: Callable[[Array, Array], Array]) -> Step:
    """A step that ends elsewhere than the grid says."""
    return Step(step.init, lambda denoise, key, state, t, s: step.step(denoise, key, state, t, end(t, s)))


def _stride_ahead(t: Array, stride: int, n: int, final: float) -> Array:
    entry = jnp.round(paths.timestep(t, n)) - stride
    return jnp.where(entry < 0, final, (entry + 1) / n).astype(t.dtype)


def _flow(entries: Entries, steps: int, positions: int | None, file: str, whole: bool) -> Scheduler:
    """Rectified flow: the network is told ``T (1 - t)`` and predicts the velocity, data less noise."""
    n = entries["num_train_timesteps"]
    entries.only("sample_method", "uniform", "logit-normal")
    discrete = entries["use_discrete_timesteps"]
    numbers = (1 - np.arange(steps) / steps) * n
    numbers = numbers.round() if discrete else numbers
    if entries["use_timestep_transform"]:
        if positions is None:
            raise UserError(f"{file}: its times depend on the size of the image; give latent_shape")
        ratio = shift_of_size(positions, entries["base_img_size_numel"], entries["spatial_dim"])
        numbers = n * ratio * (numbers / n) / (1 + (ratio - 1) * numbers / n)
    numbers = numbers.astype(np.float16).astype(np.float64)  # as there: a trained network saw these
    numbers = (np.floor(numbers) if discrete else numbers) + entries["steps_offset"]
    path: Path = paths.rectified()

    def number(t: Array) -> Array:
        return n * (1 - jnp.asarray(t, jnp.float32))

    def denoiser(predict: Predict) -> Denoise:
        return lambda x, t: paths.convert(path, x, t, predict(x, number(t)), "velocity", "x0")

    def end(t: Array, s: Array) -> Array:
        return (1 - jnp.floor(n * (1 - s) + 1e-3) / n).astype(t.dtype)

    step = _ending(ddim(path), end) if whole else ddim(path)
    grid = jnp.asarray(np.append(1 - numbers / n, 1.0), jnp.float32)
    return Scheduler(path, "velocity", grid, 1.0, number, denoiser, lambda predict: step)
