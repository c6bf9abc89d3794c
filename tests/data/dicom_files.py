"""Small DICOM files for tests."""

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")


def item(**tags):
    data = pydicom.Dataset()
    for tag, value in tags.items():
        setattr(data, tag, value)
    return data


def write(path, array, syntax=pydicom.uid.ExplicitVRLittleEndian, **tags):
    """A file of stored pixels: [rows, columns], [frames, rows, columns], or either with three colours last."""
    array = np.asarray(array)
    colour = array.shape[-1] == 3 and array.dtype == np.uint8 and array.ndim > 2
    data = item(
        SOPClassUID=pydicom.uid.CTImageStorage,
        SOPInstanceUID=pydicom.uid.generate_uid(),
        SeriesInstanceUID="1.2.3",
        SamplesPerPixel=3 if colour else 1,
        PhotometricInterpretation="RGB" if colour else "MONOCHROME2",
        BitsAllocated=8 * array.itemsize,
        BitsStored=8 * array.itemsize,
        HighBit=8 * array.itemsize - 1,
        PixelRepresentation=int(array.dtype.kind == "i"),
        PixelData=array.tobytes() + b"\0" * (array.nbytes % 2),
    )
    spatial = array.shape[:-1] if colour else array.shape
    data.Rows, data.Columns = spatial[-2:]
    if len(spatial) == 3:
        data.NumberOfFrames = spatial[0]
    if colour:
        data.PlanarConfiguration = 0
    for tag, value in tags.items():
        setattr(data, tag, value)
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID or "1.2"
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def placed(path, z, value=0, **tags):
    """A slice of one value at a height in mm."""
    tags = {
        "Modality": "CT",
        "ImagePositionPatient": [0, 0, z],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.5, 0.5],
        **tags,
    }
    return write(path, np.full((4, 5), value, np.uint16), **tags)


def groups(z, **tags):
    """The functional groups of a frame at a height in mm; tags by the sequence they go into."""
    data = item(**{sequence: [item(**held)] for sequence, held in tags.items()})
    data.PlanePositionSequence = [item(ImagePositionPatient=[0, 0, z])]
    return data


SHARED = {
    "PixelMeasuresSequence": {"PixelSpacing": [0.5, 0.25], "SliceThickness": 2},
    "PlaneOrientationSequence": {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
}


def enhanced(path, frames, each, shared=None, **tags):
    """An enhanced multi-frame CT, or MR where a tag says so."""
    return write(
        path,
        frames,
        **{"SOPClassUID": pydicom.uid.EnhancedCTImageStorage, "Modality": "CT", **tags},
        SharedFunctionalGroupsSequence=[
            item(**{sequence: [item(**held)] for sequence, held in (SHARED | (shared or {})).items()})
        ],
        PerFrameFunctionalGroupsSequence=each,
    )


def flat(*values):
    """Frames of one value each."""
    return np.stack([np.full((3, 4), value, np.uint16) for value in values])
