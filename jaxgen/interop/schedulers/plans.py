"""The noise levels that a scheduler with a table visits, and the numbers that the network is told at them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxgen.interop.schedulers import levels as noise
from jaxgen.interop.schedulers.asked import Asked, refuse
from jaxgen.interop.schedulers.config import Config


class Plan(NamedTuple):
    """Levels or times, and numbers.

    Attributes:
        levels: noise levels sigma / alpha ``[steps + 1]``, or None where `times` are given.
        times: on the path, or None.
        numbers: that the network is told ``[steps]``.
        middles: levels within the steps and the numbers told there, for methods that ask there.
    """

    levels: np.ndarray | None
    times: np.ndarray | None
    numbers: np.ndarray
    middles: tuple[np.ndarray, np.ndarray] | None = None


def entries(config: Config, asked: Asked, count: int, last: int) -> np.ndarray:
    """The entries of the table that the spacing picks, from noise to data, not rounded; or those asked for.

    `count` - 1 of them span the table, as many as there are steps are kept; `last` is how many entries there are to
    use.
    """
    n, steps = config["num_train_timesteps"], asked.steps
    if asked.timesteps is not None:
        return _given(config, asked.timesteps, n)
    if steps > n:
        raise config.wrong(f"num_train_timesteps is {n}, less than the {steps} steps; ask for fewer")
    # The single-step scheduler has no such entry and always divides the table equally.
    spacing = config.one_of("timestep_spacing", "linspace", "leading", "trailing")
    if spacing == "linspace":
        return np.linspace(0, last - 1, count)[::-1][:steps]
    if spacing == "leading":
        found = (np.arange(count) * (last // count))[::-1][:steps] + config["steps_offset"]
        if found[0] >= n:
            raise config.wrong(f"steps_offset leads to entry {found[0]} of a table of {n}; lower it")
        return found
    return np.round(np.arange(last, 0, -n / steps)) - 1


def _given(config: Config, timesteps: np.ndarray, n: int) -> np.ndarray:
    for kind in noise.RESPACINGS:
        if config.get(kind):
            raise config.wrong(f"{kind} is true and chooses the noise levels itself; give a number of steps")
    if timesteps[0] > n - 1 or (timesteps != timesteps.round()).any():
        raise config.wrong(f"timesteps must be whole numbers from {n - 1} (num_train_timesteps - 1) down to 0")
    return timesteps


def _distilled_entries(config: Config, asked: Asked) -> np.ndarray:
    """LCM and TCD: some of the entries that the network was distilled on."""
    n, taught, steps = config["num_train_timesteps"], config["original_inference_steps"], asked.steps
    if asked.timesteps is not None:
        return _given(config, asked.timesteps, n)
    if taught > n:
        raise config.wrong(f"original_inference_steps is {taught}, more than the {n} entries of its table; lower it")
    if steps > taught:
        raise config.wrong(f"original_inference_steps is {taught}, less than the {steps} steps; ask for fewer")
    known = (np.arange(1, taught + 1) * (n // taught) - 1)[::-1]
    return known[np.floor(np.linspace(0, taught, steps, endpoint=False)).astype(int)]


def chain(config: Config, ratios: np.ndarray, asked: Asked) -> Plan:
    """Whole entries of the table."""
    n = len(ratios)
    refuse(config, asked, "sigmas")
    if config.kind == "PNDMScheduler":
        refuse(config, asked, "timesteps")
    if config.kind in ("LCMScheduler", "TCDScheduler"):
        numbers = _distilled_entries(config, asked)
    elif config.kind == "UnCLIPScheduler" and asked.steps == 1 and asked.timesteps is None:
        numbers = np.array([n - 1])
    else:
        numbers = entries(config, asked, asked.steps, n).round()
    # What is left at the end: nothing, or the noise of the first entry.
    clean = {"LCMScheduler": True, "TCDScheduler": False}.get(config.kind, config.get("set_alpha_to_one", True))
    return Plan(None, np.append((numbers + 1) / n, 0.0 if clean else 1 / n), numbers)


def ratio(config: Config, ratios: np.ndarray, asked: Asked) -> Plan:
    """Levels straight between the entries, or any of the respacings within their range."""
    if asked.sigmas is not None:
        return _given_levels(config, ratios, asked.sigmas)
    numbers = entries(config, asked, asked.steps, len(ratios))
    levels = np.interp(numbers, np.arange(len(ratios)), ratios)
    straight = config.one_of("interpolation_type", "linear", "log_linear") == "linear"
    if not straight:
        levels = np.exp(np.linspace(np.log(ratios[-1]), np.log(ratios[0]), asked.steps + 1))
    respaced = noise.respaced(config, levels[0], levels[-1], asked.steps)
    if respaced is not None:
        levels, numbers = respaced, noise.numbers(ratios, respaced)
        if config.kind.startswith("KDPM2") and config["use_karras_sigmas"]:
            numbers = numbers.round()
    elif not straight:
        # These are one more already, and end at the last entry.
        return Plan(levels, None, numbers)
    levels = np.append(levels, final(config, ratios))
    return Plan(levels, None, numbers, _middles(config, ratios, levels))


def _given_levels(config: Config, ratios: np.ndarray, sigmas: np.ndarray) -> Plan:
    if len(sigmas) < 2:
        raise config.wrong("sigmas must be at least 2 noise levels: where to begin, and where to end")
    # Published lists are rounded, up as well as down.
    if sigmas[0] > 1.001 * ratios[-1]:
        raise config.wrong(f"sigmas begin at {sigmas[0]:g}, above the largest of its table, {ratios[-1]:g}")
    levels = np.minimum(sigmas, ratios[-1])
    return Plan(levels, None, noise.numbers(ratios, levels[:-1]), _middles(config, ratios, levels))


def _middles(config: Config, ratios: np.ndarray, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """KDPM2 asks between the levels, told a fraction of an entry; its ancestral form asks at the next level."""
    if config.kind != "KDPM2DiscreteScheduler":
        return None
    high, low = levels[:-1], levels[1:]
    found = np.sqrt(high * low)[low > 0]
    return found, noise.numbers(ratios, found)


def solver(config: Config, ratios: np.ndarray, asked: Asked) -> Plan:
    """Whole entries, or respacings of the whole table told as whole numbers."""
    refuse(config, asked, "sigmas")
    usable = len(ratios) - int(np.sum(-np.log(ratios) < config.get("lambda_min_clipped", -np.inf)))
    numbers = entries(config, asked, asked.steps + 1, usable).round()
    levels = ratios[numbers.astype(int)]
    end = final(config, ratios)
    respaced = noise.respaced(config, ratios[-1], ratios[0], asked.steps)
    if respaced is not None:
        levels, numbers = respaced, _whole(config, noise.numbers(ratios, respaced))
        if config.kind == "DEISMultistepScheduler" or (config.kind.startswith("UniPC") and end > 0):
            end = levels[-1]
    return Plan(np.append(levels, end), None, numbers)


def _whole(config: Config, numbers: np.ndarray) -> np.ndarray:
    rounds = config.get("use_karras_sigmas") or config.get("use_lu_lambdas")
    if rounds and not (config.kind == "DPMSolverMultistepScheduler" and config["beta_schedule"] == "squaredcos_cap_v2"):
        numbers = numbers.round()
    # What is not rounded is cut to a whole number; the tiny term is for those that are whole already.
    return np.floor(numbers + 1e-6)


def inverse(config: Config, ratios: np.ndarray, asked: Asked) -> Plan:
    """The levels of the solvers from data to noise."""
    refuse(config, asked, "sigmas")
    usable = len(ratios) - int(np.sum(-np.log(ratios) < config["lambda_min_clipped"]))
    respaced = noise.respaced(config, ratios[-1], ratios[0], asked.steps)
    if respaced is not None:
        levels = respaced[::-1]
        return Plan(np.append(levels, levels[-1]), None, _whole(config, noise.numbers(ratios, levels)))
    # One more than the steps: it is the largest that is left out here, for the last step ends at the end of the table.
    spacing = config.one_of("timestep_spacing", "linspace", "leading", "trailing")
    if asked.timesteps is None and spacing != "trailing":
        more = asked._replace(steps=asked.steps + 1)
        numbers = entries(config, more, asked.steps + 1, usable).round()[::-1][:-1]
    else:
        numbers = entries(config, asked, asked.steps, usable).round()[::-1]
    return Plan(np.append(ratios[numbers.astype(int)], ratios[usable - 1]), None, numbers)


def final(config: Config, ratios: np.ndarray) -> float:
    """The level that the last step ends at."""
    if config.kind == "DEISMultistepScheduler":
        return ratios[0]
    return 0.0 if config.one_of("final_sigmas_type", "zero", "sigma_min") == "zero" else ratios[0]


PLANS: dict[str, Callable[[Config, np.ndarray, Asked], Plan]] = {
    **dict.fromkeys(
        ("DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "LCMScheduler", "TCDScheduler", "UnCLIPScheduler"), chain
    ),
    **dict.fromkeys(
        (
            "EulerDiscreteScheduler",
            "EulerAncestralDiscreteScheduler",
            "HeunDiscreteScheduler",
            "LMSDiscreteScheduler",
            "KDPM2DiscreteScheduler",
            "KDPM2AncestralDiscreteScheduler",
        ),
        ratio,
    ),
    **dict.fromkeys(
        (
            "DPMSolverMultistepScheduler",
            "DPMSolverSinglestepScheduler",
            "DEISMultistepScheduler",
            "UniPCMultistepScheduler",
        ),
        solver,
    ),
    "DPMSolverMultistepInverseScheduler": inverse,
}
