"""The share of samples that are not noisy copies of a training example."""

import numpy as np
from numpy.typing import ArrayLike

from jaxgen.metrics._host import distance_blocks, features
from jaxgen.metrics.memorisation import nearest_neighbours


def authenticity(samples: ArrayLike, train: ArrayLike) -> float:
    """The share of samples that are farther from their nearest training example than that is from the next one.

    A sample s with the nearest training example r is authentic if ``d(s, r) > min_{r' != r} d(r, r')``: else it lies
    in the neighbourhood of r alone, as a noisy copy of it does. Samples of the true distribution are not all authentic:
    compared with the value give that of held-out real examples, and look at the difference.

    Args:
        samples: features ``[m, d]``; images are flattened.
        train: features of the training set, ``[n, d]``, all different.

    Returns:
        The share in [0, 1]; 0 for copies.

    Raises:
        ValueError: if the widths differ, or there are fewer than two training examples.

    Reference:
        Alaa, van Breugel, Saveliev and van der Schaar 2022, "How faithful is your synthetic data? Sample-level metrics
        for evaluating and auditing generative models", arXiv 2102.08921, section 3.4. (Their released code looks up
        the neighbours the other way round, and gives other numbers.)

    Example:
        >>> train = np.array([[0.0], [1.0], [5.0]])
        >>> authenticity([[0.1], [7.0], [-2.0], [10.0]], train)
        0.5
    """
    a, b = features(samples, train)
    if len(b) < 2:
        raise ValueError("needs two training examples or more")
    gap = np.empty(len(b))
    for rows, distance in distance_blocks(b, b):
        distance[np.arange(len(distance)), np.arange(rows.start, rows.stop)] = np.inf
        gap[rows] = distance.min(1)
    distance, index = nearest_neighbours(a, b)
    return float(np.mean(distance > gap[index]))
