"""The sampler of each class, and what its network's answers go through."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jaxgen import samplers
from jaxgen.interop.schedulers.config import Config
from jaxgen.paths import Path
from jaxgen.samplers import clipping, consistency, ddim, ddpm, deis, inverse_dpm_solver, kdpm2, lms, pndm, tcd, unipc
from jaxgen.samplers import dpm_solver as dpm
from jaxgen.types import Array, Denoise, Step


def holding(config: Config) -> Callable[[Denoise], Denoise]:
    """The wrapper that keeps x0 in range."""
    if config.get("thresholding"):
        ratio, most = config["dynamic_thresholding_ratio"], config["sample_max_value"]
        return lambda denoise: clipping.dynamic_threshold(denoise, ratio, most)
    if config.get("clip_sample"):
        bound = config["clip_sample_range"]
        return lambda denoise: clipping.clip(denoise, -bound, bound)
    return lambda denoise: denoise


def bounded(config: Config, denoise: Denoise, number: Callable[[Array], Array]) -> Denoise:
    """The answer of a latent consistency model, which at the data is x itself; others are as they are."""
    if config.kind != "LCMScheduler":
        return denoise
    data, scale = 0.5, config["timestep_scaling"]

    def consistent(x: Array, t: Array) -> Array:
        told = number(t) * scale
        norm = told**2 + data**2
        return (told / jnp.sqrt(norm) * denoise(x, t) + data**2 / norm * x).astype(x.dtype)

    return consistent


def method(config: Config, path: Path, steps: int) -> Step:
    """The step of the scheduler's class."""
    kind = config.kind
    if kind == "UnCLIPScheduler":
        config.one_of("variance_type", "fixed_small_log", "learned_range")
        return ddpm(path)
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
    if kind.startswith("KDPM2"):
        return kdpm2(path, 1.0 if kind == "KDPM2AncestralDiscreteScheduler" else 0.0)
    if kind == "LCMScheduler":
        return consistency(path)
    if kind == "TCDScheduler":
        return tcd(path, _tcd_jump(config["num_train_timesteps"]))
    return _solver(config, path, steps)


def _tcd_jump(n: int) -> Callable[[Array], Array]:
    """The entry that diffusers' TCD goes down to by default before it adds noise, as a time."""

    def nearer(s: Array) -> Array:
        return (jnp.floor((1 - 0.3) * jnp.round(s * n - 1)) + 1) / n

    return nearer


def _solver(config: Config, path: Path, steps: int) -> Step:
    kind, order = config.kind, config.one_of("solver_order", 2, 3, 1)
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
    inverse = kind == "DPMSolverMultistepInverseScheduler"
    algorithm = config.one_of("algorithm_type", "dpmsolver++", "deis", *(() if inverse else ("sde-dpmsolver++",)))
    options: dict[str, Any] = {
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
    if config["euler_at_final"] and config.get("final_sigmas_type") != "zero" and not few:
        config.refuse("euler_at_final", True, [False])
    if inverse:
        return inverse_dpm_solver(path, order, midpoint=options["midpoint"], lower_order_final=few)
    return {1: dpm.dpm_solver_1s, 2: dpm.dpm_solver_2m, 3: dpm.dpm_solver_3m}[order](
        path, **({"eta": options["eta"]} if order == 1 else options)
    )
