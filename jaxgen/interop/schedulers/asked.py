"""How many steps are asked for, or which: diffusers' ``set_timesteps``."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxgen.errors import UserError
from jaxgen.interop.schedulers.config import Config


class Asked(NamedTuple):
    """What is asked of a scheduler.

    Attributes:
        steps: the number of steps.
        timesteps: the numbers to tell the network, falling ``[steps]``, or None for the scheduler's own.
        sigmas: the noise levels, falling, or None for the scheduler's own.
        mu: the logarithm of the resolution-dependent shift, or None.
    """

    steps: int
    timesteps: np.ndarray | None = None
    sigmas: np.ndarray | None = None
    mu: float | None = None


def _falling(name: str, values: Sequence[float]) -> np.ndarray:
    try:
        found = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} must be a list of numbers; give them from noise to data") from error
    if found.ndim != 1 or len(found) == 0 or not np.isfinite(found).all():
        raise UserError(f"{name} must be a list of at least one finite number; give them from noise to data")
    if (found < 0).any() or (np.diff(found) >= 0).any():
        raise UserError(f"{name} must fall from one to the next and not be negative; give them from noise to data")
    return found


def read(
    steps: int | None, timesteps: Sequence[float] | None, sigmas: Sequence[float] | None, mu: float | None
) -> Asked:
    """Check what is asked for: exactly one of a number of steps, timesteps, and noise levels.

    Raises:
        UserError: if lists are no falling numbers, or `mu` is not finite.
        ValueError: if there is no step, or not exactly one of the three is given.
    """
    given: list[Any] = [one for one in (steps, timesteps, sigmas) if one is not None]
    if len(given) != 1:
        raise ValueError("give exactly one of steps, timesteps and sigmas")
    if mu is not None and not np.isfinite(mu):
        raise UserError(f"mu is {mu}: it must be a finite number")
    if steps is not None:
        if steps < 1:
            raise ValueError(f"steps is {steps}: at least 1 is needed")
        return Asked(steps, mu=mu)
    if timesteps is not None:
        found = _falling("timesteps", timesteps)
        return Asked(len(found), timesteps=found, mu=mu)
    assert sigmas is not None
    found = _falling("sigmas", sigmas)
    return Asked(len(found), sigmas=found, mu=mu)


def refuse(config: Config, asked: Asked, *names: str) -> None:
    """Say of each of the given that the scheduler cannot be told it."""
    for name in names:
        if getattr(asked, name) is not None:
            other = "give a number of steps" if name != "mu" else "use_dynamic_shifting is false in its file"
            raise config.wrong(f"{name} cannot be chosen for this {config.kind}; {other}")
