"""From an image and its reconstruction to a map of anomalies, and from a map to a mask.

A map is ``[b, *spatial]``, higher where a pixel is more anomalous. The residuals take NumPy or JAX and give the same;
what cleans a map works on the host, in NumPy. Thresholds are chosen on validation images, never on those that are
evaluated.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from jaxgen.types import Array


def absolute_residual(x: Any, restored: Any) -> Any:
    """The residual ``mean_c |x - restored|``.

    Args:
        x: images ``[b, *spatial, c]``, NumPy or JAX.
        restored: their reconstructions.

    Returns:
        ``[b, *spatial]``.

    Example:
        >>> absolute_residual(np.array([[[1.0, 3.0]]]), np.array([[[2.0, 0.0]]])).tolist()
        [[2.0]]
    """
    return abs(x - restored).mean(-1)


def brighter_residual(x: Any, restored: Any) -> Any:
    """The residual ``mean_c max(x - restored, 0)``: for lesions that are known to be bright, such as those in FLAIR.

    With its arguments exchanged, for lesions that are dark.

    Args:
        x: images ``[b, *spatial, c]``, NumPy or JAX.
        restored: their reconstructions.

    Returns:
        ``[b, *spatial]``.

    Reference:
        Baur et al. 2021, "Autoencoders for unsupervised anomaly segmentation in brain MR images: a comparative study".

    Example:
        >>> brighter_residual(np.array([[[1.0, 3.0]]]), np.array([[[2.0, 0.0]]])).tolist()
        [[1.5]]
    """
    change = x - restored
    with np.errstate(invalid="ignore"):
        return (change.clip(0) + 0 * change).mean(-1)  # what is restored as infinite is NaN, not healthy


def squared_residual(x: Any, restored: Any) -> Any:
    """The residual ``mean_c (x - restored)^2``: it orders the pixels of one channel as `absolute_residual` does.

    Args:
        x: images ``[b, *spatial, c]``, NumPy or JAX.
        restored: their reconstructions.

    Returns:
        ``[b, *spatial]``.

    Example:
        >>> squared_residual(np.array([[[1.0, 3.0]]]), np.array([[[2.0, 0.0]]])).tolist()
        [[5.0]]
    """
    return ((x - restored) ** 2).mean(-1)


def perceptual_residual(features: Callable[[Array], Sequence[Array]], x: Array, restored: Array) -> Array:
    """How differently a network sees an image and what was made of it, pixel by pixel.

    ``sum_l enlarge(mean_c (f_l(x) / |f_l(x)| - f_l(y) / |f_l(y)|)^2)``: the distance of
    `jaxgen.losses.perceptual_distance` before its mean over positions, each layer enlarged to the image linearly.

    Args:
        features: ``images [b, *spatial, c] -> (layer [b, *spatial_l, c_l], ...)``.
        x: images ``[b, *spatial, c]``.
        restored: their reconstructions.

    Returns:
        Float32 ``[b, *spatial]``.

    Reference:
        Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric", eq. 1.

    Example:
        >>> perceptual_residual(lambda x: (x[:, ::2],), jnp.ones((1, 4, 2)), jnp.ones((1, 4, 2))).tolist()
        [[0.0, 0.0, 0.0, 0.0]]
    """

    def unit(a: Array) -> Array:
        a = a.astype(jnp.float32)
        return a / (jnp.linalg.norm(a, axis=-1, keepdims=True) + 1e-10)

    total = jnp.zeros(x.shape[:-1], jnp.float32)
    for a, b in zip(features(x), features(restored), strict=True):
        total += jax.image.resize(jnp.mean((unit(a) - unit(b)) ** 2, -1), x.shape[:-1], "linear")
    return total


def foreground(x: np.ndarray | Array, floor: float) -> np.ndarray:
    """Where any channel is above the floor.

    Args:
        x: images ``[b, *spatial, c]``.
        floor: in the unit of the images.

    Returns:
        Booleans ``[b, *spatial]``.

    Example:
        >>> foreground(np.array([[[0.0], [0.5]]]), 0.1).tolist()
        [[False, True]]
    """
    return np.asarray((np.asarray(x) > floor).any(-1))


def median_filter(score: np.ndarray | Array, width: int = 3) -> np.ndarray:
    """The median of a map over a square or cube round each pixel: it takes away what is one pixel wide.

    Args:
        score: ``[b, *spatial]``.
        width: side of the window in pixels, odd.

    Returns:
        An array of the shape of `score`; at the border the map is mirrored. NaN wherever the window holds NaN or
        infinity.

    Raises:
        ValueError: if the width is even: the window would have no middle.

    Example:
        >>> median_filter(np.array([[0.0, 9.0, 1.0, 2.0]])).tolist()
        [[0.0, 1.0, 2.0, 2.0]]
    """
    if width % 2 == 0:
        raise ValueError(f"a median over {width} pixels has no middle: give an odd width")
    score = np.asarray(score)
    window = (1,) + (width,) * (score.ndim - 1)
    bad = ~np.isfinite(score)
    if not bad.any():
        return ndimage.median_filter(score, window)
    found = ndimage.median_filter(np.where(bad, 0, score), window)
    found[ndimage.maximum_filter(bad, window)] = np.nan
    return found


def erode(mask: np.ndarray | Array, iterations: int = 1) -> np.ndarray:
    """Take layers of pixels off the border of masks, and off the border of the image.

    The edge of the brain is where residuals of healthy images are largest. What lies there is given up: a lesion of the
    cortex is lost with it.

    Args:
        mask: ``[b, *spatial]``, foreground where nonzero.
        iterations: how many; Behrendt et al. 2023 take a 25th of the image's side.

    Returns:
        Booleans ``[b, *spatial]``.

    Reference:
        Baur et al. 2021, "Autoencoders for unsupervised anomaly segmentation in brain MR images".

    Example:
        >>> erode(np.array([[1, 1, 1, 1, 1, 0]])).tolist()
        [[False, True, True, True, False, False]]
    """
    inside = np.asarray(mask) != 0
    if iterations < 1:
        return inside
    structure = ndimage.generate_binary_structure(inside.ndim - 1, 1)
    return np.stack([ndimage.binary_erosion(one, structure, iterations) for one in inside])


def clean(score: np.ndarray | Array, within: np.ndarray | Array, *, width: int = 3) -> np.ndarray:
    """A map made ready to be evaluated: a median, and 0 outside of the foreground.

    Args:
        score: ``[b, *spatial]``, 0 or more.
        within: ``[b, *spatial]``, nonzero where to look, such as the (eroded) mask of the brain.
        width: of the median in pixels, odd; 1 for none.

    Returns:
        ``[b, *spatial]``.

    Example:
        >>> clean(np.array([[2.0, 9.0, 1.0, 3.0]]), np.array([[1, 1, 0, 1]])).tolist()
        [[2.0, 2.0, 0.0, 3.0]]
    """
    with np.errstate(invalid="ignore"):
        return median_filter(score, width) * (np.asarray(within) != 0)


def healthy_threshold(score: np.ndarray | Array, within: np.ndarray | Array, *, rate: float = 0.01) -> float:
    """The threshold that a share of the pixels of healthy validation images exceeds.

    Args:
        score: maps of healthy images ``[n, *spatial]``.
        within: ``[n, *spatial]``, nonzero where to look.
        rate: the share of false positives that is put up with.

    Returns:
        The threshold: what is above is anomalous. NaN where a score is NaN or infinite.

    Raises:
        ValueError: if there is nowhere to look.

    Example:
        >>> healthy_threshold(np.arange(101.0)[None], np.ones((1, 101)), rate=0.05)
        95.0
    """
    inside = np.asarray(score)[np.asarray(within) != 0]
    if inside.size == 0:
        raise ValueError("no pixel of the validation images is in the foreground: check the mask")
    if not np.isfinite(inside).all():
        return float("nan")
    return float(np.quantile(inside, 1 - rate))


def dice_threshold(score: np.ndarray | Array, mask: np.ndarray | Array) -> tuple[float, float]:
    """The threshold of the largest Dice, pooled over pixels, and that Dice.

    On validation images, with true lesions or with artificial ones, it chooses a threshold. On the images that are
    evaluated the Dice is an upper bound that no threshold chosen beforehand can exceed.

    Args:
        score: ``[n, *spatial]``.
        mask: lesions, nonzero, of the same shape.

    Returns:
        The pair (threshold, Dice): scores at or above the threshold are lesion. NaN both where a score is NaN or
        infinite.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> dice_threshold(np.array([[0.1, 0.9, 0.8, 0.7]]), np.array([[0, 1, 0, 1]]))
        (0.7, 0.8)
    """
    score, mask = np.asarray(score), np.asarray(mask) != 0
    if score.shape != mask.shape:
        raise ValueError(f"scores of {score.shape} for masks of {mask.shape}")
    if not np.isfinite(score).all():
        return float("nan"), float("nan")
    order = np.argsort(score.ravel(), kind="stable")[::-1]
    ranked, hit = score.ravel()[order], np.cumsum(mask.ravel()[order])
    overlap = 2 * hit / (np.arange(1, len(hit) + 1) + hit[-1])
    # A group of equal scores is above the threshold together.
    overlap[:-1][ranked[1:] == ranked[:-1]] = -1
    best = int(overlap.argmax())
    return float(ranked[best]), float(overlap[best])


def remove_small(mask: np.ndarray | Array, least: int, *, connectivity: int = 1) -> np.ndarray:
    """Take the connected components of fewer than `least` pixels out of masks.

    Args:
        mask: ``[b, *spatial]``, foreground where nonzero.
        least: pixels that a component must have to stay.
        connectivity: 1 joins pixels that share a face; the spatial rank joins those that share a corner too.

    Returns:
        Booleans ``[b, *spatial]``.

    Example:
        >>> remove_small(np.array([[1, 1, 0, 1]]), 2).tolist()
        [[True, True, False, False]]
    """
    mask = np.asarray(mask) != 0
    structure = ndimage.generate_binary_structure(mask.ndim - 1, connectivity)

    def kept(one: np.ndarray) -> np.ndarray:
        label, _ = ndimage.label(one, structure)
        large = np.bincount(label.ravel()) >= least
        large[0] = False
        return large[label]

    return np.stack([kept(one) for one in mask])
