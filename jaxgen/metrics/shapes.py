"""How alike the shapes of volumes are: volume, surface, roughness, and how much a set of them differs in itself."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from scipy import ndimage


def surface_area(mask: np.ndarray) -> float:
    """The faces between voxels inside and outside a volume, those on the border of the array among them.

    Args:
        mask: ``[x, y, z]``, not zero inside.

    Example:
        >>> surface_area(np.ones((1, 1, 2)))
        10.0
    """
    padded = np.pad(np.asarray(mask) != 0, 1)
    return float(sum(np.count_nonzero(np.diff(padded, axis=axis)) for axis in range(padded.ndim)))


def roughness(mask: np.ndarray, smoothing: float = 1.5) -> float:
    """The surface of a volume over that of its smoothed self: Gaussian filter, then a half as threshold.

    Args:
        mask: ``[x, y, z]``, not zero inside.
        smoothing: standard deviation of the filter, voxels.

    Returns:
        About 1 for a smooth shape, more for a rough one; 1 where smoothing leaves nothing.

    Example:
        >>> smooth = np.linalg.norm(np.indices((16, 16, 16)) - 7.5, axis=0) < 6
        >>> rough = smooth & (np.random.default_rng(0).random(smooth.shape) < 0.8)
        >>> round(roughness(smooth), 2), roughness(rough) > 2
        (1.17, True)
    """
    inside = np.asarray(mask) != 0
    smoothed = ndimage.gaussian_filter(inside.astype(np.float32), smoothing, mode="constant") > 0.5
    return surface_area(inside) / surface_area(smoothed) if smoothed.any() else 1.0


def dice_of(a: np.ndarray, b: np.ndarray) -> float:
    """Dice of two volumes, 1 for two empty ones.

    Example:
        >>> dice_of(np.array([1, 1, 0]), np.array([1, 0, 0])) == 2 / 3
        True
    """
    a, b = np.asarray(a) != 0, np.asarray(b) != 0
    total = a.sum() + b.sum()
    return float(2 * (a & b).sum() / total) if total else 1.0


def shape_errors(found: np.ndarray, true: np.ndarray) -> Mapping[str, float]:
    """Dice with the true volume, and the relative errors of volume, surface and roughness.

    Args:
        found: ``[x, y, z]``, not zero inside.
        true: the same, not empty.

    Returns:
        ``dice``, and ``volume_error``, ``surface_error`` and ``roughness_error`` as ``|found - true| / true``.

    Raises:
        ValueError: if nothing is in the true volume.

    Reference:
        Waibel et al. 2022, "A diffusion model predicts 3D shapes from 2D microscopy images", arXiv 2208.14125, section
        3, which compares these.

    Example:
        >>> true = np.zeros((4, 4, 4))
        >>> true[1:3, 1:3, 1:3] = 1
        >>> shape_errors(np.pad(true, 0) * (np.arange(4) < 2), true)["volume_error"]
        0.5
    """
    measures = {"volume": lambda x: float((x != 0).sum()), "surface": surface_area, "roughness": roughness}
    values = {name: (measure(found), measure(true)) for name, measure in measures.items()}
    if not values["volume"][1]:
        raise ValueError("nothing is in the true volume")
    errors = {f"{name}_error": abs(a - b) / b for name, (a, b) in values.items()}
    return {"dice": dice_of(found, true), **errors}


def spread_of(masks: np.ndarray) -> float:
    """How much volumes of one slice differ: 1 less the mean Dice of two of them.

    Args:
        masks: ``[m, x, y, z]``, two or more.

    Example:
        >>> spread_of(np.array([[1, 1], [1, 1], [1, 1]])), spread_of(np.array([[1, 0], [0, 1]]))
        (0.0, 1.0)
    """
    return 1 - float(np.mean([dice_of(a, b) for a, b in combinations(masks, 2)]))
