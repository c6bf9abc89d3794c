"""Covariates that samples were asked for, and those measured on them."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from jaxgen.types import Key

ENDS = (0.1, 0.9)
"""Where a change of a covariate begins and ends, as shares of its range."""


def agreement(names: Sequence[str], asked: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """Pearson's correlation of each covariate asked for with that measured on the samples.

    Args:
        names: of the covariates.
        asked: ``[n, k]``.
        measured: ``[n, k]``; a sample that could not be measured counts as the mean of the others.

    Returns:
        ``r_<name>`` of each, 0 where one of the two does not vary.

    Example:
        >>> agreement(("age",), np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [3.0], [5.0]]))
        {'r_age': 1.0}
    """
    found = {}
    for k, name in enumerate(names):
        a, b = asked[:, k].astype(float), measured[:, k].astype(float)
        b = np.where(np.isfinite(b), b, b[np.isfinite(b)].mean() if np.isfinite(b).any() else 0.0)
        varies = a.std() > 0 and b.std() > 0
        found[f"r_{name}"] = round(float(np.corrcoef(a, b)[0, 1]), 6) if varies else 0.0
    return found


def movement(k: int, moved: np.ndarray, wanted: float) -> dict[str, float]:
    """How a change of one covariate moves the measured ones.

    Args:
        k: which covariate was changed.
        moved: the measured change of each ``[covariates]``, as a share of its range.
        wanted: the change that was asked for, as a share of the range.

    Returns:
        ``moved``, the measured change of this one over the change wanted, 1 where it is right; ``others``, the largest
        change of another over that of this one, 0 where they stay.

    Example:
        >>> movement(0, np.array([0.5, -0.25]), 1.0)
        {'moved': 0.5, 'others': 0.5}
    """
    own = float(moved[k])
    others = float(np.abs(np.delete(moved, k)).max(initial=0.0))
    return {"moved": own / wanted, "others": others / max(abs(own), 1e-6)}


def one_at_a_time(
    draw: Callable[[Key, np.ndarray], np.ndarray],
    measure: Callable[[np.ndarray], np.ndarray],
    names: Sequence[str],
    ranges: Sequence[Sequence[float]],
    keys: Key,
) -> tuple[dict[str, dict[str, float]], dict[str, np.ndarray]]:
    """Samples with one covariate changed at a time, the noise and the other covariates, in the middle, kept.

    Args:
        draw: ``draw(keys [n], covariates [n, k]) -> samples``.
        measure: ``measure(samples) -> covariates [n, k]``.
        names: of the covariates.
        ranges: ``(low, high)``, a number each per covariate.
        keys: of the noise ``[n]``.

    Returns:
        For each covariate a row ``change of <name>`` (`movement`), and five samples of one noise, from low to high.
    """
    low, high = (np.asarray(bound, np.float64) for bound in ranges)
    rows, samples = {}, {}

    def along(k: int, share: float | np.ndarray, keys: Key) -> np.ndarray:
        shares = np.full((len(keys), len(low)), 0.5)
        shares[:, k] = share
        return draw(keys, low + shares * (high - low))

    for k, name in enumerate(names):
        first, last = (measure(along(k, share, keys)) for share in ENDS)
        moved = np.nan_to_num(last - first).mean(0) / (high - low)
        rows[f"change of {name}"] = movement(k, moved, ENDS[1] - ENDS[0])
        samples[name] = along(k, np.linspace(*ENDS, 5), jnp.broadcast_to(keys[:1], (5,)))
    return rows, samples
