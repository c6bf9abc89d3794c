"""Volumes in [-1, 1] measured in thick slices, or slice by slice across z as images are; the system that each poses."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.imaging.ct_scan import CTScan, ct_system, sparse_views
from jaxgen.imaging.operators import LinearOperator
from jaxgen.imaging.volumes import slices_of, slicewise, thick_slices
from jaxgen.medical.reconstruction.mri_scan import mri_system, simulate_real
from jaxgen.types import Array


@functools.partial(jax.tree_util.register_dataclass, data_fields=("y",), meta_fields=("factor",))
@dataclasses.dataclass(frozen=True, eq=False)
class ThickScan:
    """Volumes whose slices along z are thick; arrays of NumPy, or of JAX in a program.

    Attributes:
        y: ``[n, x, y, z / factor, 1]``, means of the thin slices.
        factor: how many thin slices make a thick one.
    """

    y: Any
    factor: int

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of a volume along each axis, with thin slices."""
        _, x, y, z, _ = self.y.shape
        return x, y, z * self.factor

    def take(self, index: np.ndarray) -> "ThickScan":
        """The volumes of these numbers."""
        return dataclasses.replace(self, y=self.y[index])


@functools.partial(jax.tree_util.register_dataclass, data_fields=("slices",), meta_fields=("depth",))
@dataclasses.dataclass(frozen=True, eq=False)
class SliceScan:
    """Volumes measured slice by slice across z.

    Attributes:
        slices: a `CTScan` or `MRIScan` of all slices, those of one volume after those of the one before.
        depth: z, the number of slices of a volume.
    """

    slices: Any
    depth: int

    def __len__(self) -> int:
        return len(self.slices) // self.depth

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of a volume along each axis."""
        return *self.slices.shape, self.depth

    def take(self, index: np.ndarray) -> "SliceScan":
        """The volumes of these numbers."""
        numbers = self.depth * np.asarray(index)[:, None] + np.arange(self.depth)
        return dataclasses.replace(self, slices=self.slices.take(numbers.ravel()))


VolumeScan = ThickScan | SliceScan


def average_slices(x: np.ndarray, factor: int) -> ThickScan:
    """Volumes seen in thick slices, without noise.

    Args:
        x: ``[n, x, y, z, 1]`` in [-1, 1]; z a multiple of the factor.
        factor: how many thin slices make a thick one.

    Returns:
        The scan.

    Example:
        >>> average_slices(np.zeros((2, 4, 4, 6, 1), np.float32), 3).shape
        (4, 4, 6)
    """
    return ThickScan(np.asarray(thick_slices(factor).forward(jnp.asarray(x))), factor)


def view_slices(x: np.ndarray, views: int) -> SliceScan:
    """Every slice across z seen from the same few parallel views, without noise.

    Args:
        x: ``[n, h, h, z, 1]`` in [-1, 1].
        views: the number of views, evenly over half a circle.

    Returns:
        The scan.

    Example:
        >>> view_slices(np.zeros((1, 8, 8, 2, 1), np.float32), 3).shape
        (8, 8, 2)
    """
    return SliceScan(sparse_views(np.asarray(slices_of(jnp.asarray(x), 2)), views, views), x.shape[3])


def sample_kspace(keys: Array, x: np.ndarray, kind: str, acceleration: float) -> SliceScan:
    """A part of the k-space of every slice across z, by one coil and without noise; one mask for a volume.

    Args:
        keys: one per volume, ``[n]``.
        x: ``[n, h, w, z, 1]`` in [-1, 1].
        kind: the family of the masks, one of `jaxgen.imaging.sampling_masks.MASKS`.
        acceleration: how many times fewer samples.

    Returns:
        The scan.

    Example:
        >>> x = np.zeros((1, 8, 8, 2, 1), np.float32)
        >>> sample_kspace(jax.random.split(jax.random.key(0), 1), x, "random", 2).shape
        (8, 8, 2)
    """
    of_slices = keys[np.repeat(np.arange(len(x)), x.shape[3])]
    return SliceScan(simulate_real(of_slices, np.asarray(slices_of(jnp.asarray(x), 2)), kind, acceleration), x.shape[3])


def simulate(problem: str, keys: Array, x: np.ndarray, amount: int) -> VolumeScan:
    """Volumes as they are measured in one of the problems.

    Args:
        problem: "thick" slices, "ct" or "mri" (random lines).
        keys: one per volume, ``[n]``.
        x: ``[n, x, y, z, 1]`` in [-1, 1].
        amount: the factor, the number of views or the acceleration.

    Returns:
        The scan.

    Example:
        >>> x = np.zeros((1, 8, 8, 6, 1), np.float32)
        >>> simulate("thick", jax.random.split(jax.random.key(0), 1), x, 3).y.shape
        (1, 8, 8, 2, 1)
    """
    if problem == "thick":
        return average_slices(x, amount)
    return view_slices(x, amount) if problem == "ct" else sample_kspace(keys, x, "random", amount)


def volume_system(scan: VolumeScan) -> tuple[LinearOperator, Array]:
    """What a scan says of volumes x in [-1, 1]: ``A x = y`` with a norm of A near 1.

    Thick slices are multiplied by the root of the factor: then ``A A' = 1``.

    Args:
        scan: the scan.

    Returns:
        A, and y ``[n, ...]``.

    Example:
        >>> x = np.arange(48, dtype=np.float32).reshape(1, 2, 4, 6, 1)
        >>> operator, y = volume_system(average_slices(x, 3))
        >>> bool(jnp.allclose(operator.forward(jnp.asarray(x)), y))
        True
    """
    if isinstance(scan, ThickScan):
        means, root = thick_slices(scan.factor), float(np.sqrt(scan.factor))
        operator = LinearOperator(lambda x: root * means.forward(x), lambda y: root * means.adjoint(y))
        return operator, root * jnp.asarray(scan.y)
    system = ct_system(scan.slices) if isinstance(scan.slices, CTScan) else mri_system(scan.slices)
    operator, y = slicewise(system[0], scan.depth), system[1]
    return operator, y.reshape(-1, scan.depth, *y.shape[1:])
