"""How well a score orders two classes: area under the ROC curve, average precision. Safe under `jax.jit`.

Scores are ordered in their own precision: NumPy arrays that JAX would cut to 32 bits, or whose least values XLA would
take for 0, are replaced by their ranks on the host first. A JAX array, and any under `jax.jit`, is ordered as it is.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxgen.metrics._sums import total
from jaxgen.types import Array


def orderable(score: ArrayLike) -> Array:
    """Scores as a JAX array of the same order and the same ties: their ranks, where JAX would not keep both.

    Args:
        score: any shape, NumPy or JAX, of any real type.

    Returns:
        The scores; or float32 or int32 ranks from 0, equal for ties, NaN for what is not finite.

    Example:
        >>> orderable(np.array([1.0, 1.0 + 1e-12, 1.0])).tolist()
        [0, 1, 0]
    """
    if isinstance(score, jax.Array):
        return score
    score = np.asarray(score)
    if score.dtype.itemsize <= 4 and not _subnormal(score):
        return jnp.asarray(score)
    finite = np.isfinite(score)
    _, rank = np.unique(score[finite], return_inverse=True)
    if finite.all():
        return jnp.asarray(rank.reshape(score.shape).astype(np.int32))
    found = np.full(score.shape, np.nan, np.float32)
    found[finite] = rank
    return jnp.asarray(found)


def _subnormal(score: np.ndarray) -> bool:
    """Whether there are values so near to 0 that XLA takes them for it."""
    if score.dtype != np.float32:
        return False
    return bool(((score != 0) & (np.abs(score) < np.finfo(np.float32).tiny)).any())


def _ranked(score: ArrayLike, label: ArrayLike) -> tuple[Array, Array, Array, Array, Array]:
    """Labels in ascending order of the score; the first and last index of each group of ties; positives up to each.

    And whether every score is finite, without which there is no order.
    """
    score, label = jnp.ravel(orderable(score)), jnp.ravel(jnp.asarray(label) != 0)
    if score.shape != label.shape:
        raise ValueError(f"{score.size} scores but {label.size} labels")
    finite = jnp.all(jnp.isfinite(score))
    order = jnp.argsort(score)
    score, label = score[order], label[order]
    index = jnp.arange(score.size)
    changes = score[1:] != score[:-1]
    edge = jnp.ones(1, bool)
    first = lax.cummax(jnp.where(jnp.concatenate([edge, changes]), index, 0))
    last = lax.cummin(jnp.where(jnp.concatenate([changes, edge]), index, score.size), reverse=True)
    return label, first, last, jnp.cumsum(label), finite


def auroc(score: ArrayLike, label: ArrayLike) -> Array:
    """Area under the ROC curve: the probability that a positive scores above a negative, a tie counting one half.

    ``(1 / P N) sum_{i positive, j negative} [s_i > s_j] + [s_i = s_j] / 2``, exact, from ranks.

    Args:
        score: any shape, larger for what should be positive.
        label: nonzero for the positives, as many.

    Returns:
        float32 scalar; NaN if one of the classes is absent, or a score is NaN or infinite.

    Raises:
        ValueError: if the sizes differ.

    Reference:
        Hanley and McNeil, "The Meaning and Use of the Area under a ROC Curve", 1982.

    Example:
        >>> import jax.numpy as jnp
        >>> auroc(jnp.array([0.1, 0.4, 0.4, 0.8]), jnp.array([0, 0, 1, 1])).item()
        0.875
    """
    label, first, last, positives, finite = _ranked(score, label)
    negatives = jnp.cumsum(~label)
    below = negatives[first] - ~label[first]  # negatives before the group of ties
    tied = negatives[last] - below
    share = (below + 0.5 * tied) / jnp.maximum(negatives[-1], 1)
    area = total(jnp.where(label, share, 0)) / jnp.maximum(positives[-1], 1)
    return jnp.where(finite & (positives[-1] > 0) & (negatives[-1] > 0), area, jnp.nan)


def mean_auroc(score: ArrayLike, label: ArrayLike) -> Array:
    """The mean over findings of `auroc`; a finding that all or none of the images have is left out.

    Args:
        score: ``[n, k]``, of each image and finding.
        label: ``[n, k]``, nonzero where it is there.

    Returns:
        float32 scalar; NaN if no finding is left, or a score is NaN or infinite.

    Example:
        >>> import jax.numpy as jnp
        >>> mean_auroc(jnp.array([[0.1, 0.5], [0.9, 0.5]]), jnp.array([[0, 1], [1, 1]])).item()
        1.0
    """
    score, label = jnp.asarray(score), jnp.asarray(label) != 0
    each = jax.vmap(auroc, in_axes=-1)(score, label)
    both = label.any(0) & ~label.all(0)
    finite = jnp.isfinite(score).all()
    return jnp.where(finite & both.any(), jnp.sum(jnp.where(both, each, 0)) / jnp.maximum(both.sum(), 1), jnp.nan)


def average_precision(score: ArrayLike, label: ArrayLike) -> Array:
    """Average precision, the step-wise area under the precision-recall curve: ``sum_n (R_n - R_{n-1}) P_n``.

    Thresholds run over the distinct scores from high to low; a group of ties is one threshold.

    Args:
        score: any shape, larger for what should be positive.
        label: nonzero for the positives, as many.

    Returns:
        float32 scalar in [0, 1]; NaN if there is no positive, or a score is NaN or infinite.

    Raises:
        ValueError: if the sizes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> round(average_precision(jnp.array([0.9, 0.8, 0.7]), jnp.array([1, 0, 1])).item(), 4)
        0.8333
    """
    label, first, _, positives, finite = _ranked(score, label)
    found = positives[-1] - positives[first] + label[first]  # positives at or above this score
    precision = found / (label.size - first)
    mean = total(jnp.where(label, precision, 0)) / jnp.maximum(positives[-1], 1)
    return jnp.where(finite & (positives[-1] > 0), mean, jnp.nan)
