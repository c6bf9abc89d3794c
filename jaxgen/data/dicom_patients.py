"""Whose images DICOM files are, by the tag PatientID."""

from collections.abc import Sequence
from pathlib import Path

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
    if file.is_dir():
        file = next(f for f in sorted(file.iterdir()) if not f.name.startswith("."))
    if file_suffix(file) not in ("", ".dcm") or not is_dicom(file):
        return ""
    dataset = read(file, stop_before_pixels=True, specific_tags=["PatientID"])
    return as_texts([str(dataset.get("PatientID") or "")], str(file))[0]
