"""How many of a distribution's known modes a sample has found, and how evenly."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class ModeCoverage(NamedTuple):
    """What `mode_coverage` finds.

    Attributes:
        covered: how many modes hold enough points.
        quality: the share of points near any mode.
        divergence: of the frequencies of the modes from the known ones, in nats.
        frequencies: the share of points whose nearest centre is this one, ``[m]``.
    """

    covered: int
    quality: float
    divergence: float
    frequencies: np.ndarray


def mode_coverage(
    points: ArrayLike,
    centres: ArrayLike,
    deviation: float,
    *,
    weights: ArrayLike | None = None,
    within: float = 3.0,
    least: float = 0.1,
) -> ModeCoverage:
    """Count the modes that a sample covers.

    A point is near a mode if it lies within `within` standard deviations of its centre. A mode of weight w is covered
    if at least the share ``least * w`` of all points lie near it. The divergence is ``sum_k q_k log(q_k / w_k)``, q the
    share of points nearest to each centre.

    Args:
        points: ``[n, d]``.
        centres: the modes' centres, ``[m, d]``.
        deviation: the standard deviation of each mode along every axis.
        weights: the known shares of the modes ``[m]``, which sum to 1; None for equal ones.
        within: how many standard deviations are near. In the plane, 3 hold 98.9 % of a Gaussian.
        least: the share of its due that a mode must hold to count.

    Returns:
        A `ModeCoverage`.

    Raises:
        ValueError: if shapes disagree, there are no points, a point is not finite, or the weights are not positive or
            do not sum to 1.

    Reference:
        Srivastava et al. 2017, "VEEGAN", arXiv 1705.07761, section 4.1, counts points within 3 standard deviations on
        the ring and the grid; there one point is enough to count a mode.

    Example:
        >>> found = mode_coverage([[0.0], [0.1], [5.0], [2.0]], [[0.0], [5.0], [9.0]], 0.1)
        >>> found.covered, found.quality, found.frequencies.tolist()
        (2, 0.75, [0.75, 0.25, 0.0])
    """
    x, m = np.asarray(points, np.float64), np.asarray(centres, np.float64)
    if x.ndim != 2 or m.ndim != 2 or x.shape[1] != m.shape[1] or not len(x) or not len(m):
        raise ValueError(f"points of shape {x.shape} and centres of shape {m.shape}: [n, d] and [m, d] are wanted")
    if not np.isfinite(x).all():
        lost = int((~np.isfinite(x)).any(1).sum())
        raise ValueError(f"{lost} of {len(x)} points hold NaN or infinity: the model that drew them diverged")
    share = np.full(len(m), 1 / len(m)) if weights is None else np.asarray(weights, np.float64)
    if share.shape != m.shape[:1] or (share <= 0).any() or abs(share.sum() - 1) > 1e-6:
        raise ValueError(f"weights of {len(m)} modes must be as many positive numbers that sum to 1, got {weights!r}")
    distance = np.sqrt(((x[:, None] - m[None]) ** 2).sum(-1))
    nearest = distance.argmin(1)
    near = distance.min(1) <= within * deviation
    held = np.bincount(nearest[near], minlength=len(m)) / len(x)
    frequencies = np.bincount(nearest, minlength=len(m)) / len(x)
    present = frequencies > 0
    divergence = np.sum(frequencies[present] * np.log(frequencies[present] / share[present]))
    covered = int(np.sum((held > 0) & (held >= least * share)))
    return ModeCoverage(covered, float(near.mean()), float(max(divergence, 0.0)), frequencies)
