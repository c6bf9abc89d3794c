"""What diffusers' schedulers describe: a ``scheduler_config.json`` gives the path, prediction, grid and step.

Every scheduler is a path, a list of noise levels on it, the numbers that the network is told at these levels, and a
method. diffusers' ways of choosing levels and numbers are kept as they are, rounding too, so that a trained network
sees what it saw there; the methods are ours (`jaxgen.samplers`). Where diffusers' own departs from what it means to
compute, ours does not follow:

- DDIM, PNDM: every step ends where the next begins, also where the number of steps does not divide the table.
- DDPM with the large variance: no noise is added by the step that ends at the data.
- PNDM combines noises, also where the network predicts v.
- LMS begins with order 1 wherever it begins, also midway (image to image).
- DPM-Solver++ of order 3 has order 3.
- UniPC with bh1 ends in numbers, and so does multistep DPM-Solver++ where the last two levels are equal.
- EDM with exponential levels starts from the largest also where there is one step.
- A shift of the last level (`shift_terminal`) leaves a grid of one step as it is; theirs divides by zero.
- Clipping and thresholding change x0, and the noise is what follows from x_t and that x0, in every method.
"""

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.special

from jaxgen import paths, samplers, schedules
from jaxgen.errors import UserError
from jaxgen.interop import json_files
from jaxgen.interop.entries import Kind, kind_of, misfit, shown
from jaxgen.paths import Path
from jaxgen.samplers import clipping, ddim, ddpm, deis, lms, pndm, unipc
from jaxgen.samplers import dpm_solver as dpm
from jaxgen.types import Array, Denoise, Step

Predict = Callable[[Array, Array], Array]
"""``predict(x, number) -> prediction``: a network, told the numbers that it was trained with."""


class Scheduler(NamedTuple):
    """What a scheduler describes.

    Sample with ``sample(s.step(predict), s.denoiser(predict), key, s.start * noise, s.grid)``.

    Attributes:
        path: the path.
        prediction: what the network predicts, one of `jaxgen.paths.PREDICTIONS`.
        grid: the times ``[steps + 1]``, from noise to data.
        start: the standard deviation of the noise to start from.
        number: ``t -> the number the network is told``: straight between the times of the grid.
        denoiser: ``predict -> denoise``: with the network's scaling, its prediction turned into x0, and clipping.
        step: ``predict -> Step``: the method. Only learned variances need the network; otherwise None will do.
    """

    path: Path
    prediction: str
    grid: Array
    start: float
    number: Callable[[Array], Array]
    denoiser: Callable[[Predict], Denoise]
    step: Callable[[Predict | None], Step]


