"""Everything that is measured of segmentations: overlap, surfaces, calibration, uncertainty, agreement with raters."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxgen.imaging.distance import Spacing, gradient_norm
from jaxgen.metrics.calibration import expected_calibration_error
from jaxgen.metrics.distribution import generalized_energy_distance
from jaxgen.metrics.overlap import dice, iou
from jaxgen.metrics.ranking import auroc
from jaxgen.metrics.segmentation import average_surface_distance, component_count_error, hausdorff95, image_diagonal
from jaxgen.metrics.sparsification import sparsification_error

Scores = dict[str, float]


def _mean_distance(distances: Sequence[float], diagonals: Sequence[float]) -> float:
    """The mean over the images with an object in either mask; the diagonal where only one has any."""
    found = np.where(np.isinf(distances), diagonals, distances)
    counted = found[~np.isnan(found)]  # NaN: two empty masks, which agree
    return float(counted.mean()) if len(counted) else float("nan")


def score_masks(
    masks: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    *,
    spacing: Spacing = 1.0,
    spacings: Sequence[Spacing] | None = None,
) -> Scores:
    """Agreement of masks with the truth.

    An image where only one of the two masks is empty has no distance between surfaces. It counts with the diagonal of
    the image, which no distance in it exceeds: a method that misses an object never has a better mean than one that
    finds it, however badly, and all methods are averaged over the same images. Where both masks are empty there is no
    distance to measure, and the image is left out of the means of distances.

    Args:
        masks: one bool ``[*spatial]`` an image; sizes may differ.
        truths: likewise.
        spacing: the size of a pixel, one number or one an axis, such as millimetres.
        spacings: that of each image, where they differ.

    Returns:
        ``dice`` and ``iou`` (means over images), ``dice_pooled`` (all pixels of all images together), ``hausdorff95``
        and ``surface_distance`` in the unit of `spacing` (means over images, see above), ``component_error``, the mean
        absolute difference of the numbers of connected components, ``missed``, the number of images whose truth is not
        empty but whose mask is, and ``false_alarms``, the number of those where it is the other way round.

    Example:
        >>> truth, nothing = np.eye(4, dtype=bool), np.zeros((4, 4), bool)
        >>> score_masks([truth], [truth])["dice"]
        1.0
        >>> found = score_masks([truth, nothing], [truth, truth])
        >>> found["missed"], round(found["hausdorff95"], 4)
        (1, 2.8284)
    """
    pairs = list(zip(masks, truths, strict=True))
    on_device = [(jnp.asarray(a)[None], jnp.asarray(b)[None]) for a, b in pairs]
    both = sum(int((a & b).sum()) for a, b in pairs)
    sizes = sum(int(a.sum() + b.sum()) for a, b in pairs)
    sides = [spacing] * len(pairs) if spacings is None else spacings
    diagonals = [image_diagonal(b.shape, spacing=side) for (_, b), side in zip(pairs, sides, strict=True)]

    def distance(metric: Callable[..., Any]) -> float:
        found = (metric(a[None], b[None], spacing=side)[0] for (a, b), side in zip(pairs, sides, strict=True))
        return _mean_distance(list(found), diagonals)

    return {
        "dice": float(np.mean([dice(a, b)[0] for a, b in on_device])),
        "dice_pooled": 2 * both / sizes if sizes else 1.0,
        "iou": float(np.mean([iou(a, b)[0] for a, b in on_device])),
        "hausdorff95": distance(hausdorff95),
        "surface_distance": distance(average_surface_distance),
        "component_error": float(np.mean([np.abs(component_count_error(a[None], b[None])[0]) for a, b in pairs])),
        "missed": sum(bool(b.any() and not a.any()) for a, b in pairs),
        "false_alarms": sum(bool(a.any() and not b.any()) for a, b in pairs),
    }


def _pixels(
    uncertainty: Sequence[np.ndarray], masks: Sequence[np.ndarray], truths: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The uncertainty of all pixels of all images ``[n]``, and whether they are wrong ``[n]``."""
    wrong = [(a != b).ravel() for a, b in zip(masks, truths, strict=True)]
    return np.concatenate([u.ravel() for u in uncertainty]), np.concatenate(wrong)


