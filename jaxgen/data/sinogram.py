"""Read sinograms that a person brings as npz files; nothing in them is ever unpickled."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import numpy as np

from jaxgen.data import checks
from jaxgen.data.arrays import read_npz
from jaxgen.data.image import Image
from jaxgen.errors import UserError
from jaxgen.imaging.fan_beam import fan_beam_geometry
from jaxgen.imaging.hounsfield import WATER
from jaxgen.imaging.projection import Geometry


def read_sinogram(path: str | PathLike[str]) -> Image:
    """Read a sinogram with its angles and where its rays run.

    ``sinogram`` is ``[views, detectors]`` or ``[slices, views, detectors]``; ``angles`` ``[views]`` in radians. With
    ``pixel_mm`` it holds integrals of attenuation, that of water being ``water`` (in 1/cm; at 60 keV if left out);
    without, integrals in pixels of attenuation over that of water. Rays are parallel, ``spacing`` apart (one pixel if
    left out); with ``source_distance`` they are a fan, and the detector, where that spacing is, lies
    ``detector_distance`` (0 if left out) behind the middle. These lengths are in mm with ``pixel_mm``, else in pixels.

    Args:
        path: an npz file with ``sinogram`` and ``angles``.

    Returns:
        ``[views, detectors, 1]`` or ``[views, detectors, slices, 1]``: integrals in pixels, over water. Its ``meta``
        holds ``angles [views]`` in radians, and ``geometry``, a `jaxgen.imaging.projection.Geometry` in pixels.

    Raises:
        UserError: naming what is wrong with the file.

    Example:
        >>> import tempfile, os
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "a.npz")
        ...     np.savez(path, sinogram=np.ones((3, 8)), angles=np.arange(3.0), spacing=0.5)
        ...     image = read_sinogram(path)
        >>> image.array.shape, image.meta["angles"].tolist(), image.meta["geometry"].spacing
        ((3, 8, 1), [0.0, 1.0, 2.0], 0.5)
    """
    path = Path(path)
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
            "such) and one angle per view"
        )
    if np.ptp(angles) > 4 * np.pi:
        raise UserError(
            f"{path}: `angles` reach over {np.ptp(angles):.0f} radians: they look like degrees; convert them"
        )
    numbers = _numbers(path, arrays)
    if "pixel_mm" in numbers:
        y = y / (numbers.get("water", WATER) * numbers["pixel_mm"] / 10)
    y = np.moveaxis(y, 0, -1) if y.ndim == 3 else y
    meta = {"kind": "npz", "path": str(path), "angles": angles, "geometry": _geometry(numbers)}
    return Image(y[..., None], None, meta)


def _numbers(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The single numbers that are saved with a sinogram."""
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
    """Where the rays run, in pixels; rounded to float32, as sinograms are."""
    pixel = numbers.get("pixel_mm", 1.0)
    spacing = numbers["spacing"] / pixel if "spacing" in numbers else None
    if "source_distance" not in numbers:
        found = Geometry(spacing=spacing or 1.0)
    else:
        detector = numbers.get("detector_distance", 0.0) / pixel
        found = fan_beam_geometry(numbers["source_distance"] / pixel, detector, spacing)
    return Geometry(*(float(np.float32(value)) for value in found))
