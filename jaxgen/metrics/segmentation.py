"""Comparing masks. Overlaps (`dice`, `iou`) are JAX; surfaces and components run on the host, in SciPy.

A mask's surface is its pixels with a face neighbour outside it; here, unlike in a signed distance map, the frame of the
image counts as outside, as is usual for these metrics.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

from jaxgen.imaging.distance import Spacing
from jaxgen.metrics.overlap import dice, iou
from jaxgen.types import Array

__all__ = [
    "average_surface_distance",
    "component_count",
    "component_count_error",
    "dice",
    "hausdorff95",
    "image_diagonal",
    "iou",
    "surface_dice",
]


def _surface(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask)


def _surface_distances(a: np.ndarray, b: np.ndarray, spacing: Spacing) -> tuple[np.ndarray, np.ndarray]:
    """Distances from each surface pixel of `a` to the surface of `b`, and the other way."""
    union = np.argwhere(a | b)
    low, high = union.min(0), union.max(0) + 1
    box = tuple(slice(lo, hi) for lo, hi in zip(low, high, strict=True))  # nothing outside it can matter
    a, b = _surface(np.pad(a[box], 1)), _surface(np.pad(b[box], 1))
    return (
        ndimage.distance_transform_edt(~b, sampling=spacing)[a],
        ndimage.distance_transform_edt(~a, sampling=spacing)[b],
    )


def _check_known(*masks: np.ndarray) -> None:
    if any(x.dtype.kind not in "biu" and not np.isfinite(x).all() for x in masks):
        raise ValueError("a mask holds NaN or infinity: the model that gave it diverged")


def _each(
    prediction: np.ndarray | Array,
    target: np.ndarray | Array,
    spacing: Spacing,
    reduce: Callable[[np.ndarray, np.ndarray], float],
    one_empty: float,
) -> np.ndarray:
    prediction, target = np.asarray(prediction), np.asarray(target)
    _check_known(prediction, target)
    prediction, target = prediction != 0, target != 0
    if prediction.shape != target.shape:
        raise ValueError(f"masks differ in shape: {prediction.shape} and {target.shape}")
    values = []
    for a, b in zip(prediction, target, strict=True):
        if a.any() and b.any():
            values.append(reduce(*_surface_distances(a, b, spacing)))
        else:
            values.append(one_empty if a.any() or b.any() else np.nan)
    return np.asarray(values, np.float64)


def hausdorff95(
    prediction: np.ndarray | Array, target: np.ndarray | Array, *, spacing: Spacing = 1.0, percentile: float = 95.0
) -> np.ndarray:
    """Hausdorff distance between the surfaces, with a percentile in place of the maximum.

    ``max(q_{a in A} d(a, B), q_{b in B} d(b, A))`` with q the percentile, A and B the two surfaces.

    Args:
        prediction: ``[b, *spatial]``, foreground where nonzero.
        target: the same shape.
        spacing: the size of a pixel, one number or one an axis.
        percentile: 0 to 100; 100 gives the Hausdorff distance itself.

    Returns:
        float64 ``[b]`` in the unit of `spacing`; infinite where one mask is empty, NaN where both are. A mean over the
        finite ones would favour the method that misses the hardest objects: count the infinite ones, and average with
        a penalty in their place (`image_diagonal`), as `jaxgen.medical.segmentation.scores.score_masks` does.

    Raises:
        ValueError: if the shapes differ, or a mask holds NaN or infinity.

    Reference:
        Huttenlocher, Klanderman and Rucklidge, "Comparing Images Using the Hausdorff Distance", 1993.

    Example:
        >>> import numpy as np
        >>> hausdorff95(np.array([[1, 1, 0, 0, 0]]), np.array([[1, 1, 0, 0, 1]]), percentile=100).tolist()
        [3.0]
    """

    def reduce(ab: np.ndarray, ba: np.ndarray) -> float:
        return max(np.percentile(ab, percentile), np.percentile(ba, percentile))

    return _each(prediction, target, spacing, reduce, np.inf)


def average_surface_distance(
    prediction: np.ndarray | Array, target: np.ndarray | Array, *, spacing: Spacing = 1.0
) -> np.ndarray:
    """Average symmetric surface distance: ``(sum_a d(a, B) + sum_b d(b, A)) / (|A| + |B|)``.

    Args:
        prediction: ``[b, *spatial]``, foreground where nonzero.
        target: the same shape.
        spacing: the size of a pixel, one number or one an axis.

    Returns:
        float64 ``[b]`` in the unit of `spacing`; infinite where one mask is empty, NaN where both are: see
        `hausdorff95` for their mean.

    Raises:
        ValueError: if the shapes differ, or a mask holds NaN or infinity.

    Example:
        >>> import numpy as np
        >>> average_surface_distance(np.array([[1, 0, 0]]), np.array([[0, 0, 1]]), spacing=0.5).tolist()
        [1.0]
    """
    return _each(prediction, target, spacing, lambda ab, ba: float(np.mean(np.concatenate([ab, ba]))), np.inf)


def image_diagonal(shape: Sequence[int], *, spacing: Spacing = 1.0) -> float:
    """The diagonal of an image, ``sqrt(sum_i (n_i spacing_i)^2)``: no two of its pixels lie as far apart.

    It stands for the distance of an object that was missed altogether, which has none.

    Args:
        shape: of the image, ``[*spatial]``, in pixels.
        spacing: the size of a pixel, one number or one an axis.

    Returns:
        The length in the unit of `spacing`.

    Raises:
        ValueError: if there is not one spacing an axis.

    Example:
        >>> image_diagonal((3, 4)), image_diagonal((3, 4), spacing=(2, 2))
        (5.0, 10.0)
    """
    size = np.asarray(spacing, np.float64)
    if size.ndim and size.shape != (len(shape),):
        raise ValueError(f"{size.size} spacings for {len(shape)} axes")
    return float(np.linalg.norm(np.asarray(shape, np.float64) * size))


def surface_dice(
    prediction: np.ndarray | Array, target: np.ndarray | Array, tolerance: float, *, spacing: Spacing = 1.0
) -> np.ndarray:
    """The share of the two surfaces that lies within `tolerance` of the other one.

    ``(|{a: d(a, B) <= tolerance}| + |{b: d(b, A) <= tolerance}|) / (|A| + |B|)``, counting surface pixels.

    Args:
        prediction: ``[b, *spatial]``, foreground where nonzero.
        target: the same shape.
        tolerance: the distance that does not matter, in the unit of `spacing`.
        spacing: the size of a pixel, one number or one an axis.

    Returns:
        float64 ``[b]`` in [0, 1]; 0 where one mask is empty, NaN where both are.

    Raises:
        ValueError: if the shapes differ.

    Reference:
        Nikolov et al., "Deep learning to achieve clinically applicable segmentation of head and neck anatomy", 2018
        (arXiv 1809.04430); theirs weighs surface elements by their area.

    Example:
        >>> import numpy as np
        >>> surface_dice(np.array([[1, 1, 0, 0]]), np.array([[0, 1, 1, 1]]), 1.0).tolist()
        [0.75]
    """

    def reduce(ab: np.ndarray, ba: np.ndarray) -> float:
        return float(np.mean(np.concatenate([ab, ba]) <= tolerance))

    return _each(prediction, target, spacing, reduce, 0.0)


def component_count(mask: np.ndarray | Array, *, connectivity: int = 1) -> np.ndarray:
    """The number of connected components of the foreground (the Betti number 0).

    Args:
        mask: ``[b, *spatial]``, foreground where nonzero.
        connectivity: 1 joins pixels that share a face; the spatial rank joins those that share a corner too.

    Returns:
        int64 ``[b]``.

    Raises:
        ValueError: if a mask holds NaN or infinity.

    Example:
        >>> import numpy as np
        >>> component_count(np.array([[1, 0, 1], [0, 1, 1]])).tolist()
        [2, 1]
    """
    mask = np.asarray(mask)
    _check_known(mask)
    mask = mask != 0
    structure = ndimage.generate_binary_structure(mask.ndim - 1, connectivity)
    return np.asarray([ndimage.label(one, structure)[1] for one in mask], np.int64)


def component_count_error(
    prediction: np.ndarray | Array, target: np.ndarray | Array, *, connectivity: int = 1
) -> np.ndarray:
    """The difference in the number of connected components, ``|count(A) - count(B)|``.

    Args:
        prediction: ``[b, *spatial]``, foreground where nonzero.
        target: the same number of examples.
        connectivity: as in `component_count`.

    Returns:
        int64 ``[b]``.

    Raises:
        ValueError: if a mask holds NaN or infinity.

    Example:
        >>> import numpy as np
        >>> component_count_error(np.array([[1, 0, 1, 0, 1]]), np.array([[1, 1, 1, 0, 0]])).tolist()
        [2]
    """
    counts = [component_count(m, connectivity=connectivity) for m in (prediction, target)]
    return np.abs(counts[0] - counts[1])