_TABLE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "prediction_type": "epsilon",
}
_CLIP = {"clip_sample": True, "clip_sample_range": 1.0}
_THRESHOLD = {"thresholding": False, "dynamic_thresholding_ratio": 0.995, "sample_max_value": 1.0}
_SPACED = {"timestep_spacing": "linspace", "steps_offset": 0}
_RESPACED = {"use_karras_sigmas": False, "use_exponential_sigmas": False, "use_beta_sigmas": False}
_ZERO_SNR = {"rescale_betas_zero_snr": False}
_FLOW = {"use_flow_sigmas": False, "flow_shift": 1.0, "use_dynamic_shifting": False, "time_shift_type": "exponential"}
_DPM = {
    **_TABLE,
    **_THRESHOLD,
    **_RESPACED,
    **_FLOW,
    "solver_order": 2,
    "algorithm_type": "dpmsolver++",
    "solver_type": "midpoint",
    "lower_order_final": True,
    "final_sigmas_type": "zero",
    "lambda_min_clipped": -float("inf"),
    "variance_type": None,
}
_EDM = {
    "sigma_min": 0.002,
    "sigma_max": 80.0,
    "sigma_data": 0.5,
    "sigma_schedule": "karras",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "rho": 7.0,
    "final_sigmas_type": "zero",
}
# The entries of each class, with the values that diffusers puts for those that a file leaves out.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "DDPMScheduler": {
        **_TABLE,
        **_CLIP,
        **_THRESHOLD,
        **_SPACED,
        **_ZERO_SNR,
        "variance_type": "fixed_small",
        "timestep_spacing": "leading",
    },
    "DDIMScheduler": {
        **_TABLE,
        **_CLIP,
        **_THRESHOLD,
        **_SPACED,
        **_ZERO_SNR,
        "set_alpha_to_one": True,
        "timestep_spacing": "leading",
    },
    "PNDMScheduler": {
        **_TABLE,
        **_SPACED,
        "skip_prk_steps": False,
        "set_alpha_to_one": False,
        "timestep_spacing": "leading",
    },
    "EulerDiscreteScheduler": {
        **_TABLE,
        **_SPACED,
        **_RESPACED,
        **_ZERO_SNR,
        "interpolation_type": "linear",
        "timestep_type": "discrete",
        "final_sigmas_type": "zero",
        "sigma_min": None,
        "sigma_max": None,
    },
    "EulerAncestralDiscreteScheduler": {**_TABLE, **_SPACED, **_ZERO_SNR},
    "HeunDiscreteScheduler": {
        **_TABLE,
        **_SPACED,
        **_RESPACED,
        **_CLIP,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "clip_sample": False,
    },
    "LMSDiscreteScheduler": {**_TABLE, **_SPACED, **_RESPACED},
    "DPMSolverMultistepScheduler": {
        **_DPM,
        **_SPACED,
        **_ZERO_SNR,
        "euler_at_final": False,
        "use_lu_lambdas": False,
    },
    "DPMSolverSinglestepScheduler": {**_DPM, "lower_order_final": False},
    "DEISMultistepScheduler": {
        **_TABLE,
        **_THRESHOLD,
        **_SPACED,
        **_RESPACED,
        **_FLOW,
        "solver_order": 2,
        "algorithm_type": "deis",
        "solver_type": "logrho",
        "lower_order_final": True,
    },
    "UniPCMultistepScheduler": {
        **_TABLE,
        **_THRESHOLD,
        **_SPACED,
        **_RESPACED,
        **_ZERO_SNR,
        **_FLOW,
        "solver_order": 2,
        "solver_type": "bh2",
        "predict_x0": True,
        "lower_order_final": True,
        "disable_corrector": [],
        "solver_p": None,
        "final_sigmas_type": "zero",
        "sigma_min": None,
        "sigma_max": None,
        "shift_terminal": None,
    },
    "EDMEulerScheduler": _EDM,
    "EDMDPMSolverMultistepScheduler": {
        **_EDM,
        **_THRESHOLD,
        "solver_order": 2,
        "algorithm_type": "dpmsolver++",
        "solver_type": "midpoint",
        "lower_order_final": True,
        "euler_at_final": False,
    },
    "FlowMatchEulerDiscreteScheduler": {
        **_RESPACED,
        "num_train_timesteps": 1000,
        "shift": 1.0,
        "use_dynamic_shifting": False,
        "base_shift": 0.5,
        "max_shift": 1.15,
        "base_image_seq_len": 256,
        "max_image_seq_len": 4096,
        "invert_sigmas": False,
        "shift_terminal": None,
        "time_shift_type": "exponential",
        "stochastic_sampling": False,
    },
}
_POSITIVE = Kind((float,), 1e-12, 1e6)
_BETA = Kind((float,), 1e-12, 1)
_KINDS = {
    "num_train_timesteps": Kind((int,), 1, 100_000),
    "beta_start": _BETA,
    "beta_end": _BETA,
    "trained_betas": _BETA._replace(null=True, many=100_000, single=False),
    "clip_sample_range": _POSITIVE,
    "dynamic_thresholding_ratio": Kind((float,), 1e-6, 1),
    "sample_max_value": Kind((float,), 1, 1e6),
    "steps_offset": Kind((int,), 0, 100_000),
    "flow_shift": _POSITIVE,
    "shift": _POSITIVE,
    "base_shift": Kind((float,), -1e6, 1e6),
    "max_shift": Kind((float,), -1e6, 1e6),
    "shift_terminal": Kind((float,), 0, 1 - 1e-6, null=True),
    "sigma_min": _POSITIVE,
    "sigma_max": _POSITIVE,
    "sigma_data": _POSITIVE,
    "rho": _POSITIVE,
    "lambda_min_clipped": Kind((float,)),
    "solver_order": Kind((int,)),
    "disable_corrector": Kind((int,), many=100_000, single=False),
    "variance_type": Kind((str,), null=True),
}
_KNOWN = set().union(*_DEFAULTS.values()) | {"set_alpha_to_zero", "s_churn", "s_noise", "s_tmin", "s_tmax"}
_PREDICTIONS = {"epsilon": "noise", "sample": "x0", "v_prediction": "v"}