def score_uncertainty(
    uncertainty: Sequence[np.ndarray], masks: Sequence[np.ndarray], truths: Sequence[np.ndarray]
) -> float:
    """How well a map of uncertainty ranks wrong pixels above right ones: AUROC over the pixels of all images.

    Args:
        uncertainty: one ``[*spatial]`` an image, larger where less certain.
        masks: the masks it belongs to.
        truths: the true masks.

    Returns:
        Between 0 and 1; 0.5 for a map that knows nothing, NaN where no pixel or every pixel is wrong.

    Example:
        >>> score_uncertainty([np.array([0.9, 0.1])], [np.array([True, True])], [np.array([False, True])])
        1.0
    """
    return float(auroc(*_pixels(uncertainty, masks, truths)))


def score_sparsification(
    uncertainty: Sequence[np.ndarray], masks: Sequence[np.ndarray], truths: Sequence[np.ndarray]
) -> float:
    """The sparsification error of a map of uncertainty over the pixels of all images.

    Args:
        uncertainty: one ``[*spatial]`` an image, larger where less certain.
        masks: the masks it belongs to.
        truths: the true masks.

    Returns:
        See `jaxgen.metrics.sparsification.sparsification_error`; NaN where no pixel is wrong.

    Example:
        >>> score_sparsification([np.array([0.9, 0.1])], [np.array([True, True])], [np.array([False, True])])
        0.0
    """
    return sparsification_error(*_pixels(uncertainty, masks, truths))


def score_probability(probability: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> Scores:
    """Calibration of a probability of foreground over the pixels of all images.

    Args:
        probability: one ``[*spatial]`` an image.
        truths: the true masks.

    Returns:
        ``ece`` (expected calibration error, 15 bins) and ``brier``.

    Example:
        >>> score_probability([np.array([1.0, 0.0])], [np.array([True, False])])
        {'ece': 0.0, 'brier': 0.0}
    """
    p = np.concatenate([x.ravel() for x in probability]).astype(np.float64)
    y = np.concatenate([x.ravel() for x in truths])
    return {
        "ece": float(expected_calibration_error(jnp.asarray(p, jnp.float32), jnp.asarray(y))),
        "brier": float(np.mean((p - y) ** 2)),
    }


def score_cases(case_uncertainty: Sequence[float], case_dice: Sequence[float]) -> float:
    """Pearson correlation of an uncertainty an image with ``1 - Dice``; NaN where either is constant or not finite.

    Example:
        >>> round(score_cases([0.1, 0.2, 0.3], [0.9, 0.8, 0.7]), 6)
        1.0
    """
    a, b = np.asarray(case_uncertainty, np.float64), 1 - np.asarray(case_dice, np.float64)
    if len(a) < 2 or not np.isfinite([a, b]).all() or a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def eikonal_error(
    distances: Sequence[np.ndarray], truncate: float, band: float = 0.9, *, spacings: Sequence[Spacing] | None = None
) -> float:
    """Whether sampled maps are distances: mean of ``| |grad d| - 1 |`` where ``|d| < band * delta``.

    Args:
        distances: maps ``[*spatial]`` in [-1, 1], in units of delta.
        truncate: delta in pixels.
        band: the part of the range that counts as not truncated.
        spacings: the size of a pixel of each image, one number or one an axis; of voxels that are no cubes the shortest
            side is the pixel that distances are measured in.

    Returns:
        A mean over pixels, 0 for exact distances away from their ridges; NaN if no pixel is in the band, or if a
        distance is not finite.

    Example:
        >>> ramp = np.tile(np.linspace(-0.8, 0.8, 17), (4, 1))
        >>> round(eikonal_error([ramp], truncate=10.0), 5)
        0.0
    """
    errors = []
    for distance, side in zip(distances, spacings or [1.0] * len(distances), strict=True):
        if not np.isfinite(distance).all():
            return float("nan")
        inside = np.abs(distance) < band
        steps = (np.asarray(side, np.float64) / np.min(side)).tolist()
        slope = gradient_norm(jnp.asarray(distance * truncate, jnp.float32), spacing=steps)
        errors.append(np.abs(np.asarray(slope) - 1)[inside])
    every = np.concatenate(errors)
    return float(every.mean()) if len(every) else float("nan")


def score_raters(samples: Sequence[np.ndarray], raters: Sequence[np.ndarray]) -> float:
    """Mean squared generalised energy distance between sampled masks and those of several raters.

    Args:
        samples: one bool ``[n, *spatial]`` an image.
        raters: one bool ``[raters, *spatial]`` an image.

    Returns:
        The mean over images, lower is better; see `jaxgen.metrics.distribution.generalized_energy_distance`.
    """
    return float(
        np.mean(
            [generalized_energy_distance(jnp.asarray(s), jnp.asarray(r)) for s, r in zip(samples, raters, strict=True)],
            dtype=np.float64,
        )
    )
