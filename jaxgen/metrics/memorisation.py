"""Are samples copies of the training set? Distances to the nearest training example."""

import numpy as np
from numpy.typing import ArrayLike

_BLOCK = 256


def nearest_neighbours(samples: ArrayLike, train: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The distance from each sample to its nearest training example, and which one that is.

    Args:
        samples: ``[m, d]`` features, or flattened pixels.
        train: ``[n, d]``.

    Returns:
        ``(distance [m], index [m])``, Euclidean.

    Example:
        >>> distance, index = nearest_neighbours([[0.0], [9.0]], [[1.0], [5.0], [10.0]])
        >>> distance.tolist(), index.tolist()
        ([1.0, 1.0], [0, 2])
    """
    a, b = np.asarray(samples, np.float64), np.asarray(train, np.float64)
    centre = b.mean(0)
    a, b = a - centre, b - centre
    size = (b**2).sum(1)
    index = np.concatenate(
        [np.argmin(size - 2 * a[first : first + _BLOCK] @ b.T, axis=1) for first in range(0, len(a), _BLOCK)]
    )
    return np.linalg.norm(a - b[index], axis=1), index


def memorisation_ratio(samples: ArrayLike, train: ArrayLike, held_out: ArrayLike) -> float:
    """The median distance from a sample to the training set over that from a held-out real example.

    Near 0 samples are copies; near 1 they are as far from the training images as new images are. The ratio alone does
    not say that samples are good: noise lies far away from everything.

    Args:
        samples: ``[m, d]`` features, or flattened pixels.
        train: ``[n, d]``.
        held_out: real examples that were not trained on, ``[k, d]``.

    Returns:
        The ratio.

    Reference:
        Meehan, Chaudhuri & Dasgupta 2020, "A non-parametric test to detect data-copying in generative models", arXiv
        2004.05675, section 3, whose test compares the same two sets of distances.

    Example:
        >>> memorisation_ratio([[0.0], [1.0]], [[0.0], [1.0], [2.0]], [[0.5], [1.5]])
        0.0
    """
    ours, theirs = (np.median(nearest_neighbours(x, train)[0]) for x in (samples, held_out))
    return float(ours / theirs) if theirs > 0 else float("nan")
