"""Sampling plans: which share of the images to draw shows which label in which group, from the counts of real images.

A plan is a table ``[labels, groups]`` of shares that sum to 1; what was never seen is never asked for.
"""

import numpy as np
from numpy.typing import ArrayLike


def cells(findings: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The table of counts behind a plan, whose labels are the sets of findings that were seen.

    Args:
        findings: zeros and ones ``[n, k]``.
        group: of each image, whole numbers from 0 ``[n]``.

    Returns:
        The sets of findings ``[labels, k]``, the number of its set for each image ``[n]``, and the counts ``[labels,
        groups]``.

    Example:
        >>> sets, which, counts = cells(np.array([[0, 1], [1, 0], [0, 1]]), np.array([0, 0, 1]))
        >>> sets.tolist(), which.tolist(), counts.tolist()
        ([[0, 1], [1, 0]], [0, 1, 0], [[1, 1], [1, 0]])
    """
    sets, which = np.unique(findings, axis=0, return_inverse=True)
    which = which.reshape(-1)
    counts = np.zeros((len(sets), int(group.max()) + 1), int)
    np.add.at(counts, (which, group), 1)
    return sets, which, counts


def as_seen(counts: ArrayLike) -> np.ndarray:
    """The shares of the real images.

    Args:
        counts: real images ``[labels, groups]``.

    Returns:
        ``[labels, groups]``.

    Raises:
        ValueError: if the counts are no table, are negative, or all zero.

    Example:
        >>> as_seen([[6, 2], [1, 1]]).tolist()
        [[0.6, 0.2], [0.1, 0.1]]
    """
    table = _checked(counts)
    return table / table.sum()


def fair(counts: ArrayLike) -> np.ndarray:
    """The labels as often as in the real images, and of each label as many images in every group that has some.

    ``plan[y, a] = p(y) / (groups in which y was seen)``: a label then tells nothing about the group.

    Args:
        counts: real images ``[labels, groups]``.

    Returns:
        ``[labels, groups]``.

    Raises:
        ValueError: if the counts are no table, are negative, or all zero.

    Reference:
        Ktena et al. 2024, "Generative models improve fairness of medical classifiers under distribution shifts", arXiv
        2304.09218, methods.

    Example:
        >>> fair([[6, 2], [2, 0]]).tolist()
        [[0.4, 0.4], [0.2, 0.0]]
    """
    table = _checked(counts)
    seen = table > 0
    of_label = table.sum(1, keepdims=True) / table.sum()
    return of_label * seen / np.maximum(seen.sum(1, keepdims=True), 1)


def inverse(counts: ArrayLike) -> np.ndarray:
    """Rare groups more often than common ones, and within each group its rare labels.

    ``plan[y, a] = p(a) p(y | a)`` with both in proportion to one over the count: of the group, and of the label in it.

    Args:
        counts: real images ``[labels, groups]``, such as sets of tools by phase of an operation.

    Returns:
        ``[labels, groups]``.

    Raises:
        ValueError: if the counts are no table, are negative, or all zero.

    Reference:
        Frisch et al. 2023, "Synthesising rare cataract surgery samples with guided diffusion models", arXiv 2308.02587,
        section 3.

    Example:
        >>> inverse([[9, 5], [1, 0]]).round(3).tolist()
        [[0.033, 0.667], [0.3, 0.0]]
    """
    table = _checked(counts)
    one_over = np.divide(1.0, table, out=np.zeros_like(table), where=table > 0)
    within = one_over / np.maximum(one_over.sum(0), np.finfo(float).tiny)
    of_group = np.divide(1.0, table.sum(0), out=np.zeros(table.shape[1]), where=table.sum(0) > 0)
    return within * of_group / of_group.sum()


def quotas(plan: ArrayLike, n: int) -> np.ndarray:
    """How many of n images each cell of a plan gets: whole numbers that sum to n, by the largest remainders.

    Args:
        plan: shares, of any shape.
        n: how many images.

    Returns:
        Whole numbers of the same shape.

    Raises:
        ValueError: if `n` is negative, or the shares do not sum to 1.

    Example:
        >>> quotas([[0.5, 0.25], [0.25, 0.0]], 10).tolist()
        [[5, 3], [2, 0]]
    """
    shares = np.asarray(plan, float)
    if n < 0 or (shares < 0).any() or not np.isclose(shares.sum(), 1):
        raise ValueError(f"a plan of shares that sum to 1 and n >= 0 are needed, got a sum of {shares.sum():g}, n {n}")
    asked = shares * n
    whole = np.floor(asked).astype(int)
    order = np.argsort(-(asked - whole), axis=None, kind="stable")
    whole.reshape(-1)[order[: n - whole.sum()]] += 1
    return whole


def _checked(counts: ArrayLike) -> np.ndarray:
    table = np.asarray(counts, float)
    if table.ndim != 2 or (table < 0).any() or not table.sum() > 0:
        raise ValueError(f"counts of real images [labels, groups], some of them above 0, are needed, got {table.shape}")
    return table
