"""What the CT experiment measures with: views of slices scaled to [-1, 1], sparse or with metal, and their operator.

An image x in [-1, 1] stands for ``u = (x + 1) / 2``: attenuation over that of the brightest value kept, air 0.
Sinograms are integrals of u in pixels.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.data import checks
from jaxgen.data.arrays import read_npz
from jaxgen.data.image import Image
from jaxgen.errors import UserError
from jaxgen.imaging.fan_beam import fan_beam_geometry
from jaxgen.imaging.filtered_backprojection import PARALLEL
from jaxgen.imaging.hounsfield import WATER
from jaxgen.imaging.metal import IRON, interpolate_trace, metal_trace, simulate_metal
from jaxgen.imaging.operators import LinearOperator, squared_norm_bound
from jaxgen.imaging.projection import Geometry, covering, projection_operator
from jaxgen.imaging.radon import radon_operator
from jaxgen.types import Array, Key

AIR = -1000.0


class Scan(NamedTuple):
    """Measured slices.

    Attributes:
        angles: ``[views]``, radians.
        y: sinograms ``[n, views, detectors]`` of u.
        keep: 1 where a ray is measured and to be trusted, of the same shape.
        ignore: bool ``[n, h, w, 1]``: where the image is not judged, for metal is there.
        geometry: of the rays.
    """

    angles: np.ndarray
    y: np.ndarray
    keep: np.ndarray
    ignore: np.ndarray
    geometry: Geometry = PARALLEL

    def first(self, n: int) -> "Scan":
        """Its first n slices."""
        return self._replace(y=self.y[:n], keep=self.keep[:n], ignore=self.ignore[:n])


def half_circle(views: int) -> np.ndarray:
    """Angles evenly over half a circle."""
    return (np.arange(views) * np.pi / views).astype(np.float32)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def largest_singular_value(geometry: Geometry, size: int, count: int, angles: Array, seen: Array) -> Array:
    """Of projection onto `count` detectors along the views that are seen."""
    plain = projection_operator(geometry, size, angles, count)
    kept = seen[:, None].astype(jnp.float32)
    operator = LinearOperator(lambda x: kept * plain.forward(x), lambda y: plain.adjoint(kept * y))
    return jnp.sqrt(squared_norm_bound(operator, jax.random.key(0), (1, size, size, 1))[0])


def system(
    size: int, angles: Array, y: Array, keep: Array, scale: Array, geometry: Geometry = PARALLEL
) -> tuple[LinearOperator, Array]:
    """The operator of x in [-1, 1], multiplied by `scale`, and what it should give: 0 along rays that do not count."""
    plain = projection_operator(geometry, size, angles, y.shape[2])

    def forward(x: Array) -> Array:
        return scale * keep * plain.forward(x)

    operator = LinearOperator(forward, lambda y: plain.adjoint(scale * keep * y))
    return operator, 2 * scale * keep * y - forward(jnp.ones((1, size, size, 1)))


@jax.jit
def _projected(x: Array, angles: Array) -> Array:
    return radon_operator(x.shape[1], angles).forward((x + 1) / 2)


def sparse(x: np.ndarray, views: int, most: int) -> Scan:
    """A few views of slices ``[n, h, w, 1]`` in [-1, 1], without noise.

    Views that are not there fill it up to `most`, so that one program serves all numbers of views.
    """
    angles = np.pad(half_circle(views), (0, most - views))
    keep = np.zeros((len(x), most, detectors(x.shape[1])), np.float32)
    keep[:, :views] = 1
    y = np.concatenate([np.asarray(_projected(x[i : i + 1], angles)) for i in range(len(x))])
    return Scan(angles, keep * y, keep, np.zeros(x.shape, bool))


def implants(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Two round pieces of metal in each body, 3 to 6 % of the image wide, bool ``[n, h, w, 1]``."""
    size = x.shape[1]
    grid = np.indices((size, size))
    masks = np.zeros(x.shape, bool)
    for mask, image in zip(masks, x, strict=True):
        body = np.argwhere(image[..., 0] > -0.4)
        places = body if len(body) else np.array([[size // 2, size // 2]])
        for _ in range(2):
            centre = places[rng.integers(len(places))]
            radius = rng.uniform(1.0, 2.0) * size / 64
            mask[..., 0] |= np.hypot(*(grid - centre[:, None, None])) <= radius
    return masks


@functools.partial(jax.jit, static_argnums=(3, 4, 5, 6))
def _measured(
    key: Key, x: Array, mask: Array, views: int, high: float, pixel: float, photons: float
) -> tuple[Array, Array]:
    operator, density = radon_operator(x.shape[1], half_circle(views)), (high - AIR) / 1000
    hu = AIR + density * 1000 * (x + 1) / 2
    y = simulate_metal(key, hu, mask, operator, pixel=pixel, metal=IRON, photons=photons)
    return y / (WATER * pixel / 10 * density), metal_trace(operator, mask)


def with_metal(key: Key, x: np.ndarray, views: int, *, high: float, pixel: float, photons: float) -> Scan:
    """Slices with iron in them, as a scanner measures them, and the rays that miss it.

    Args:
        key: one key.
        x: slices in [-1, 1] without metal.
        views: how many.
        high: Hounsfield units that x = 1 stands for.
        pixel: its width in mm.
        photons: a ray.
    """
    mask = implants(np.random.default_rng(np.asarray(jax.random.key_data(key))), x)
    # A slice at a time: each is a function of its own number alone, and one program serves any number of them.
    found = [
        _measured(jax.random.fold_in(key, i)[None], x[i : i + 1], mask[i : i + 1], views, high, pixel, photons)
        for i in range(len(x))
    ]
    y, trace = (np.concatenate([np.asarray(pair[k]) for pair in found]) for k in (0, 1))
    return Scan(half_circle(views), y, 1.0 - trace, mask)


def interpolated(scan: Scan) -> np.ndarray:
    """Sinograms whose rays that do not count are replaced by lines between their neighbours."""
    return np.asarray(jax.jit(interpolate_trace)(scan.y, scan.keep == 0))


def read_sinogram(path: Path) -> Image:
    """A user's sinogram: an npz with ``sinogram`` and ``angles``.

    ``sinogram`` is ``[views, detectors]`` or ``[slices, views, detectors]``; ``angles`` ``[views]`` in radians. With
    ``pixel_mm`` it holds integrals of attenuation, through water ``water`` (in 1/cm; that at 60 keV if left out) a cm;
    without, integrals in pixels of attenuation over that of water. Rays are parallel, ``spacing`` apart (one pixel if
    left out); with ``source_distance`` they are a fan, and the detector, where that spacing is, lies
    ``detector_distance`` (0 if left out) behind the middle. These lengths are in mm with ``pixel_mm``, else in pixels.

    Returns:
        An image ``[views, detectors, 4]`` or ``[views, detectors, slices, 4]``: sinogram over water, in pixels, the
        angle of each ray, and the two numbers of its `Geometry`.

    Raises:
        UserError: naming what is wrong with the file.
    """
    with checks.reading(path, "npz"):
        arrays = read_npz(path)
    for name in ("sinogram", "angles"):
        if name not in arrays:
            raise UserError(f"{path}: holds no `{name}` (it has {', '.join(arrays) or 'nothing'}); save both")
        if arrays[name].dtype.kind not in "fiu":
            raise UserError(f"{path}: `{name}` is {arrays[name].dtype}, not real numbers; save line integrals")
        if not np.isfinite(arrays[name]).all():
            raise UserError(
                f"{path}: `{name}` has NaN or infinite values; fill broken detectors in, or leave views out"
            )
    y, angles = arrays["sinogram"].astype(np.float32), arrays["angles"].astype(np.float32)
    if angles.ndim != 1 or y.ndim not in (2, 3) or y.shape[-2] != len(angles):
        raise UserError(
            f"{path}: `sinogram` {y.shape} does not fit `angles` {angles.shape}; save [views, detectors] (or slices of "
            "such) and one angle a view"
        )
    if np.ptp(angles) > 4 * np.pi:
        raise UserError(
            f"{path}: `angles` reach over {np.ptp(angles):.0f} radians: they look like degrees; convert them"
        )
    numbers = _numbers(path, arrays)
    if "pixel_mm" in numbers:
        y = y / (numbers.get("water", WATER) * numbers["pixel_mm"] / 10)
    y = np.moveaxis(y, 0, -1) if y.ndim == 3 else y
    turn = angles.reshape(-1, *(1,) * (y.ndim - 1))
    return Image(
        np.stack(np.broadcast_arrays(y, turn, *map(np.float32, _geometry(numbers))), -1),
        None,
        {"kind": "npz", "path": str(path)},
    )


def _numbers(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The single numbers that stand beside a sinogram."""
    found = {}
    for name in ("pixel_mm", "water", "spacing", "source_distance", "detector_distance"):
        if name not in arrays:
            continue
        if arrays[name].size != 1 or arrays[name].dtype.kind not in "fiu":
            raise UserError(f"{path}: `{name}` must be one number, not {arrays[name].dtype} of {arrays[name].shape}")
        found[name] = arrays[name].item()
        if not found[name] > 0 and (name, found[name]) != ("detector_distance", 0):
            raise UserError(f"{path}: `{name}` must be positive, got {found[name]:g}")
    if "detector_distance" in found and "source_distance" not in found:
        raise UserError(f"{path}: `detector_distance` without `source_distance`; a fan needs that, parallel rays none")
    return found


def _geometry(numbers: Mapping[str, float]) -> Geometry:
    """Where the rays run, in pixels."""
    pixel = numbers.get("pixel_mm", 1.0)
    spacing = numbers["spacing"] / pixel if "spacing" in numbers else None
    if "source_distance" not in numbers:
        return Geometry(spacing=spacing or 1.0)
    return fan_beam_geometry(numbers["source_distance"] / pixel, numbers.get("detector_distance", 0.0) / pixel, spacing)


def detectors(size: int, geometry: Geometry = PARALLEL) -> int:
    """How many rays a view has."""
    return covering(geometry, size)