class _Config:
    """The entries of a file, with words for what is wrong with them."""

    def __init__(self, entries: Mapping[str, Any], name: str) -> None:
        self.name = name
        kind = entries.get("_class_name")
        if not isinstance(kind, str) or kind not in _DEFAULTS:
            self.refuse("_class_name", kind, list(_DEFAULTS))
        self.kind = str(kind)
        self.values = dict(_DEFAULTS[self.kind])
        for key, value in entries.items():
            # As in diffusers, an entry that only another class knows says nothing.
            if key in self.values:
                fitting = _KINDS.get(key) or kind_of(self.values[key])
                wanted = misfit(value, fitting._replace(null=fitting.null or self.values[key] is None))
                if wanted is not None:
                    raise UserError(f"{name}: {key} is {shown(value)}, which is not supported; it must be {wanted}")
                self.values[key] = value
            elif not key.startswith("_") and key not in _KNOWN:
                nearest = _nearest(key, list(self.values))
                raise UserError(f"{name}: unknown entry {shown(key)}{nearest}; remove it if it is not needed")

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    def refuse(self, key: str, value: Any, supported: list) -> None:
        nearest = _nearest(value, supported)
        raise UserError(
            f"{self.name}: {key} is {shown(value)}, which is not supported{nearest}; "
            f"supported: {', '.join(str(one) for one in supported)}"
        )

    def one_of(self, key: str, *supported: Any) -> Any:
        value = self.values.get(key, supported[0])
        if value not in supported:
            self.refuse(key, value, list(supported))
        return value


def _nearest(value: Any, choices: list) -> str:
    near = difflib.get_close_matches(shown(value).strip("'"), [str(c) for c in choices], n=1, cutoff=0.5)
    return f" (nearest: {near[0]})" if near else ""


