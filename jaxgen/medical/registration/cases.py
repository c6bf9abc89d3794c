"""What registered pairs are measured by: overlap of structures, folds, errors, and the way that images take."""

import jax.numpy as jnp
import numpy as np

from jaxgen.medical.registration.errors import endpoint_error
from jaxgen.medical.registration.jacobian import folded_share
from jaxgen.medical.registration.transformer import warp
from jaxgen.metrics.overlap import dice

FALL = 1e-4
"""By how much a correlation may fall from one step to the next and still count as rising."""


def label_overlap(flow: np.ndarray, moving: np.ndarray, fixed: np.ndarray, labels: int) -> np.ndarray:
    """Dice of each structure after registration; the labels of the moving image are moved by the nearest voxel.

    Args:
        flow: ``[n, *spatial, r]`` in voxels.
        moving: label map of the moving image ``[n, *spatial]``, whole numbers, 0 for the background.
        fixed: that of the fixed image.
        labels: the number of structures, 1 to `labels`.

    Returns:
        Float32 ``[n, labels]``; NaN for a structure that neither image has.

    Example:
        >>> moving = np.array([[[0, 1, 1, 0]] * 3])
        >>> label_overlap(np.zeros((1, 3, 4, 2)), moving, moving, 2).tolist()
        [[1.0, nan]]
    """
    moved = np.asarray(warp(jnp.asarray(moving[..., None]), jnp.asarray(flow), order=0))[..., 0]
    axes = tuple(range(1, moved.ndim))
    found = []
    for label in range(1, labels + 1):
        there = (moved == label).any(axes) | (fixed == label).any(axes)
        found.append(np.where(there, np.asarray(dice(moved == label, fixed == label)), np.nan))
    return np.stack(found, axis=1)


def pair_metrics(
    flow: np.ndarray, moving: np.ndarray, fixed: np.ndarray, labels: int, truth: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """What is measured of each registered pair.

    Args:
        flow: ``[n, *spatial, r]`` in voxels.
        moving: label map of the moving image ``[n, *spatial]``.
        fixed: that of the fixed image; what is not 0 is the foreground.
        labels: the number of structures.
        truth: the true field, where it is known.

    Returns:
        ``[n]`` each: ``dice``, the mean over structures; ``folds``, percent of the foreground; and with a `truth`
        ``epe``, the mean distance to it in the foreground, in voxels.

    Example:
        >>> labels = np.ones((1, 4, 4), np.uint8)
        >>> flow = np.zeros((1, 4, 4, 2), np.float32)
        >>> {name: float(value[0]) for name, value in pair_metrics(flow, labels, labels, 1, flow + [3, 4]).items()}
        {'dice': 1.0, 'folds': 0.0, 'epe': 5.0}
    """
    found = {
        "dice": np.nanmean(label_overlap(flow, moving, fixed, labels), axis=1),
        "folds": 100 * np.asarray(folded_share(jnp.asarray(flow), jnp.asarray(fixed))),
    }
    if truth is not None:
        found["epe"] = np.asarray(endpoint_error(*map(jnp.asarray, (flow, truth, fixed))))
    return found


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's correlation of the values of two images, 0 where one is constant.

    Args:
        a: ``[n, ...]``.
        b: the same shape.

    Returns:
        Float64 ``[n]``.

    Example:
        >>> correlation(np.array([[0.0, 1.0, 2.0]]), np.array([[5.0, 4.0, 3.0]])).round(6).tolist()
        [-1.0]
    """
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (a, b))
    a, b = (x - x.mean(1, keepdims=True) for x in (a, b))
    size = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(1) / np.where(size > 0, size, 1)


def trajectory_metrics(flows: np.ndarray, moving: np.ndarray, fixed: np.ndarray) -> dict[str, np.ndarray]:
    """How a field grows from no share of the way to all of it.

    Args:
        flows: ``[steps, n, *spatial, r]``, the first for a share of 0, the last for 1.
        moving: images ``[n, *spatial, 1]``.
        fixed: the same shape.

    Returns:
        ``[n]`` each: ``monotone``, 1 where the correlation of the warped image with the fixed one never falls;
        ``rest``, ``|u_0| / |u_1|``, which is 0 if nothing moves at a share of 0; ``cosine``, the mean cosine of the
        angle between the fields in between and the last.

    Example:
        >>> flow = np.ones((1, 4, 4, 2), np.float32)
        >>> x = np.tile(np.arange(4.0), 4).reshape(1, 4, 4, 1)
        >>> found = trajectory_metrics(np.stack([0 * flow, 0.5 * flow, flow]), x, x)
        >>> [round(float(found[name][0]), 3) for name in ("rest", "cosine")]
        [0.0, 1.0]
    """
    ways = np.stack([correlation(np.asarray(warp(jnp.asarray(moving), jnp.asarray(flow))), fixed) for flow in flows])
    flat = flows.reshape(*flows.shape[:2], -1).astype(np.float64)
    size = np.maximum(np.linalg.norm(flat, axis=-1), 1e-12)
    angles = (flat[1:-1] * flat[-1]).sum(-1) / (size[1:-1] * size[-1])
    rising = (np.diff(ways, axis=0) >= -FALL).all(0)
    return {"monotone": rising.astype(np.float64), "rest": size[0] / size[-1], "cosine": angles.mean(0)}
