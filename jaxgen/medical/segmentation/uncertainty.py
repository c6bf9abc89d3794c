"""What an ensemble of distance maps says: a mask, a probability, and three uncertainties."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxgen.types import Array


class EnsembleSummary(NamedTuple):
    """An ensemble of distance maps in one record; all maps have the shape ``[..., *spatial]`` of one member.

    Attributes:
        mask: the mean distance map is at most the threshold.
        probability: the share of members whose mask holds the pixel; NaN where a member's distance is. It need not be
            above 1/2 where the mean is in the mask: few members far inside outweigh more that are just outside. See
            `agreeing_probability`.
        mask_variance: ``p (1 - p)`` of that share: the map that finds wrong pixels.
        standardised_mean: ``-|mean - threshold| / std`` of the distances: larger where the boundary is less sure.
        case_uncertainty: ``[...]``, the variance of the distances averaged over pixels: one number an image, which
            tells images with low Dice from those with high. (As a map it is misleading, for it is also large far from
            any boundary.)
        mean: the mean distance map.
    """

    mask: Array
    probability: Array
    mask_variance: Array
    standardised_mean: Array
    case_uncertainty: Array
    mean: Array


def decision_threshold(truncate: float, convention: str) -> float:
    """The distance at or below which a pixel belongs to the foreground, for maps that are not exact.

    An exact map is thresholded at 0. In the convention ``boundary_zero`` the last pixel inside is 0 and the first one
    outside +1 pixel; halfway, at ``0.5 / delta``, a small error of the map pushes as few pixels out as in. (The
    authors' code has 0.03 for delta = 15.) The convention ``symmetric`` is halfway at 0 already.

    Args:
        truncate: delta in pixels.
        convention: of `jaxgen.imaging.distance.signed_distance`.

    Returns:
        A distance in units of delta.

    Example:
        >>> decision_threshold(10.0, "boundary_zero"), decision_threshold(10.0, "symmetric")
        (0.05, 0.0)
    """
    return 0.5 / truncate if convention == "boundary_zero" else 0.0


def summarise(distances: Array, spatial_dims: int = 2, threshold: float = 0.0) -> EnsembleSummary:
    """Summarise an ensemble.

    Args:
        distances: ``[members, ..., *spatial]``, negative inside.
        spatial_dims: the number of spatial axes.
        threshold: distances up to this are foreground, see `decision_threshold`.

    Returns:
        An `EnsembleSummary`.

    Raises:
        ValueError: if there are too few axes.

    Reference:
        arXiv 2405.18087, section 4, averages distance maps; the two pixel maps are ours, for the variance of the
        distances themselves hardly finds wrong pixels.

    Example:
        >>> summary = summarise(jnp.array([[[-1.0, 1.0]], [[-1.0, -0.5]]]))
        >>> summary.mask.tolist(), summary.mask_variance.tolist()
        ([[True, False]], [[0.0, 0.25]])
    """
    if distances.ndim < spatial_dims + 1:
        raise ValueError(
            f"distances of shape {distances.shape} are not [members, ..., *spatial] of rank {spatial_dims}"
        )
    distances = distances.astype(jnp.float32)
    mean, std = jnp.mean(distances, axis=0), jnp.std(distances, axis=0)
    inside = jnp.where(jnp.isnan(distances), jnp.nan, (distances <= threshold).astype(jnp.float32))
    probability = jnp.mean(inside, axis=0)
    space = tuple(range(-spatial_dims, 0))
    return EnsembleSummary(
        mask=mean <= threshold,
        probability=probability,
        mask_variance=probability * (1 - probability),
        standardised_mean=-jnp.abs(mean - threshold) / (std + 1e-6),
        case_uncertainty=jnp.mean(jnp.square(std), axis=space),
        mean=mean,
    )


def agreeing_probability(summary: EnsembleSummary) -> Array:
    """The probability to hand out with the mask: above 1/2 in the mask, and below 1/2 outside of it.

    ``max(p, just above 1/2)`` where the mean distance is in the mask and ``min(p, just below 1/2)`` elsewhere, p the
    share of members. It is p but for the few pixels where the mean of the distances and the majority of the members
    differ, or members tie.

    Args:
        summary: of `summarise`.

    Returns:
        ``[..., *spatial]`` float32; ``mask == (result > 0.5)`` everywhere, and nothing is 0.5.

    Example:
        >>> summary = summarise(jnp.array([[[-1.0, 1.0]], [[0.1, -0.5]], [[0.1, -0.5]]]))
        >>> summary.mask.tolist(), (3 * summary.probability).round().tolist()
        ([[True, True]], [[1.0, 2.0]])
        >>> (3 * agreeing_probability(summary)).round(1).tolist()
        [[1.5, 2.0]]
    """
    below, above = (jnp.nextafter(jnp.float32(0.5), jnp.float32(end)) for end in (0, 1))
    p = summary.probability
    return jnp.where(summary.mask, jnp.maximum(p, above), jnp.minimum(p, below))


def described(maps: np.ndarray, threshold: float, truncate: float) -> dict[str, np.ndarray]:
    """What to hand out of an ensemble's maps of one image.

    Args:
        maps: ``[members, *spatial]``.
        threshold: maps up to this are foreground, see `decision_threshold`.
        truncate: delta in pixels.

    Returns:
        ``mask``; ``probability`` (see `agreeing_probability`) and ``uncertainty``, its variance; and ``distance``, that
        of the mean map from the threshold in pixels; each ``[*spatial]``.

    Example:
        >>> described(np.array([[[-0.5, 1.0]], [[-0.5, 0.5]]]), 0.0, 4.0)["distance"].tolist()
        [[-2.0, 3.0]]
    """
    summary = summarise(jnp.asarray(maps), maps.ndim - 1, threshold)
    probability = np.asarray(agreeing_probability(summary))
    return {
        "mask": np.asarray(summary.mask),
        "probability": probability,
        "uncertainty": probability * (1 - probability),
        "distance": np.asarray((summary.mean - threshold) * truncate),
    }
