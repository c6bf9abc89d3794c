"""Volumes reconstructed without a prior: what is usual for each kind of scan, and total variation."""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.imaging.ct_scan import filtered
from jaxgen.imaging.filtered_backprojection import WINDOWS
from jaxgen.imaging.volumes import interpolate_slices, volumes_of
from jaxgen.medical.reconstruction.cases import Method
from jaxgen.medical.reconstruction.mri_scan import scan_operator
from jaxgen.medical.reconstruction.total_variation import total_variation
from jaxgen.medical.reconstruction.volume_scan import SliceScan, ThickScan, VolumeScan, volume_system
from jaxgen.types import Array

TV_WEIGHTS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
"""Of total variation, to choose from."""


def interpolated(scan: ThickScan, method: Literal["nearest", "linear", "cubic"]) -> np.ndarray:
    """Thick slices by interpolation, see `jaxgen.imaging.volumes.interpolate_slices`.

    Args:
        scan: the scan.
        method: "nearest" repeats each slice.

    Returns:
        ``[n, x, y, z, 1]`` in [-1, 1].

    Example:
        >>> from jaxgen.medical.reconstruction.volume_scan import average_slices
        >>> interpolated(average_slices(np.zeros((1, 2, 2, 6, 1), np.float32), 3), "cubic").shape
        (1, 2, 2, 6, 1)
    """
    return np.asarray(interpolate_slices(jnp.asarray(scan.y), scan.factor, method))


def filtered_slices(scan: SliceScan, window: str) -> np.ndarray:
    """Filtered back-projection of every slice, see `jaxgen.imaging.ct_scan.filtered`.

    Args:
        scan: of CT.
        window: one of `jaxgen.imaging.filtered_backprojection.WINDOWS`.

    Returns:
        ``[n, h, h, z, 1]`` in [-1, 1].

    Example:
        >>> from jaxgen.medical.reconstruction.volume_scan import view_slices
        >>> filtered_slices(view_slices(np.zeros((1, 8, 8, 2, 1), np.float32), 3), "hann").shape
        (1, 8, 8, 2, 1)
    """
    return np.asarray(volumes_of(jnp.asarray(filtered(scan.slices, window)), 2, scan.depth))


def zero_filled_slices(scan: SliceScan) -> np.ndarray:
    """Every slice of MRI with what was not measured taken as 0.

    Args:
        scan: of MRI, real images seen by one coil.

    Returns:
        ``[n, h, w, z, 1]``; [-1, 1] stands for [0, 1].

    Example:
        >>> x = np.zeros((1, 8, 8, 2, 1), np.float32)
        >>> from jaxgen.medical.reconstruction.volume_scan import sample_kspace
        >>> zero_filled_slices(sample_kspace(jax.random.split(jax.random.key(0), 1), x, "random", 2)).shape
        (1, 8, 8, 2, 1)
    """
    slices = scan_operator(scan.slices).adjoint(jnp.asarray(scan.slices.y))
    return np.asarray(volumes_of(2 * slices - 1, 2, scan.depth))


@functools.partial(jax.jit, static_argnums=2)
def smooth_volumes(scan: VolumeScan, weight: Array | float, iterations: int) -> Array:
    """Total variation in all three directions.

    Args:
        scan: the scan.
        weight: of the total variation.
        iterations: see `jaxgen.medical.reconstruction.total_variation`.

    Returns:
        ``[n, x, y, z, 1]`` in [-1, 1].

    Example:
        >>> from jaxgen.medical.reconstruction.volume_scan import average_slices
        >>> smooth_volumes(average_slices(np.zeros((1, 2, 2, 6, 1), np.float32), 3), 0.1, 2).shape
        (1, 2, 2, 6, 1)
    """
    options: dict[str, Any] = {"iterations": iterations, "squared_norm": 1.05, "minimum": -1.0}
    return jnp.clip(total_variation(*volume_system(scan), weight, **options), -1, 1)


USUAL: dict[str, tuple[Method, ...]] = {
    "thick": (
        Method("repetition", lambda scan, _: interpolated(scan, "nearest")),
        Method("linear", lambda scan, _: interpolated(scan, "linear")),
        Method("cubic", lambda scan, _: interpolated(scan, "cubic")),
    ),
    "ct": (Method("fbp", filtered_slices, tuple(WINDOWS)),),
    "mri": (Method("zero-filled", lambda scan, _: zero_filled_slices(scan)),),
}
"""What is usual, by problem (`jaxgen.medical.reconstruction.volume_scan.simulate`)."""
