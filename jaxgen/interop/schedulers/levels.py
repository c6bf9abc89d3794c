"""Noise levels of a table and the ways to choose some of them, in NumPy and float64: small, and done once."""

import numpy as np
import scipy.special

from jaxgen import schedules
from jaxgen.interop.schedulers.config import Config

RESPACINGS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas")


def betas(config: Config) -> np.ndarray:
    """The noise rates of the table."""
    n, start, end = config["num_train_timesteps"], config.get("beta_start"), config.get("beta_end")
    if config.get("trained_betas") is not None:
        table = np.asarray(config["trained_betas"], np.float32)
    else:
        tables = {"squaredcos_cap_v2": lambda: schedules.cosine_betas(n)}
        if config.kind != "UnCLIPScheduler":
            tables["linear"] = lambda: schedules.linear_betas(n, start, end)
            tables["scaled_linear"] = lambda: schedules.scaled_linear_betas(n, start, end)
        if config.kind == "DDPMScheduler":
            tables["sigmoid"] = lambda: schedules.sigmoid_betas(n, start, end)
        table = tables[config.one_of("beta_schedule", *tables)]()
    if len(table) != n or n < 2 or not ((table > 0).all() and (table[:-1] < 1).all() and table[-1] <= 1):
        raise config.wrong(f"its {len(table)} betas must be {n} (num_train_timesteps, 2 or more), between 0 and 1")
    return schedules.zero_terminal_snr(table) if config.get("rescale_betas_zero_snr") else table


def ratios(betas: np.ndarray) -> np.ndarray:
    """The ratio sigma / alpha of the entries of a table; infinite where nothing is left of the signal."""
    log_kept = np.cumsum(np.log1p(-betas.astype(np.float64), where=betas < 1, out=np.full(len(betas), -np.inf)))
    with np.errstate(over="ignore"):
        return np.sqrt(np.expm1(-log_kept))


def times(ratios: np.ndarray, levels: np.ndarray) -> np.ndarray:
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


def respaced(config: Config, high: float, low: float, steps: int) -> np.ndarray | None:
    """Noise levels from the largest to the smallest, or None if the file asks for none of these."""
    asked = [kind for kind in RESPACINGS if config.get(kind)]
    if len(asked) > 1:
        raise config.wrong(f"{' and '.join(asked)} are both true; set one of them to false")
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


def numbers(ratios: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The entries of the table, as fractions, whose noise has the given levels."""
    return np.interp(np.log(np.maximum(levels, 1e-10)), np.log(ratios), np.arange(len(ratios)))