def from_diffusers(config: Mapping[str, Any] | str | FilePath, steps: int) -> Scheduler:
    """Read a diffusers scheduler.

    Args:
        config: a ``scheduler_config.json``, or the folder that holds it, or its entries.
        steps: the number of steps to sample with (``num_inference_steps``); 1 or more.

    Returns:
        The scheduler's path, prediction, grid and step, and how to put a network into them.

    Raises:
        UserError: if the file is missing or is no JSON, or its class, an entry or a value is not supported; it names
            the file, the entry and the nearest that is.
        ValueError: if there is no step.

    Reference:
        Lin et al. 2024, "Common diffusion noise schedules and sample steps are flawed", table 2, for the spacings.

    Example:
        >>> import jax
        >>> from jaxgen.samplers import sample
        >>> s = from_diffusers({"_class_name": "DDIMScheduler", "prediction_type": "sample", "clip_sample": False}, 4)
        >>> s.prediction, s.number(s.grid[:-1]).tolist()
        ('x0', [750.0, 500.0, 250.0, 0.0])
        >>> predict, noise = lambda x, number: 0 * x + 2, jnp.ones((1, 1))
        >>> sample(s.step(None), s.denoiser(predict), jax.random.key(0), s.start * noise, s.grid).tolist()
        [[2.0]]
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}: at least 1 is needed")
    name = "the scheduler config"
    if not isinstance(config, Mapping):
        file = FilePath(config)
        name = str(file)
        try:
            file = file / "scheduler_config.json" if file.is_dir() else file
            name = str(file)
            config = json_files.read(file)
        except OSError as error:
            raise UserError(f"{name}: cannot be read ({error.strerror}); give a scheduler_config.json") from error
        except ValueError as error:
            raise UserError(f"{name}: is no JSON ({error}); give a scheduler_config.json") from error
        if not isinstance(config, Mapping):
            raise UserError(f"{name}: holds no JSON object; give a scheduler_config.json")
    entries = _Config(config, name)
    make = _edm if entries.kind.startswith("EDM") else _flow if entries.kind.startswith("Flow") else _from_table
    scheduler = make(entries, steps)
    grid = np.asarray(scheduler.grid)
    if not (np.isfinite(grid).all() and np.isfinite(scheduler.start) and (np.diff(grid) <= 0).all()):
        raise UserError(f"{name}: its noise levels do not fall from one finite number to another; check its numbers")
    return scheduler


# Noise levels. All of this is NumPy in float64: small, and done once.


def _betas(config: _Config) -> np.ndarray:
    n, start, end = config["num_train_timesteps"], config["beta_start"], config["beta_end"]
    if config["trained_betas"] is not None:
        betas = np.asarray(config["trained_betas"], np.float32)
    else:
        tables = {
            "linear": lambda: schedules.linear_betas(n, start, end),
            "scaled_linear": lambda: schedules.scaled_linear_betas(n, start, end),
            "squaredcos_cap_v2": lambda: schedules.cosine_betas(n),
        }
        if config.kind == "DDPMScheduler":
            tables["sigmoid"] = lambda: schedules.sigmoid_betas(n, start, end)
        betas = tables[config.one_of("beta_schedule", *tables)]()
    if len(betas) != n or n < 2 or not ((betas > 0).all() and (betas[:-1] < 1).all() and betas[-1] <= 1):
        raise UserError(
            f"{config.name}: its {len(betas)} betas must be {n} (num_train_timesteps, 2 or more), between 0 and 1"
        )
    return schedules.zero_terminal_snr(betas) if config.get("rescale_betas_zero_snr") else betas


def _ratios(betas: np.ndarray) -> np.ndarray:
    """The ratio sigma / alpha of the entries of a table; infinite where nothing is left of the signal."""
    log_kept = np.cumsum(np.log1p(-betas.astype(np.float64), where=betas < 1, out=np.full(len(betas), -np.inf)))
    with np.errstate(over="ignore"):
        return np.sqrt(np.expm1(-log_kept))


def _times(ratios: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The times of `paths.discrete` at which sigma / alpha has the given levels."""
    n = len(ratios)
    finite = np.isfinite(ratios)
    entries = np.arange(1, n + 1)[finite]
    # Tables that overflow give what is no number, and are refused at the end.
    with np.errstate(divide="ignore", invalid="ignore"):
        position = np.interp(np.log(levels), np.log(ratios[finite]), entries)
        position = np.where(levels < ratios[0], levels / ratios[0], position)
        if not finite[-1]:
            # 1 / r is straight in the last interval.
            position = np.where(levels > ratios[-2], n - ratios[-2] / np.maximum(levels, ratios[-2]), position)
    return position / n


def _respaced(config: _Config, high: float, low: float, steps: int) -> np.ndarray | None:
    """Noise levels from the largest to the smallest, or None if the file asks for none of these."""
    kinds = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas")
    asked = [kind for kind in kinds if config.get(kind)]
    if len(asked) > 1:
        raise UserError(f"{config.name}: {' and '.join(asked)} are both true; set one of them to false")
    if not asked:
        return None
    high = config.get("sigma_max") or high
    low = config.get("sigma_min") or low
    ramp = np.linspace(0, 1, steps)
    if asked == ["use_karras_sigmas"]:
        return (high ** (1 / 7) + ramp * (low ** (1 / 7) - high ** (1 / 7))) ** 7
    if asked == ["use_beta_sigmas"]:
        return low + (high - low) * scipy.special.betaincinv(0.6, 0.6, 1 - ramp)
    return np.exp(np.log(high) + ramp * (np.log(low) - np.log(high)))


