"""Samples as files that any viewer opens: PNG for images, NIfTI for volumes."""

import gzip
import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import PIL.Image

from jaxgen.app import runs
from jaxgen.app.cards import DATA_CARD, MODEL_CARD, RELEASE
from jaxgen.errors import UserError

_OURS = re.compile(r"[A-Za-z0-9_-]+_\d{3,}(_[A-Za-z0-9_-]*)?\.(png|nii\.gz)")
SETTINGS = "settings.json"
"""The file that says how the samples next to it were drawn."""
_WITH_THEM = (SETTINGS, "samples.npz", "figures", RELEASE, DATA_CARD, MODEL_CARD)
_LONGEST = 40
"""Letters of a label in the name of a file."""


def write_samples(
    folder: Path,
    prefix: str,
    samples: np.ndarray,
    *,
    spatial: int = 2,
    label: np.ndarray | None = None,
    label_names: Sequence[str] = (),
    value_range: Any = None,
) -> int:
    """Write each sample as a file of its own, ``sample_000.png`` or with its class ``sample_000_healthy.png``.

    Args:
        folder: where; it is there.
        prefix: what the names of the files begin with.
        samples: ``[n, *spatial, c]`` (or without the channel) in [-1, 1]; what lies outside is cut off.
        spatial: spatial axes; images of two become 8-bit PNG, volumes of three NIfTI.
        label: ``[n]``, the number of each sample's class, or None.
        label_names: the name of each class.
        value_range: ``(low, high)`` of the values trained on, which volumes are brought back to; None leaves [-1, 1].

    Returns:
        How many files were written.
    """
    array = samples if samples.ndim == spatial + 2 else samples[..., None]
    digits, written = max(3, len(str(len(array) - 1))), 0
    for i, sample in enumerate(array):
        stem = f"{prefix}_{i:0{digits}d}"
        if label is not None:
            stem += "_" + plain_name(str(label_names[label[i]]) if len(label_names) else str(label[i]))
        values = np.clip(np.nan_to_num(sample.astype(np.float32), nan=-1.0), -1, 1)
        if spatial == 3:
            runs.write_bytes(folder / f"{stem}.nii.gz", _nifti(values, value_range))
            written += 1
            continue
        grey = np.round((values + 1) * 127.5).astype(np.uint8)
        channels = [grey] if grey.shape[-1] == 3 else [grey[..., c] for c in range(grey.shape[-1])]
        for c, picture in enumerate(channels):
            buffer = io.BytesIO()
            PIL.Image.fromarray(picture).save(buffer, "png")
            runs.write_bytes(folder / (f"{stem}_{c}.png" if len(channels) > 1 else f"{stem}.png"), buffer.getvalue())
            written += 1
    return written


def plain_name(text: str) -> str:
    """A label as a part of the name of a file.

    Example:
        >>> plain_name("../no tumour")
        'no-tumour'
    """
    clean = "".join(letter if (letter.isascii() and letter.isalnum()) or letter in "-_" else "-" for letter in text)
    return clean.strip("-")[:_LONGEST] or "class"


def set_aside(folder: Path, settings: Mapping[str, Any]) -> Path | None:
    """Move samples that were drawn with other settings into a folder of their own, named after these.

    Args:
        folder: where samples are, and the settings they were drawn with in a file.
        settings: those of the samples to come.

    Returns:
        The folder they are in now; None if there are none, or they were drawn with the same settings.
    """
    there = [file for file in folder.iterdir() if _OURS.fullmatch(file.name) or file.name in _WITH_THEM]
    if not there:
        return None
    try:
        before = runs.read_object(folder / SETTINGS)
    except UserError:  # of a version that did not write them
        before = {}
    if before == runs.plain(settings):
        return None
    said = "_".join(f"{name}-{value}" for name, value in sorted(before.items()))
    stem = plain_name(said) if before else "before"
    place = next(p for p in (folder / f"{stem}{end}" for end in ("", *(f"-{i}" for i in range(2, 10**6)))) if _free(p))
    place.mkdir()
    for file in there:
        file.rename(place / file.name)
    return place


def _free(path: Path) -> bool:
    return not os.path.lexists(path)


def remove_samples(folder: Path) -> None:
    """Take away the files that `write_samples` left before, so that no old ones stand among the new."""
    for file in folder.iterdir():
        if _OURS.fullmatch(file.name) and (file.is_file() or file.is_symlink()):
            file.unlink()


def _nifti(values: np.ndarray, value_range: Any) -> bytes:
    if value_range is not None:
        low, high = (np.asarray(bound, np.float32) for bound in value_range)
        values = low + (values + 1) / 2 * (high - low)
    values = values[..., 0] if values.shape[-1] == 1 else values
    return gzip.compress(nibabel.Nifti1Image(values.astype(np.float32), np.eye(4)).to_bytes(), mtime=0)
