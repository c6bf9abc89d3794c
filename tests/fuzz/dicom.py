"""DICOM files of one frame, and pydicom as a second reader."""

import io
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)


def write(rng: np.random.Generator, path: Path) -> dict:
    """Write a DICOM file of random depth, sign, rescale, transfer syntax and tags that are empty or missing."""
    rows, columns = (int(n) for n in rng.integers(1, 24, 2))
    allocated = (8, 16)[int(rng.integers(2))]
    stored = allocated if rng.random() < 0.6 else int(rng.integers(allocated // 2, allocated + 1))
    signed = bool(rng.integers(2)) and allocated == 16
    least, most = (-(2 ** (stored - 1)), 2 ** (stored - 1)) if signed else (0, 2**stored)
    values = rng.integers(least, most, (rows, columns))
    file = Dataset()
    tags = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": f"1.2.826.{int(rng.integers(10**9))}",
        "SeriesInstanceUID": "1.2.3",
        "Modality": ("CT", "MR", "DX")[int(rng.integers(3))],
        "PatientID": "p",
        "Rows": rows,
        "Columns": columns,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": allocated,
        "BitsStored": stored,
        "HighBit": stored - 1,
        "PixelRepresentation": int(signed),
        "PixelSpacing": [0.5, 0.75],
        "ImagePositionPatient": [0, 0, 4],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    }
    scale = (1.0, 0.0)
    if rng.random() < 0.6:
        scale = (float(rng.integers(1, 5)) / 2, float(rng.integers(-1024, 100)))
        tags |= {"RescaleSlope": scale[0], "RescaleIntercept": scale[1]}
    for name in ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "PatientID"):
        if rng.random() < 0.15:
            tags[name] = None
        elif rng.random() < 0.1:
            del tags[name]
    for name, value in tags.items():
        setattr(file, name, value)
    file.PixelData = values.astype({8: "u1", 16: "i2" if signed else "u2"}[allocated]).tobytes() + bytes(
        rows * columns * allocated // 8 % 2
    )
    file["PixelData"].VR = "OW"
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = _SYNTAXES[int(rng.integers(3))]
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID
    file.save_as(path, enforce_file_format=True)
    return {"image": (values * scale[0] + scale[1])[..., None], "mask": None, "may_refuse": False}


def read(content: bytes) -> np.ndarray | None:
    """The rescaled pixels of a grey file of one frame, by pydicom; None for all else."""
    try:
        file = pydicom.dcmread(io.BytesIO(content))
        plain = file.get("PhotometricInterpretation") == "MONOCHROME2" and file.get("SamplesPerPixel") == 1
        one = (file.get("NumberOfFrames") or 1) == 1 and file.Rows * file.Columns < 2**22
        half = ("RescaleSlope" in file) != ("RescaleIntercept" in file)  # the standard has both or none
        if not plain or half or not one or "ModalityLUTSequence" in file or "SharedFunctionalGroupsSequence" in file:
            return None
        return np.asarray(apply_modality_lut(file.pixel_array, file), np.float64)[..., None]
    except Exception:  # a damaged file may raise anything
        return None
