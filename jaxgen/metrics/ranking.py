"""How well a score orders two classes: area under the ROC curve, average precision. Safe under `jax.jit`."""

import jax.numpy as jnp
from jax import lax

from jaxgen.metrics._sums import total
from jaxgen.types import Array


def _ranked(score: Array, label: Array) -> tuple[Array, Array, Array, Array]:
    """Labels in ascending order of the score; the first and last index of each group of ties; positives up to each."""
    score, label = jnp.ravel(jnp.asarray(score)), jnp.ravel(jnp.asarray(label) != 0)
    if score.shape != label.shape:
        raise ValueError(f"{score.size} scores but {label.size} labels")
    order = jnp.argsort(score)
    score, label = score[order], label[order]
    index = jnp.arange(score.size)
    changes = score[1:] != score[:-1]
    edge = jnp.ones(1, bool)
    first = lax.cummax(jnp.where(jnp.concatenate([edge, changes]), index, 0))
    last = lax.cummin(jnp.where(jnp.concatenate([changes, edge]), index, score.size), reverse=True)
    return label, first, last, jnp.cumsum(label)


def auroc(score: Array, label: Array) -> Array:
    """Area under the ROC curve: the probability that a positive scores above a negative, a tie counting one half.

    ``(1 / P N) sum_{i positive, j negative} [s_i > s_j] + [s_i = s_j] / 2``, exact, from ranks.

    Args:
        score: any shape, larger for what should be positive; not NaN.
        label: nonzero for the positives, as many.

    Returns:
        float32 scalar; NaN if one of the classes is absent.

    Raises:
        ValueError: if the sizes differ.

    Reference:
        Hanley and McNeil, "The Meaning and Use of the Area under a ROC Curve", 1982.

    Example:
        >>> import jax.numpy as jnp
        >>> auroc(jnp.array([0.1, 0.4, 0.4, 0.8]), jnp.array([0, 0, 1, 1])).item()
        0.875
    """
    label, first, last, positives = _ranked(score, label)
    negatives = jnp.cumsum(~label)
    below = negatives[first] - ~label[first]  # negatives before the group of ties
    tied = negatives[last] - below
    share = (below + 0.5 * tied) / jnp.maximum(negatives[-1], 1)
    area = total(jnp.where(label, share, 0)) / jnp.maximum(positives[-1], 1)
    return jnp.where((positives[-1] > 0) & (negatives[-1] > 0), area, jnp.nan)


def average_precision(score: Array, label: Array) -> Array:
    """Average precision, the step-wise area under the precision-recall curve: ``sum_n (R_n - R_{n-1}) P_n``.

    Thresholds run over the distinct scores from high to low; a group of ties is one threshold.

    Args:
        score: any shape, larger for what should be positive; not NaN.
        label: nonzero for the positives, as many.

    Returns:
        float32 scalar in [0, 1]; NaN if there is no positive.

    Raises:
        ValueError: if the sizes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> round(average_precision(jnp.array([0.9, 0.8, 0.7]), jnp.array([1, 0, 1])).item(), 4)
        0.8333
    """
    label, first, _, positives = _ranked(score, label)
    found = positives[-1] - positives[first] + label[first]  # positives at or above this score
    precision = found / (label.size - first)
    mean = total(jnp.where(label, precision, 0)) / jnp.maximum(positives[-1], 1)
    return jnp.where(positives[-1] > 0, mean, jnp.nan)
