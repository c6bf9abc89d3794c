"""How much of the error goes when what is least certain is taken away."""

import numpy as np


def sparsification_error(uncertainty: np.ndarray, wrong: np.ndarray) -> float:
    """The area between two sparsification curves, by an uncertainty and by the errors themselves.

    A curve is the share ``e(k)`` of wrong ones among the k most certain of n; taken in the order of the errors, it is
    ``max(0, k - right) / k``. The result is ``mean_k (e(k) - e_oracle(k)) / e(n)``: 0 for an uncertainty that ranks all
    that is wrong above all that is right. Ties are in random order, of which it is the mean.

    Args:
        uncertainty: larger where less certain, ``[n]``.
        wrong: nonzero where wrong, ``[n]``.

    Returns:
        0 or more; NaN where nothing is wrong, or an uncertainty is NaN or infinite.

    Raises:
        ValueError: if the shapes differ.

    Reference:
        Ilg et al. 2018, "Uncertainty estimates and multi-hypotheses networks for optical flow", section 5.2, of errors
        that are 0 or 1; Geifman, Uziel & El-Yaniv 2019, "Bias-reduced uncertainty estimation", for the excess area.

    Example:
        >>> sparsification_error(np.array([0.1, 0.2, 0.9]), np.array([0, 0, 1]))
        0.0
        >>> round(sparsification_error(np.array([0.9, 0.2, 0.1]), np.array([0, 0, 1])), 4)
        1.5
    """
    uncertainty, wrong = np.asarray(uncertainty), np.asarray(wrong) != 0
    if uncertainty.shape != wrong.shape:
        raise ValueError(f"uncertainties of {uncertainty.shape} for errors of {wrong.shape}")
    total = int(wrong.sum())
    if not total or not np.isfinite(uncertainty).all():
        return float("nan")
    order = np.argsort(uncertainty, kind="stable")
    ranked, error = uncertainty[order], wrong[order].astype(np.float64)
    first = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    sizes = np.diff(np.r_[first, len(ranked)])
    expected = np.repeat(np.add.reduceat(error, first) / sizes, sizes)
    kept = np.arange(1, len(ranked) + 1)
    by_error = np.maximum(0, kept - (len(ranked) - total))
    return float(np.mean((np.cumsum(expected) - by_error) / kept) / (total / len(ranked)))
