"""Whose images DICOM files are, by the tag PatientID."""

import re
from collections.abc import Sequence
from pathlib import Path

from jaxgen.data import checks
from jaxgen.data.dicom import is_dicom
from jaxgen.data.dicom.tags import read
from jaxgen.data.groups import as_texts
from jaxgen.data.readers import file_suffix


def dicom_patients(files: Sequence[Path]) -> list[str] | None:
    """The patient of each image, where DICOM says so.

    One PatientID for all images is what anonymising leaves, and says nothing; so do patients of one image each.

    Args:
        files: images of any format; a folder is a DICOM series.

    Returns:
        One text each, "" where it is not known; None if nothing binds images together.
    """
    found = [_patient(file) for file in files]
    known = [patient.casefold() for patient in found if patient]
    return found if 1 < len(set(known)) < len(known) else None


def _patient(file: Path) -> str:
    place = file if file.exists() else file.with_name(re.sub(r"#\d+$", "", file.name))  # one of several in a folder
    if not place.is_dir() and file_suffix(place) not in ("", ".dcm"):
        return ""
    files = (f for f in sorted(place.rglob("*")) if f.is_file()) if place.is_dir() else (place,)
    first = next((f for f in files if not f.name.startswith(".") and is_dicom(f)), None)
    if first is None:
        return ""
    with checks.reading(first, "DICOM"):
        dataset = read(first, stop_before_pixels=True, specific_tags=["PatientID"])
        return as_texts([str(dataset.get("PatientID") or "")], str(first))[0]
