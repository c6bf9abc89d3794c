"""Line integrals through square images along straight rays, and their exact adjoint: what `radon` and `fan_beam` share.

Joseph's method: a ray that runs more down than across is sampled once on every row, by linear interpolation between two
neighbours of the row, else once on every column; the samples are added up and multiplied by the ray's length between
two rows. It needs interpolation in one direction only. Lines are walked in one loop that serves all views at once, and
the batch is the last axis, so that places and weights are found once for all images.

The adjoint walks over views and gathers at each pixel the rays that pass within a pixel of it, with the same weights: a
gather again, where the transposed loop would scatter. Each is the derivative of the other.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxgen.imaging.operators import LinearOperator
from jaxgen.types import Array


class Geometry(NamedTuple):
    """Where the rays of a view run, in pixels about the middle of the image.

    At an angle a the view looks along ``(sin a, cos a)`` (x to the right, y down), and the detector lies along
    ``(cos a, -sin a)``: at angle 0 the rays run down the columns. Detector k of n stands for the ray through the point
    ``u = (k - (n - 1) / 2) spacing`` of the line through the middle.

    Attributes:
        curvature: 1 / distance of the source from the middle; 0 for parallel rays.
        spacing: between two rays where they pass the middle, in pixels.
    """

    curvature: float = 0.0
    spacing: float = 1.0


class Rays(NamedTuple):
    """Rays, each sampled once a line: on line j at ``start + slope (j - middle)`` from the middle.

    Attributes:
        rows: whether the lines are the rows of the image, or its columns.
        start: where the ray passes the middle line.
        slope: pixels along from one line to the next.
        length: of the ray from one line to the next.
    """

    rows: Array
    start: Array
    slope: Array
    length: Array


def rays(geometry: Geometry, angle: Array, u: Array) -> Rays:
    """The rays of one view.

    Args:
        geometry: where they run.
        angle: of the view, in radians.
        u: which, in pixels along the line through the middle; any shape.

    Returns:
        Arrays that broadcast to the shape of `u`.

    Example:
        >>> round(float(rays(Geometry(), jnp.float32(jnp.pi / 4), jnp.float32(0)).length), 4)
        1.4142
    """
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    x, y, across, down = u * cosine, -u * sine, sine, cosine
    norm: Array | float = 1.0
    if geometry.curvature:
        tilt = geometry.curvature * u
        across, down, norm = sine + tilt * cosine, cosine - tilt * sine, jnp.sqrt(1 + tilt**2)
    rows = jnp.abs(down) >= jnp.abs(across)
    main = jnp.where(rows, down, across)
    slope = jnp.where(rows, across, down) / main
    start = jnp.where(rows, x - y * slope, y - x * slope)
    return Rays(rows, start, slope, norm / jnp.abs(main))


def passing(geometry: Geometry, angle: Array, x: Array, y: Array) -> Array:
    """Which ray of a view passes a point: ``u = p / (1 + curvature t)``, p along the detector and t along the view.

    Args:
        geometry: where the rays run.
        angle: of the view, in radians.
        x: to the right of the middle, in pixels.
        y: below the middle, in pixels.

    Returns:
        u, in pixels along the line through the middle.

    Example:
        >>> float(passing(Geometry(curvature=0.1), jnp.float32(0), jnp.float32(3), jnp.float32(-5)))
        6.0
    """
    along = x * jnp.cos(angle) - y * jnp.sin(angle)
    if not geometry.curvature:
        return along
    return along / (1 + geometry.curvature * (x * jnp.sin(angle) + y * jnp.cos(angle)))


def covering(geometry: Geometry, size: int) -> int:
    """How many detectors see the whole image: the least number, odd or even as `size` is.

    Example:
        >>> covering(Geometry(), 64), covering(Geometry(curvature=1 / 128), 64)
        (92, 98)
    """
    radius = size / math.sqrt(2)
    check_source(geometry, size)
    reach = radius / math.sqrt(1 - (geometry.curvature * radius) ** 2) / geometry.spacing
    count = math.ceil(2 * reach)
    return count + (count - size) % 2


def check_source(geometry: Geometry, size: int) -> None:
    """Refuse a source within the image.

    Raises:
        ValueError: if the source is no farther from the middle than the corners.

    Example:
        >>> check_source(Geometry(1 / 40), 64)
        Traceback (most recent call last):
        ...
        ValueError: the source, 40 pixels from the middle, lies within an image of 64; it must be farther than 47
    """
    if not geometry.spacing > 0 or not geometry.curvature >= 0:
        raise ValueError(f"distances must be positive, got {geometry}")
    if geometry.curvature * (size / math.sqrt(2) + 1) >= 1:
        raise ValueError(
            f"the source, {1 / geometry.curvature:g} pixels from the middle, lies within an image of {size}; "
            f"it must be farther than {math.ceil(size / math.sqrt(2) + 1)}"
        )


def projection_operator(
    geometry: Geometry, size: int, angles: ArrayLike, detectors: int | None = None
) -> LinearOperator:
    """Projection of images and its exact adjoint as a `LinearOperator`.

    Args:
        geometry: where the rays run.
        size: side of the images in pixels.
        angles: ``[views]``, radians.
        detectors: how many rays a view; None for as many as see the whole image, see `covering`.

    Returns:
        ``forward(x [b, size, size, 1]) -> [b, views, detectors]``, integrals in pixels, and its adjoint.

    Raises:
        ValueError: if the numbers make no sense; when called, if an array has another shape or is not real and
            floating.

    Example:
        >>> operator = projection_operator(Geometry(), 8, jnp.array([0.0, 1.0]))
        >>> operator.forward(jnp.ones((1, 8, 8, 1))).shape
        (1, 2, 12)
    """
    check_source(geometry, size)
    views = checked_angles(angles)
    count = covering(geometry, size) if detectors is None else detectors
    if size < 1 or count < 1:
        raise ValueError(f"there must be pixels and detectors, got {size} and {count}")

    def forward(x: Array) -> Array:
        if x.ndim != 4 or x.shape[1:] != (size, size, 1):
            raise ValueError(f"images must be [b, {size}, {size}, 1] (square, one channel), got {x.shape}")
        return project(geometry, _real(x, "images")[..., 0], views, count)

    def adjoint(y: Array) -> Array:
        y = checked_sinogram(y, views)
        if y.shape[2] != count:
            raise ValueError(f"the sinogram has {y.shape[2]} detectors, the operator {count}; got {y.shape}")
        return backproject(geometry, y, views, size)[..., None]

    return LinearOperator(forward, adjoint)


def checked_angles(angles: ArrayLike) -> Array:
    """Angles as an array ``[views]``.

    Raises:
        ValueError: if they are not a list of real numbers.

    Example:
        >>> checked_angles(jnp.zeros((2, 3)))
        Traceback (most recent call last):
        ...
        ValueError: angles must be a list [views] of real numbers in radians, got float32 of shape (2, 3)
    """
    found = jnp.asarray(angles)
    if found.ndim != 1 or not len(found) or jnp.iscomplexobj(found):
        raise ValueError(
            f"angles must be a list [views] of real numbers in radians, got {found.dtype} of shape {found.shape}"
        )
    if not isinstance(found, jax.core.Tracer) and not np.isfinite(np.asarray(found)).all():
        raise ValueError("angles must be finite; some are NaN or infinite")
    return found if jnp.issubdtype(found.dtype, jnp.floating) else found.astype(jnp.float32)


def checked_sinogram(sinogram: Array, angles: Array) -> Array:
    """A sinogram that has a row for each angle.

    Raises:
        ValueError: if not, or if it is not real and floating.

    Example:
        >>> checked_sinogram(jnp.zeros((1, 20, 30)), jnp.zeros(30))
        Traceback (most recent call last):
        ...
        ValueError: a sinogram of 30 angles must be [b, 30, detectors], got (1, 20, 30)
    """
    if sinogram.ndim != 3 or sinogram.shape[1] != len(angles):
        raise ValueError(
            f"a sinogram of {len(angles)} angles must be [b, {len(angles)}, detectors], got {sinogram.shape}"
        )
    return _real(sinogram, "sinograms")


def _real(x: Array, what: str) -> Array:
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"{what} must be real floating numbers, got {x.dtype}")
    return x


def _taps(geometry: Geometry, size: int) -> int:
    """How many detectors to either side of a pixel's own have rays within a pixel of it along a row or a column."""
    radius, turn = size / math.sqrt(2) + 1, np.linspace(0, 2 * np.pi, 720)
    depth, aside = 1 + geometry.curvature * radius * np.cos(turn), radius * np.sin(turn)
    steepest = np.max(np.sqrt(1 + (geometry.curvature * aside / depth) ** 2) / depth)
    return math.ceil(float(steepest) / geometry.spacing - 1e-6)