def _entries(config: _Config, steps: int, count: int, last: int) -> np.ndarray:
    """The entries of the table that the spacing picks, from noise to data, not rounded.

    `count` - 1 of them span the table, `steps` are kept; `last` is how many entries there are to use.
    """
    n = config["num_train_timesteps"]
    if steps > n:
        raise UserError(f"{config.name}: num_train_timesteps is {n}, less than the {steps} steps; ask for fewer")
    # The single-step scheduler has no such entry and always divides the table equally.
    spacing = config.one_of("timestep_spacing", "linspace", "leading", "trailing")
    if spacing == "linspace":
        return np.linspace(0, last - 1, count)[::-1][:steps]
    if spacing == "leading":
        entries = (np.arange(count) * (last // count))[::-1][:steps] + config["steps_offset"]
        if entries[0] >= n:
            raise UserError(f"{config.name}: steps_offset leads to entry {entries[0]} of a table of {n}; lower it")
        return entries
    return np.round(np.arange(last, 0, -n / steps)) - 1


class _Plan(NamedTuple):
    """Noise levels sigma / alpha ``[steps + 1]`` or times on the path, and the numbers ``[steps]``."""

    levels: np.ndarray | None
    times: np.ndarray | None
    numbers: np.ndarray


def _chain_plan(config: _Config, ratios: np.ndarray, steps: int) -> _Plan:
    """DDPM, DDIM, PNDM: whole entries of the table."""
    numbers = _entries(config, steps, steps, len(ratios)).round()
    # What is left at the end: nothing, or the noise of the first entry.
    end = 0.0 if config.get("set_alpha_to_one", True) else 1 / len(ratios)
    return _Plan(None, np.append((numbers + 1) / len(ratios), end), numbers)


def _interpolated_plan(config: _Config, ratios: np.ndarray, steps: int) -> _Plan:
    """Euler, Heun, LMS: levels straight between the entries, any of the respacings within their range."""
    numbers = _entries(config, steps, steps, len(ratios))
    levels = np.interp(numbers, np.arange(len(ratios)), ratios)
    straight = config.one_of("interpolation_type", "linear", "log_linear") == "linear"
    if not straight:
        levels = np.exp(np.linspace(np.log(ratios[-1]), np.log(ratios[0]), steps + 1))
    respaced = _respaced(config, levels[0], levels[-1], steps)
    if respaced is not None:
        levels, numbers = respaced, _numbers(ratios, respaced)
    elif not straight:
        # These are one more already, and end at the last entry.
        return _Plan(levels, None, numbers)
    return _Plan(np.append(levels, _final(config, ratios)), None, numbers)


def _solver_plan(config: _Config, ratios: np.ndarray, steps: int) -> _Plan:
    """DPM-Solver, UniPC, DEIS: whole entries, or respacings of the whole table told as whole numbers."""
    usable = len(ratios) - int(np.sum(-np.log(ratios) < config.get("lambda_min_clipped", -np.inf)))
    numbers = _entries(config, steps, steps + 1, usable).round()
    levels = ratios[numbers.astype(int)]
    final = _final(config, ratios)
    respaced = _respaced(config, ratios[-1], ratios[0], steps)
    if respaced is not None:
        levels, numbers = respaced, _numbers(ratios, respaced)
        rounds = config.get("use_karras_sigmas") or config.get("use_lu_lambdas")
        multistep = config.kind == "DPMSolverMultistepScheduler"
        if rounds and not (multistep and config["beta_schedule"] == "squaredcos_cap_v2"):
            numbers = numbers.round()
        # What is not rounded is cut to a whole number; the tiny term is for those that are whole already.
        numbers = np.floor(numbers + 1e-6)
        if config.kind == "DEISMultistepScheduler" or (config.kind.startswith("UniPC") and final > 0):
            final = levels[-1]
    return _Plan(np.append(levels, final), None, numbers)


def _final(config: _Config, ratios: np.ndarray) -> float:
    if config.kind == "DEISMultistepScheduler":
        return ratios[0]
    return 0.0 if config.one_of("final_sigmas_type", "zero", "sigma_min") == "zero" else ratios[0]


def _numbers(ratios: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The entries of the table, as fractions, whose noise has the given levels."""
    return np.interp(np.log(np.maximum(levels, 1e-10)), np.log(ratios), np.arange(len(ratios)))


# The three families of schedulers.


def _from_table(config: _Config, steps: int) -> Scheduler:
    betas = _betas(config)
    path, ratios = paths.discrete(betas), _ratios(betas)
    prediction = _PREDICTIONS[config.one_of("prediction_type", *_PREDICTIONS)]
    for key in ("use_flow_sigmas", "use_dynamic_shifting"):
        config.one_of(key, False)
    config.one_of("timestep_type", "discrete")
    chain = config.kind in ("DDPMScheduler", "DDIMScheduler", "PNDMScheduler")
    told = ratios.copy()
    if not chain and np.isinf(told[-1]):
        # diffusers replaces the infinite level at the end of such a table by this one.
        told[-1] = np.sqrt(2.0**24 - 1)
    plan = {"k": _interpolated_plan, "c": _chain_plan, "s": _solver_plan}[_group(config.kind)](config, told, steps)
    if plan.times is not None:
        times = plan.times
    else:
        assert plan.levels is not None
        times = _times(ratios, plan.levels)
    grid = jnp.asarray(times)
    start = 1.0
    if _group(config.kind) == "k" and config["timestep_spacing"] != "leading":
        assert plan.levels is not None
        start = float(plan.levels[0] / np.sqrt(plan.levels[0] ** 2 + 1))
    number = _interpolated(times[:-1], plan.numbers)
    learned = config.get("variance_type") in ("learned", "learned_range")
    hold = _holding(config)

    def denoiser(predict: Predict) -> Denoise:
        def denoise(x: Array, t: Array) -> Array:
            output = predict(x, number(t))
            if learned:
                output = output[..., : x.shape[-1]]
            return paths.convert(path, x, t, output, prediction, "x0")

        return hold(denoise)

    method = _method(config, path, steps)

    def step(predict: Predict | None = None) -> Step:
        if config.kind == "DDPMScheduler" and learned:
            if predict is None:
                raise ValueError("this scheduler learns its variance: its step needs the network")
            # The network's second half lies in [-1, 1], from the small variance to the large one.
            return ddpm(path, lambda x, t: (predict(x, number(t))[..., x.shape[-1] :] + 1) / 2)
        return method

    return Scheduler(path, prediction, grid, start, number, denoiser, step)


def _edm(config: _Config, steps: int) -> Scheduler:
    sign = {"epsilon": -1, "v_prediction": 1}[config.one_of("prediction_type", "epsilon", "v_prediction")]
    low, high, data = config["sigma_min"], config["sigma_max"], config["sigma_data"]
    ramp, rho = np.linspace(0, 1, steps), config["rho"]
    if config.one_of("sigma_schedule", "karras", "exponential") == "karras":
        levels = (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    else:
        levels = np.exp(np.log(high) + ramp * (np.log(low) - np.log(high)))
    final = 0.0 if config.one_of("final_sigmas_type", "zero", "sigma_min") == "zero" else levels[-1]
    path, hold = paths.edm(high), _holding(config)

    def number(t: Array) -> Array:
        return 0.25 * jnp.log(t)

    def denoiser(predict: Predict) -> Denoise:
        def denoise(x: Array, t: Array) -> Array:
            # A v of the data divided by its standard deviation, on the circle of angle arctan(t / data).
            norm = jnp.sqrt(t**2 + data**2)
            output = predict((x / norm).astype(x.dtype), number(t))
            return (data / norm) ** 2 * x - sign * t * data / norm * output

        return hold(denoise)

    method = _method(config, path, steps)
    start, grid = float(np.sqrt(high**2 + 1)), jnp.asarray(np.append(levels, final))
    return Scheduler(path, "v", grid, start, number, denoiser, _whatever_the_network(method))


def _flow(config: _Config, steps: int) -> Scheduler:
    for key in ("use_dynamic_shifting", "invert_sigmas"):
        config.one_of(key, False)
    n, shift = config["num_train_timesteps"], config["shift"]

    def shifted(level: Any) -> Any:
        return shift * level / (1 + (shift - 1) * level)

    # The ends of the range are shifted, and then all levels are once more.
    levels = shifted(np.linspace(shifted(1.0), shifted(1 / n), steps))
    if config["shift_terminal"] and levels[-1] < 1:  # else there is nothing to stretch
        levels = 1 - (1 - levels) * (1 - config["shift_terminal"]) / (1 - levels[-1])
    respaced = _respaced(config, levels[0], levels[-1], steps)
    levels = levels if respaced is None else respaced
    # Time is the noise level, so that the velocity is noise - x0.
    path = Path(lambda t: 1 - t, lambda t: t, t_data=0.0, t_noise=1.0)

    def number(t: Array) -> Array:
        return t * n

    def denoiser(predict: Predict) -> Denoise:
        return lambda x, t: paths.convert(path, x, t, predict(x, number(t)), "velocity", "x0")

    # With all of the noise new, nothing of x_t is kept but what x0 says.
    method = ddim(path, float("inf") if config["stochastic_sampling"] else 0.0)
    grid = jnp.asarray(np.append(levels, 0.0))
    return Scheduler(path, "velocity", grid, 1.0, number, denoiser, _whatever_the_network(method))


def _whatever_the_network(step: Step) -> Callable[[Predict | None], Step]:
    return lambda predict: step


def _interpolated(times: np.ndarray, numbers: np.ndarray) -> Callable[[Array], Array]:
    def number(t: Array) -> Array:
        t = jnp.asarray(t)
        return jnp.interp(t, jnp.asarray(times[::-1], t.dtype), jnp.asarray(numbers[::-1].astype(float), t.dtype))

    return number


def _group(kind: str) -> str:
    if kind in ("DDPMScheduler", "DDIMScheduler", "PNDMScheduler"):
        return "c"
    if kind.startswith(("Euler", "Heun", "LMS")):
        return "k"
    return "s"


def _holding(config: _Config) -> Callable[[Denoise], Denoise]:
    """The wrapper that keeps x0 in range."""
    if config.get("thresholding"):
        ratio, most = config["dynamic_thresholding_ratio"], config["sample_max_value"]
        return lambda denoise: clipping.dynamic_threshold(denoise, ratio, most)
    if config.get("clip_sample"):
        bound = config["clip_sample_range"]
        return lambda denoise: clipping.clip(denoise, -bound, bound)
    return lambda denoise: denoise


def _method(config: _Config, path: Path, steps: int) -> Step:
    kind = config.kind
    if kind == "DDPMScheduler":
        variance = config.one_of("variance_type", "fixed_small", "fixed_small_log", "fixed_large", "learned_range")
        return ddpm(path, "large" if variance == "fixed_large" else "small")
    if kind == "EulerAncestralDiscreteScheduler":
        return ddim(path, 1.0)
    if kind in ("DDIMScheduler", "EulerDiscreteScheduler", "EDMEulerScheduler"):
        return ddim(path)
    if kind == "PNDMScheduler":
        return pndm(path, runge_kutta=not config["skip_prk_steps"])
    if kind == "HeunDiscreteScheduler":
        return samplers.edm(path)
    if kind == "LMSDiscreteScheduler":
        return lms(path)
    order = config.one_of("solver_order", 2, 3, 1)
    if kind == "UniPCMultistepScheduler":
        config.one_of("predict_x0", True)
        config.one_of("solver_p", None)
        if config["disable_corrector"]:
            config.refuse("disable_corrector", config["disable_corrector"], [[]])
        # Words that belong to other schedulers mean bh2.
        form = config.one_of("solver_type", "bh2", "bh1", "midpoint", "heun", "logrho")
        return unipc(path, order, exponential=form != "bh1", lower_order_final=config["lower_order_final"])
    # Only few steps end with lower orders.
    few = bool(config["lower_order_final"]) and steps < 15
    if kind == "DEISMultistepScheduler":
        config.one_of("algorithm_type", "deis", "dpmsolver++", "dpmsolver")
        return deis(path, order, lower_order_final=few)
    algorithm = config.one_of("algorithm_type", "dpmsolver++", "sde-dpmsolver++", "deis")
    options = {
        "eta": 1.0 if algorithm.startswith("sde") else 0.0,
        "midpoint": config.one_of("solver_type", "midpoint", "heun", "logrho", "bh1", "bh2") != "heun",
        "lower_order_final": few,
    }
    if kind == "DPMSolverSinglestepScheduler":
        options["lower_order_final"] = (
            bool(config["lower_order_final"]) or steps % order > 0 or config["final_sigmas_type"] == "zero"
        )
        return {1: dpm.dpm_solver_1s, 2: dpm.dpm_solver_2s, 3: dpm.dpm_solver_3s}[order](
            path, **({"eta": options["eta"]} if order == 1 else options)
        )
    if config["euler_at_final"] and config["final_sigmas_type"] != "zero" and not few:
        config.refuse("euler_at_final", True, [False])
    return {1: dpm.dpm_solver_1s, 2: dpm.dpm_solver_2m, 3: dpm.dpm_solver_3m}[order](
        path, **({"eta": options["eta"]} if order == 1 else options)
    )
