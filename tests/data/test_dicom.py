import builtins

import numpy as np
import pytest

from jaxgen.data import dicom
from jaxgen.data.readers import read_header, read_image, read_mask
from jaxgen.errors import UserError

pydicom = pytest.importorskip("pydicom")

RNG = np.random.default_rng(0)
STORED = RNG.integers(0, 4096, (6, 9), dtype=np.uint16)


def save(path, array=STORED, **tags):
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    data = pydicom.Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    colour = array.ndim == 3 and array.shape[-1] == 3
    data.Rows, data.Columns = array.shape[-3:-1] if colour else array.shape[-2:]
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        data.PlanarConfiguration = 0
    elif array.ndim == 3:
        data.NumberOfFrames = len(array)
    data.BitsAllocated = data.BitsStored = 8 * array.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(array.dtype.kind == "i")
    data.PixelData = array.tobytes()
    for tag, value in tags.items():
        setattr(data, tag, value)
    data.save_as(path, enforce_file_format=True)
    return path


def test_plain(tmp_path):
    path = save(tmp_path / "a.dcm")
    image = read_image(path)
    assert image.array.dtype == np.uint16
    assert (image.array[..., 0] == STORED).all()
    assert image.affine is None
    assert read_header(path).shape == (6, 9)
    assert (read_mask(save(tmp_path / "m.dcm", STORED % 3)) == STORED % 3).all()


def test_hounsfield_units(tmp_path):
    image = read_image(save(tmp_path / "a.dcm", RescaleSlope=1, RescaleIntercept=-1024))
    assert image.array.dtype == np.int16
    assert (image.array[..., 0] == STORED.astype(int) - 1024).all()
    image = read_image(save(tmp_path / "b.dcm", RescaleSlope=0.25, RescaleIntercept=-3))
    assert image.array.dtype == np.float32
    assert np.allclose(image.array[..., 0], STORED * 0.25 - 3)


def test_monochrome1_is_inverted(tmp_path):
    path = save(tmp_path / "a.dcm", PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
    assert (read_image(path).array[..., 0] == 4095 - STORED).all()


def test_colour_and_frames(tmp_path):
    colour = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    assert (read_image(save(tmp_path / "c.dcm", colour)).array == colour).all()
    frames = RNG.integers(0, 256, (4, 6, 9), dtype=np.uint8)
    image = read_image(save(tmp_path / "f.dcm", frames))
    assert image.array.shape == (*read_header(tmp_path / "f.dcm").shape, 1) == (9, 6, 4, 1)
    assert (image.array[..., 0] == frames.transpose(2, 1, 0)).all()


def place(z, **tags):
    return {
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [10, 20, z],
        "PixelSpacing": [0.5, 0.25],
        "SliceThickness": 9,
        "SeriesInstanceUID": "1.2.3",
        **tags,
    }


def test_series_is_ordered_by_place_and_has_its_affine(tmp_path):
    series = tmp_path / "series"
    series.mkdir()
    slices = {z: RNG.integers(0, 99, (6, 9), dtype=np.uint16) for z in (-3.0, 0.0, 3.0)}
    for name, z in zip("abc", (3.0, -3.0, 0.0), strict=True):
        save(series / name, slices[z], **place(z))
    image, head = read_image(series), read_header(series)
    assert image.array.shape == (9, 6, 3, 1)
    assert head.shape == (9, 6, 3)
    for k, z in enumerate((-3.0, 0.0, 3.0)):
        assert (image.array[:, :, k, 0] == slices[z].T).all()
    # column 2, row 4, slice 1: x = 10 + 2 * 0.25, y = 20 + 4 * 0.5, z = 0, and NIfTI turns x and y round
    assert np.allclose(image.affine @ [2, 4, 1, 1], [-10.5, -22, 0, 1])
    assert [f.name for f in image.meta["files"]] == ["b", "c", "a"]


def test_without_pydicom_it_says_what_to_install(tmp_path, monkeypatch):
    path = save(tmp_path / "a.dcm")
    found = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("pydicom"):
            raise ImportError(name)
        return found(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=r"pip install 'jaxgen\[dicom\]'"):
        read_image(path)
    assert dicom.is_dicom(path)