def _detectors(geometry: Geometry, count: int, dtype: Any) -> Array:
    return (jnp.arange(count, dtype=dtype) - (count - 1) / 2) * geometry.spacing


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 3))
def project(geometry: Geometry, x: Array, angles: Array, detectors: int) -> Array:
    """Line integrals of images.

    Args:
        geometry: where the rays run.
        x: ``[b, n, n]``.
        angles: ``[views]``, radians. Derivatives with respect to them are not defined, and given as 0.
        detectors: how many rays a view.

    Returns:
        ``[b, views, detectors]``.

    Reference:
        Joseph 1982, "An improved algorithm for reprojecting rays through pixel images".

    Example:
        >>> project(Geometry(), jnp.ones((1, 4, 4)), jnp.zeros(1), 4)[0, 0].tolist()
        [4.0, 4.0, 4.0, 4.0]
    """
    return _project(geometry, x, angles, detectors)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 3))
def backproject(geometry: Geometry, y: Array, angles: Array, size: int) -> Array:
    """The adjoint of `project`: ``<A x, y> = <x, A' y>`` to rounding.

    Args:
        geometry: where the rays run.
        y: ``[b, views, detectors]``.
        angles: ``[views]``, radians.
        size: side of the images in pixels.

    Returns:
        ``[b, size, size]``.

    Example:
        >>> backproject(Geometry(), jnp.ones((1, 1, 4)), jnp.zeros(1), 4)[0, 0].tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    return _backproject(geometry, y, angles, size)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _project(geometry: Geometry, x: Array, angles: Array, detectors: int) -> Array:
    b, n, _ = x.shape
    of_view = functools.partial(rays, geometry, u=_detectors(geometry, detectors, x.dtype))
    found = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (len(angles), detectors)),
        jax.vmap(of_view)(angles.astype(x.dtype)[:, None]),
    )
    images = jnp.moveaxis(x, 0, -1)
    # On line j: column j and row j of every image, each between two zeros.
    lines = jnp.pad(jnp.stack([jnp.swapaxes(images, 0, 1), images], 1), ((0, 0), (0, 0), (1, 1), (0, 0)))
    lines = lines.reshape(n, 2 * (n + 2), b)
    first = 1 + (n + 2) * found.rows.astype(jnp.int32)

    def add(total: Array, line: tuple[Array, Array]) -> tuple[Array, None]:
        values, offset = line
        place = found.start + found.slope * offset + (n - 1) / 2
        left = jnp.clip(jnp.floor(place), -1, n - 1).astype(jnp.int32)
        # Found once: two roundings of one place on either side of a whole number would take two different neighbours.
        left = lax.optimization_barrier(left)
        weight = jnp.clip(place - left, 0, 1)[..., None]
        a, c = (values.at[first + left + k].get(mode="promise_in_bounds") for k in (0, 1))
        return total + a + weight * (c - a), None

    offsets = jnp.arange(n, dtype=x.dtype) - (n - 1) / 2
    total, _ = lax.scan(add, jnp.zeros((len(angles), detectors, b), x.dtype), (lines, offsets), unroll=4)
    return jnp.moveaxis(total * found.length[..., None], -1, 0)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _backproject(geometry: Geometry, y: Array, angles: Array, size: int) -> Array:
    b, _, detectors = y.shape
    taps = _taps(geometry, size)
    views = jnp.pad(jnp.moveaxis(y, 0, -1), ((0, 0), (taps, taps), (0, 0)))  # nothing beyond the detector
    coordinate = jnp.arange(size, dtype=y.dtype) - (size - 1) / 2
    px, py = coordinate[None, :], coordinate[:, None]
    middle = (detectors - 1) / 2

    def add(total: Array, view: tuple[Array, Array]) -> tuple[Array, None]:
        values, angle = view
        place = passing(geometry, angle, px, py) / geometry.spacing + middle
        nearest = lax.optimization_barrier(jnp.clip(jnp.floor(place), -1, detectors - 1).astype(jnp.int32))
        for k in range(1 - taps, taps + 1):
            ray = rays(geometry, angle, (nearest + k - middle) * geometry.spacing)
            on, off = jnp.where(ray.rows, px, py), jnp.where(ray.rows, py, px)
            weight = ray.length * jnp.maximum(0, 1 - jnp.abs(on - ray.start - ray.slope * off))
            total = total + weight[..., None] * values.at[nearest + k + taps].get(mode="promise_in_bounds")
        return total, None

    total, _ = lax.scan(add, jnp.zeros((size, size, b), y.dtype), (views, angles.astype(y.dtype)))
    return jnp.moveaxis(total, -1, 0)


def _project_forward(geometry: Geometry, x: Array, angles: Array, detectors: int) -> tuple[Array, Any]:
    return _project(geometry, x, angles, detectors), (angles, x.shape[-1])


def _project_backward(geometry: Geometry, detectors: int, kept: Any, cotangent: Array) -> tuple[Array, Array]:
    angles, size = kept
    return backproject(geometry, cotangent, angles, size), jnp.zeros_like(angles)


def _backproject_forward(geometry: Geometry, y: Array, angles: Array, size: int) -> tuple[Array, Any]:
    return _backproject(geometry, y, angles, size), (angles, y.shape[-1])


def _backproject_backward(geometry: Geometry, size: int, kept: Any, cotangent: Array) -> tuple[Array, Array]:
    angles, detectors = kept
    return project(geometry, cotangent, angles, detectors), jnp.zeros_like(angles)


project.defvjp(_project_forward, _project_backward)
backproject.defvjp(_backproject_forward, _backproject_backward)
