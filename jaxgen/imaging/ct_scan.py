"""CT of slices scaled to [-1, 1]: views from all round, a few of them, or with metal in the body.

An image x in [-1, 1] stands for ``u = (x + 1) / 2``: attenuation over that of the brightest value kept, air 0.
Sinograms are integrals of u in pixels.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.imaging.filtered_backprojection import PARALLEL, WINDOWS, filtered_backprojection
from jaxgen.imaging.hounsfield import WATER
from jaxgen.imaging.metal import IRON, interpolate_trace, metal_trace, random_implants, simulate_metal
from jaxgen.imaging.operators import LinearOperator, squared_norm_bound
from jaxgen.imaging.projection import Geometry, covering, projection_operator
from jaxgen.imaging.radon import radon_operator
from jaxgen.types import Array, Key

AIR = -1000.0
"""Hounsfield units that x = -1 stands for."""


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("y", "keep", "angles", "scale"),
    meta_fields=("size", "geometry"),
)
@dataclasses.dataclass(frozen=True, eq=False)
class CTScan:
    """Measured slices; arrays of NumPy, or of JAX in a program, which `size` and `geometry` are fixed for.

    Attributes:
        y: sinograms ``[n, views, detectors]`` of u.
        keep: 1 where a ray is measured and to be trusted, of the same shape.
        angles: ``[views]``, radians.
        scale: 1 / the largest singular value of the projection along the views that are seen.
        size: side of the images in pixels.
        geometry: of the rays.
    """

    y: Any
    keep: Any
    angles: Any
    scale: Any
    size: int
    geometry: Geometry = PARALLEL

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.size, self.size

    def take(self, index: np.ndarray) -> "CTScan":
        """The slices of these numbers."""
        return dataclasses.replace(self, y=self.y[index], keep=self.keep[index])


def ct_scan(
    y: np.ndarray, angles: np.ndarray, size: int, *, keep: np.ndarray | None = None, geometry: Geometry = PARALLEL
) -> CTScan:
    """What was measured, with the scale that brings its operator to a norm of 1.

    Args:
        y: sinograms ``[n, views, detectors]`` of u.
        angles: ``[views]``, radians.
        size: side of the images in pixels.
        keep: 1 where a ray is measured and to be trusted, of the shape of `y`; everywhere if left out.
        geometry: of the rays.

    Returns:
        The scan.

    Example:
        >>> ct_scan(np.ones((1, 4, 12), np.float32), half_circle(4), 8).shape
        (8, 8)
    """
    keep = np.ones_like(y) if keep is None else keep
    seen = jnp.asarray(keep.max((0, 2)))
    scale = 1 / _largest_singular_value(geometry, size, y.shape[2], jnp.asarray(angles), seen)
    return CTScan(y, keep, angles, scale, size, geometry)


def half_circle(views: int) -> np.ndarray:
    """Angles evenly over half a circle.

    Example:
        >>> half_circle(2).round(3).tolist()
        [0.0, 1.5709999799728394]
    """
    return (np.arange(views) * np.pi / views).astype(np.float32)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _largest_singular_value(geometry: Geometry, size: int, count: int, angles: Array, seen: Array) -> Array:
    plain = projection_operator(geometry, size, angles, count)
    kept = seen[:, None].astype(jnp.float32)
    operator = LinearOperator(lambda x: kept * plain.forward(x), lambda y: plain.adjoint(kept * y))
    return jnp.sqrt(squared_norm_bound(operator, jax.random.key(0), (1, size, size, 1))[0])


def ct_system(scan: CTScan) -> tuple[LinearOperator, Array]:
    """What a scan says of images x in [-1, 1]: ``A x = b`` with a norm of A near 1.

    ``A x = scale keep P x`` and ``b = 2 scale keep y - A 1``, P the projection; 0 along rays that do not count.

    Args:
        scan: the scan.

    Returns:
        A, and b ``[n, views, detectors]``.

    Example:
        >>> x = np.zeros((1, 8, 8, 1), np.float32)
        >>> operator, y = ct_system(sparse_views(x, 3, 4))
        >>> bool(jnp.allclose(operator.forward(jnp.asarray(x)), y, atol=1e-5))
        True
    """
    plain = projection_operator(scan.geometry, scan.size, scan.angles, scan.y.shape[2])

    def forward(x: Array) -> Array:
        return scan.scale * scan.keep * plain.forward(x)

    operator = LinearOperator(forward, lambda y: plain.adjoint(scan.scale * scan.keep * y))
    return operator, 2 * scan.scale * scan.keep * scan.y - forward(jnp.ones((1, scan.size, scan.size, 1)))


@jax.jit
def _projected(x: Array, angles: Array) -> Array:
    return radon_operator(x.shape[1], angles).forward((x + 1) / 2)


def sparse_views(x: np.ndarray, views: int, most: int) -> CTScan:
    """A few parallel views of slices, without noise.

    Views that are not there fill it up to `most`, so that one program serves all numbers of views.

    Args:
        x: ``[n, h, h, 1]`` in [-1, 1].
        views: the number of views, evenly over half a circle.
        most: views in all.

    Returns:
        The scan.

    Example:
        >>> sparse_views(np.zeros((1, 8, 8, 1), np.float32), 2, 3).keep[0, :, 0].tolist()
        [1.0, 1.0, 0.0]
    """
    angles = np.pad(half_circle(views), (0, most - views))
    keep = np.zeros((len(x), most, covering(PARALLEL, x.shape[1])), np.float32)
    keep[:, :views] = 1
    y = np.concatenate([np.asarray(_projected(x[i : i + 1], angles)) for i in range(len(x))])
    return ct_scan(keep * y, angles, x.shape[1], keep=keep)


@functools.partial(jax.jit, static_argnums=(3, 4, 5, 6))
def _measured(
    key: Key, x: Array, mask: Array, views: int, high: float, pixel: float, photons: float
) -> tuple[Array, Array]:
    operator, density = radon_operator(x.shape[1], half_circle(views)), (high - AIR) / 1000
    hu = AIR + density * 1000 * (x + 1) / 2
    y = simulate_metal(key, hu, mask, operator, pixel=pixel, metal=IRON, photons=photons)
    return y / (WATER * pixel / 10 * density), metal_trace(operator, mask)


def with_metal(
    key: Key, x: np.ndarray, views: int, *, high: float, pixel: float, photons: float
) -> tuple[CTScan, np.ndarray]:
    """Slices with iron in them as a scanner measures them; the rays that pass through it do not count.

    Args:
        key: one key.
        x: slices ``[n, h, h, 1]`` in [-1, 1] without metal.
        views: the number of views, evenly over half a circle.
        high: Hounsfield units that x = 1 stands for.
        pixel: its width in mm.
        photons: per ray.

    Returns:
        The scan, and where the metal is, bool ``[n, h, h, 1]``.

    Example:
        >>> x = np.zeros((1, 16, 16, 1), np.float32)
        >>> scan, metal = with_metal(jax.random.key(0), x, 3, high=1500.0, pixel=25.0, photons=1e6)
        >>> bool(0 < scan.keep.mean() < 1), metal.shape
        (True, (1, 16, 16, 1))
    """
    mask = random_implants(np.random.default_rng(np.asarray(jax.random.key_data(key))), x)
    # A slice at a time: each is a function of its own number alone, and one program serves any number of them.
    found = [
        _measured(jax.random.fold_in(key, i)[None], x[i : i + 1], mask[i : i + 1], views, high, pixel, photons)
        for i in range(len(x))
    ]
    y, trace = (np.concatenate([np.asarray(pair[k]) for pair in found]) for k in (0, 1))
    return ct_scan(y, half_circle(views), x.shape[1], keep=1.0 - trace), mask


def filtered(scan: CTScan, window: str, y: np.ndarray | None = None) -> np.ndarray:
    """Filtered back-projection of the views that are measured.

    Args:
        scan: the scan.
        window: one of `jaxgen.imaging.filtered_backprojection.WINDOWS`.
        y: sinograms to take instead of the scan's.

    Returns:
        ``[n, h, w, 1]`` in [-1, 1].

    Example:
        >>> scan = sparse_views(np.zeros((1, 16, 16, 1), np.float32), 30, 30)
        >>> bool(abs(filtered(scan, "hann")[0, 8, 8, 0]) < 0.1)
        True
    """
    seen = scan.keep.max((0, 2)) > 0
    rows = jnp.asarray((scan.y if y is None else y)[:, seen])
    found = filtered_backprojection(rows, scan.angles[seen], scan.size, geometry=scan.geometry, window=WINDOWS[window])
    return np.clip(2 * np.asarray(found) - 1, -1, 1)


def interpolated(scan: CTScan) -> np.ndarray:
    """Sinograms whose rays that do not count are replaced by lines between their neighbours.

    Args:
        scan: the scan.

    Returns:
        ``[n, views, detectors]``.

    Reference:
        Kalender, Hebel and Ebersberger 1987, "Reduction of CT artifacts caused by metallic implants".

    Example:
        >>> y, keep = np.array([[[1.0, 9.0, 3.0]]], np.float32), np.array([[[1, 0, 1]]], np.float32)
        >>> interpolated(ct_scan(y, half_circle(1), 2, keep=keep))[0, 0].tolist()
        [1.0, 2.0, 3.0]
    """
    return np.asarray(jax.jit(interpolate_trace)(scan.y, scan.keep == 0))
