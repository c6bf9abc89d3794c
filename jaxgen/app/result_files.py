"""The files that ``jaxgen apply`` leaves of one image: NIfTI, DICOM SEG, or pictures and their numbers."""

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from jaxgen.app import runs
from jaxgen.data.image import Image
from jaxgen.data.writers import write_atomically, write_dicom_seg, write_field, write_mask, write_nifti
from jaxgen.errors import UserError


def earlier_summary(path: Path) -> dict[str, Any]:
    """What earlier calls wrote into a ``summary.json``; a file that holds something else is a `UserError`."""
    summary = runs.read_json(path, default={})
    if not isinstance(summary, dict):
        raise UserError(f"{path}: it is no summary of results (not a JSON object); move it away, or use another --out")
    return summary


def write_results(
    results: Mapping[str, np.ndarray | Image], image: Image, out: Path, stem: str, dicom_seg: bool, overwrite: bool
) -> dict[str, object]:
    """Write what came out of one image next to each other: ``<stem>_<name>`` with the suffix that fits.

    Volumes, NIfTI and DICOM become NIfTI in the space of the image. Plain pictures become 8-bit PNG to look at (a
    fractional map is scaled: [0, 1] where it fits in it, else by its largest value), with the numbers themselves in
    ``<stem>_arrays.npz``.

    Args:
        results: arrays over the image by name; whatever has another shape is a number for the summary. An `Image` is a
            volume of its own, which becomes NIfTI with its own affine; ``[x, y, z, 3]`` over a volume is a displacement
            field (`jaxgen.data.writers.write_field`).
        image: the image.
        out: the folder.
        stem: the image's name without suffix.
        dicom_seg: write the mask of a DICOM image as DICOM SEG.
        overwrite: replace what is there.

    Returns:
        The files written and the numbers, for the summary.

    Raises:
        UserError: if something cannot be written.
    """
    shape = image.array.shape[:-1]
    own = {name: value for name, value in results.items() if isinstance(value, Image)}
    arrays = {name: value for name, value in results.items() if not isinstance(value, Image)}
    maps = {name: array for name, array in arrays.items() if array.shape == shape}
    fields = {name: array for name, array in arrays.items() if array.shape == (*shape, 3) and len(shape) == 3}
    numbers = {name: array.tolist() for name, array in arrays.items() if name not in {**maps, **fields}}
    spatial = image.meta.get("kind") in ("nifti", "dicom") or len(shape) == 3
    written: list[Path] = []
    try:
        for name, array in maps.items():
            path = out / f"{stem}_{name}"
            if dicom_seg and name == "mask" and "classes" not in results and image.meta.get("kind") == "dicom":
                written.append(write_dicom_seg(f"{path}.dcm", array, like=image, overwrite=overwrite))
            elif spatial:
                whole = array if array.dtype.kind == "f" else _smallest(array)
                written.append(write_nifti(f"{path}.nii.gz", whole, like=image, overwrite=overwrite))
            elif array.dtype.kind != "f" and array.max(initial=0) <= 1:
                written.append(write_mask(f"{path}.png", array, overwrite=overwrite))
            else:
                picture = PIL.Image.fromarray(_to_look_at(array) if array.dtype.kind == "f" else _smallest(array))
                written.append(
                    write_atomically(f"{path}.png", lambda file: picture.save(file, "png"), overwrite=overwrite)  # noqa: B023
                )
        for name, field in fields.items():
            written.append(write_field(out / f"{stem}_{name}.nii.gz", field, like=image, overwrite=overwrite))
        for name, one in own.items():
            path = out / f"{stem}_{name}.nii.gz"
            written.append(write_nifti(path, one.array[..., 0], like=one, overwrite=overwrite))
        if not spatial and maps:
            written.append(_write_arrays(out / f"{stem}_arrays.npz", maps, overwrite))
    except BaseException:  # all results of an image, or none
        for path in written:
            with contextlib.suppress(OSError):
                path.unlink()
        raise
    return {"files": [path.name for path in written], **numbers}


def _write_arrays(path: Path, maps: Mapping[str, np.ndarray], overwrite: bool) -> Path:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        name: a.astype(np.float32) if a.dtype.kind == "f" else _smallest(a) for name, a in maps.items()
    }
    np.savez_compressed(buffer, **arrays)
    return write_atomically(path, lambda file: Path(file).write_bytes(buffer.getvalue()), overwrite=overwrite)


def _smallest(array: np.ndarray) -> np.ndarray:
    """Whole numbers in the smallest unsigned type that holds them."""
    return array.astype(np.min_scalar_type(int(array.max(initial=0))) if array.min(initial=0) >= 0 else np.int32)


def _to_look_at(array: np.ndarray) -> np.ndarray:
    low, high = min(0.0, float(array.min(initial=0))), float(array.max(initial=0))
    if low < 0 or high > 1 or 0 < high <= 0.25:  # a variance of a binary quantity is at most a quarter
        scaled = (array - low) / ((high - low) or 1)
    else:
        scaled = array
    return np.round(255 * np.clip(scaled, 0, 1)).astype(np.uint8)
