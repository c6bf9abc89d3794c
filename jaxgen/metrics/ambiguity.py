"""How well several segmentations of one image stand for several raters: collective insight and its parts."""

import jax.numpy as jnp
import numpy as np

from jaxgen.metrics.distribution import generalized_energy_distance, maximum_dice_matching, pairwise_iou
from jaxgen.types import Array


def combined_sensitivity(samples: Array, references: Array) -> Array:
    """S_c: the share of what any rater marked that any sample marks, ``TP / (TP + FN)`` of the two unions.

    Args:
        samples: ``[n, *spatial]``, foreground where nonzero.
        references: ``[m, *spatial]``.

    Returns:
        float32 scalar, 1 where no rater marked anything.

    Reference:
        Rahman et al. 2023, arXiv 2304.04745, section 4.2.

    Example:
        >>> combined_sensitivity(jnp.array([[1, 0, 0], [0, 0, 1]]), jnp.array([[1, 1, 0]])).item()
        0.5
    """
    found, wanted = (jnp.any(masks != 0, axis=0) for masks in (samples, references))
    total = jnp.sum(wanted)
    return jnp.where(total == 0, 1.0, jnp.sum(found & wanted) / jnp.maximum(total, 1)).astype(jnp.float32)


def diversity_agreement(samples: Array, references: Array) -> Array:
    """D_a: ``1 - (|V_min(s) - V_min(y)| + |V_max(s) - V_max(y)|) / 2``, V the variance of the difference of two masks.

    V_min and V_max are over pairs of different masks of one set; both are 0 of a single mask. The paper leaves open of
    what the variance is taken; here it is that of the image ``a - b`` over pixels.

    Args:
        samples: ``[n, *spatial]``, foreground where nonzero.
        references: ``[m, *spatial]``.

    Returns:
        float32 scalar.

    Reference:
        Rahman et al. 2023, arXiv 2304.04745, section 4.2.

    Example:
        >>> raters = jnp.array([[1, 1, 0, 0], [0, 0, 0, 0]])
        >>> diversity_agreement(raters, raters).item(), diversity_agreement(raters[:1], raters).item()
        (1.0, 0.75)
    """
    (low, high), (other_low, other_high) = (_extremes(masks) for masks in (samples, references))
    return 1 - (jnp.abs(low - other_low) + jnp.abs(high - other_high)) / 2


def _extremes(masks: Array) -> tuple[Array, Array]:
    flat = (masks != 0).reshape(len(masks), -1).astype(jnp.float32)
    first, second = np.triu_indices(len(flat), 1)
    if not len(first):
        return jnp.float32(0), jnp.float32(0)
    variance = jnp.var(flat[first] - flat[second], axis=1)
    return variance.min(), variance.max()


def collective_insight(samples: Array, references: Array, *, harmonic: bool = False) -> Array:
    """CI: ``3 S_c D_max D_a / (S_c + D_max + D_a)``, the formula that the paper prints.

    Args:
        samples: ``[n, *spatial]``, foreground where nonzero.
        references: ``[m, *spatial]``.
        harmonic: the harmonic mean of the three, ``3 / (1 / S_c + 1 / D_max + 1 / D_a)``, which the paper's text says.

    Returns:
        float32 scalar in [0, 1].

    Reference:
        Rahman et al. 2023, arXiv 2304.04745, eq. 9.

    Example:
        >>> raters = jnp.array([[1, 1, 0, 0], [0, 0, 0, 0]])
        >>> collective_insight(raters, raters).item(), round(collective_insight(raters[:1], raters).item(), 3)
        (1.0, 0.5)
    """
    parts = jnp.stack(
        [
            combined_sensitivity(samples, references),
            maximum_dice_matching(samples, references),
            diversity_agreement(samples, references),
        ]
    )
    if harmonic:
        return jnp.where(jnp.any(parts == 0), 0.0, 3 / jnp.sum(1 / jnp.where(parts == 0, 1, parts)))
    return 3 * jnp.prod(parts) / jnp.maximum(jnp.sum(parts), 1e-12)


def nearest_raters(samples: Array | np.ndarray, references: Array | np.ndarray) -> np.ndarray:
    """How often each rater is the one that a sample is most like, by IoU; equally near ones share a sample.

    Args:
        samples: ``[n, *spatial]``, foreground where nonzero.
        references: ``[m, *spatial]``.

    Returns:
        ``[m]``, adding up to 1; equal entries, in the mean over many images, if samples have the raters' distribution.

    Example:
        >>> raters = jnp.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
        >>> nearest_raters(jnp.array([[1, 1, 1, 0], [0, 0, 0, 0]]), raters).tolist()
        [0.5, 0.25, 0.25]
    """
    like = np.asarray(pairwise_iou(jnp.asarray(samples), jnp.asarray(references)))
    nearest = like >= like.max(axis=1, keepdims=True)
    return np.asarray((nearest / nearest.sum(axis=1, keepdims=True)).mean(axis=0))


def rater_scores(samples: Array | np.ndarray, references: Array | np.ndarray) -> dict[str, float]:
    """How well samples stand for raters, in four numbers.

    Args:
        samples: ``[n, *spatial]``, foreground where nonzero.
        references: ``[m, *spatial]``.

    Returns:
        ``ged_unbiased``, the energy distance over pairs of different masks (NaN of one sample or one rater),
        ``best_dice`` (D_max), ``sensitivity`` (S_c) and ``insight`` (CI).

    Example:
        >>> raters = jnp.array([[1, 1, 0, 0], [0, 0, 0, 0]])
        >>> rater_scores(raters, raters)["best_dice"]
        1.0
    """
    samples, references = jnp.asarray(samples), jnp.asarray(references)
    several = min(len(samples), len(references)) > 1
    distance = generalized_energy_distance(samples, references, unbiased=True) if several else jnp.nan
    return {
        "ged_unbiased": float(distance),
        "best_dice": float(maximum_dice_matching(samples, references)),
        "sensitivity": float(combined_sensitivity(samples, references)),
        "insight": float(collective_insight(samples, references)),
    }
