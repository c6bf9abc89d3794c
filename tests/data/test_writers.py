import builtins
import os
from pathlib import Path

import nibabel
import numpy as np
import PIL.Image
import pytest

from jaxgen.data.readers import read_image, read_mask
from jaxgen.data.writers import write_atomically, write_dicom_seg, write_mask, write_nifti
from jaxgen.errors import UserError

MASK = np.random.default_rng(0).integers(0, 2, (6, 9)).astype(np.uint8)


def test_mask_png(tmp_path):
    path = write_mask(tmp_path / "new" / "掩膜.png", MASK)
    assert (np.asarray(PIL.Image.open(path)) == 255 * MASK).all()
    assert [f.name for f in path.parent.iterdir()] == ["掩膜.png"]
    with pytest.raises(ValueError, match="2 axes"):
        write_mask(tmp_path / "b.png", MASK[0])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_keeps_affine_and_header(tmp_path, suffix):
    affine = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, 3, 1], [0, 0, 0, 1]])
    source = nibabel.Nifti1Image(np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32), affine)
    source.header.set_xyzt_units("mm")
    source.set_qform(affine, 1)
    source.set_sform(affine, 2)
    source.header.set_slope_inter(2, 1)
    nibabel.save(source, tmp_path / "in.nii")
    image = read_image(tmp_path / "in.nii")
    mask = (image.array[..., 0] > 0).astype(np.uint8)
    path = write_nifti(tmp_path / f"mask{suffix}", mask, like=image)
    back = nibabel.load(path)
    assert back.get_data_dtype() == np.uint8
    assert (np.asanyarray(back.dataobj) == mask).all()
    assert np.allclose(back.affine, affine)
    assert (int(back.header["qform_code"]), int(back.header["sform_code"])) == (1, 2)
    assert back.header.get_xyzt_units()[0] == "mm"
    probability = image.array[..., 0].astype(np.float64) / 7
    write_nifti(tmp_path / f"p{suffix}", probability, like=image)
    assert np.allclose(nibabel.load(tmp_path / f"p{suffix}").get_fdata(), probability, rtol=1e-6)
    with pytest.raises(ValueError, match="does not fit"):
        write_nifti(tmp_path / f"q{suffix}", mask[1:], like=image)


def test_nothing_is_written_over(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("mine")
    with pytest.raises(UserError, match=r"a\.png: exists already .*--out"):
        write_mask(path, MASK)
    assert path.read_text() == "mine"
    write_mask(path, MASK, overwrite=True)
    assert (read_mask(path) == 255 * MASK).all()
    assert [f.name for f in tmp_path.iterdir()] == ["a.png"]


def test_a_file_that_appears_meanwhile_is_kept(tmp_path):
    path = tmp_path / "a.png"

    def write(temporary):
        Path(temporary).write_text("new")
        path.write_text("theirs")

    with pytest.raises(UserError, match=r"a\.png"):
        write_atomically(path, write)
    assert path.read_text() == "theirs"
    assert [f.name for f in tmp_path.iterdir()] == ["a.png"]


def test_a_failed_write_leaves_nothing(tmp_path):
    def full(temporary):
        Path(temporary).write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"a\.png: cannot be written \(No space left on device\)"):
        write_atomically(tmp_path / "a.png", full)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match="--out"):
        write_mask(tmp_path / "out" / "a.png", MASK)


def test_permissions_are_the_usual_ones(tmp_path):
    was = os.umask(0o022)
    try:
        assert write_mask(tmp_path / "a.png", MASK).stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(was)


def dicom_slice(path, z=0.0):
    pydicom = pytest.importorskip("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    data = pydicom.Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = "1.2.1", "1.2.2", "1.2.3"
    for tag in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
        setattr(data, tag, "")
    for tag in ("StudyDate", "StudyTime", "ReferringPhysicianName"):
        setattr(data, tag, "")
    data.Modality, data.SeriesNumber, data.InstanceNumber = "CT", 1, int(z)
    data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [1, 2, z]
    data.PixelSpacing, data.SliceThickness = [0.5, 0.25], 1
    data.Rows, data.Columns = MASK.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.PixelData = (MASK.astype(np.uint16) * 100 + int(z)).tobytes()
    data.save_as(path, enforce_file_format=True)
    return path


def test_dicom_without_highdicom_gives_nifti_in_the_same_place(tmp_path, monkeypatch):
    image = read_image(dicom_slice(tmp_path / "a.dcm"))
    found = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "highdicom":
            raise ImportError(name)
        return found(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    path = write_dicom_seg(tmp_path / "seg.dcm", MASK, like=image)
    assert path.name == "seg.nii.gz"
    back = nibabel.load(path)
    assert (np.asanyarray(back.dataobj)[..., 0] == MASK.T).all()
    # column 3, row 2 lies at x = 1 + 3 * 0.25, y = 2 + 2 * 0.5
    assert np.allclose(back.affine @ [3, 2, 0, 1], [-1.75, -3, 0, 1])


@pytest.mark.parametrize("empty", [False, True])
def test_dicom_seg(tmp_path, empty):
    pytest.importorskip("highdicom")
    import pydicom

    (tmp_path / "series").mkdir()
    for z in (2.0, 1.0, 3.0):
        dicom_slice(tmp_path / "series" / f"{z}.dcm", z)
    image = read_image(tmp_path / "series")
    mask = np.zeros(image.array.shape[:-1], np.uint8)
    if not empty:
        mask[3, 2, 0] = mask[4:6, 1, 1] = mask[0, 0, 2] = 1
    path = write_dicom_seg(tmp_path / "seg.dcm", mask, like=image, label="Nodule")
    data = pydicom.dcmread(path)
    assert data.Modality == "SEG"
    assert data.SegmentSequence[0].SegmentLabel == "Nodule"
    frames = np.asarray(data.pixel_array).reshape(-1, *MASK.shape)
    places = [
        float(group.PlanePositionSequence[0].ImagePositionPatient[2]) for group in data.PerFrameFunctionalGroupsSequence
    ]
    order = np.argsort(places)
    assert (frames[order] == mask.transpose(2, 1, 0)).all()
    with pytest.raises(ValueError, match="mask"):
        write_dicom_seg(tmp_path / "b.dcm", mask[1:], like=image)


def test_dicom_seg_of_frames_that_are_not_in_order(tmp_path):
    pytest.importorskip("highdicom")
    import pydicom

    from tests.data.dicom_files import enhanced, flat, groups

    uids = {"StudyInstanceUID": "1.2.1", "FrameOfReferenceUID": "1.2.4"}
    path = enhanced(tmp_path / "a.dcm", flat(1, 2, 3), [groups(z) for z in (4, 0, 2)], **uids)
    image = read_image(path)
    mask = np.zeros(image.array.shape[:-1], np.uint8)
    mask[1, 2, 2] = mask[0, 0, 0] = 1  # in the slices at 4 and at 0 mm
    data = pydicom.dcmread(write_dicom_seg(tmp_path / "seg.dcm", mask, like=image))
    found = {
        float(group.PlanePositionSequence[0].ImagePositionPatient[2]): frame
        for group, frame in zip(data.PerFrameFunctionalGroupsSequence, data.pixel_array, strict=True)
    }
    assert set(found) == {0.0, 4.0}
    assert (found[4.0] == mask[:, :, 2].T).all()
    assert (found[0.0] == mask[:, :, 0].T).all()


def test_dicom_seg_of_some_frames_of_a_file_is_one_line(tmp_path):
    pytest.importorskip("highdicom")
    from tests.data.dicom_files import enhanced, flat, groups

    each = [groups(z, MREchoSequence={"EffectiveEchoTime": echo}) for z in (0, 1) for echo in (5.0, 9.0)]
    path = enhanced(tmp_path / "a.dcm", flat(1, 2, 3, 4), each, StudyInstanceUID="1.2.1", FrameOfReferenceUID="1.2.4")
    image = read_image(f"{path}#2")
    with pytest.raises(UserError, match="some frames of a file; leave --dicom-seg out"):
        write_dicom_seg(tmp_path / "seg.dcm", np.ones(image.array.shape[:-1], np.uint8), like=image)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_results_keep_geometry_alone(tmp_path, suffix):
    """Free text of the input often names the patient."""
    source = nibabel.Nifti1Image(np.ones((4, 5, 3), np.float32), np.diag([2.0, 3, 4, 1]))
    for field in ("descrip", "aux_file", "intent_name", "db_name", "magic"):
        if field != "magic":
            source.header[field] = b"PRIVATE " + field.encode()
    source.header["intent_code"], source.header["intent_p1"], source.header["toffset"] = 1001, 7, 12
    source.header["cal_max"], source.header["slice_duration"] = 3, 5
    source.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"PRIVATE extension"))
    source.header.set_xyzt_units("mm", "sec")
    nibabel.save(source, tmp_path / f"a{suffix}")
    image = read_image(tmp_path / f"a{suffix}")
    back = nibabel.load(write_nifti(tmp_path / f"m{suffix}", image.array[..., 0] > 0, like=image))
    assert b"PRIVATE" not in back.header.binaryblock
    assert len(back.header.extensions) == 0
    for field in ("intent_code", "intent_p1", "toffset", "cal_max", "slice_duration"):
        assert back.header[field] == 0, field
    assert back.header.get_xyzt_units() == ("mm", "sec")
    assert back.header.get_zooms() == (2, 3, 4)
    assert np.array_equal(back.affine, source.affine)


@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 1), (1, 4)])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_nifti_keeps_the_codes_of_its_forms(tmp_path, codes, kind):
    affine = nibabel.affines.from_matvec(np.array([[0, -2.0, 0], [1.5, 0, 0], [0, 0, 3]]) @ np.eye(3), [5.0, -7.0, 1.0])
    source = kind(np.ones((4, 5, 6, 2), np.int16), affine)
    source.set_qform(affine, codes[0])
    source.set_sform(affine, codes[1])
    source.header.set_zooms((1.5, 2, 3, 2.5))
    nibabel.save(source, tmp_path / "a.nii")
    image = read_image(tmp_path / "a.nii")
    back = nibabel.load(write_nifti(tmp_path / "b.nii", image.array, like=image))
    assert (int(back.header["qform_code"]), int(back.header["sform_code"])) == codes
    assert back.header.get_zooms() == (1.5, 2, 3, 2.5)
    assert np.allclose(back.affine, nibabel.load(tmp_path / "a.nii").affine, atol=1e-6)
    mask = nibabel.load(write_nifti(tmp_path / "c.nii", image.array[..., 0], like=image))
    assert np.allclose(mask.affine, back.affine)


@pytest.mark.parametrize(
    "array",
    [
        np.array([[0, 2**31]]),
        np.array([[-(2**40), 7]]),
        np.array([[0, 2**63 + 5]], np.uint64),
        np.array([[2**32 - 1, 0]], np.uint32),
        np.array([[-128, 127]], np.int8),
        np.array([[65535, 3]], np.uint16),
        np.array([[True, False]]),
        np.array([[0.0, 2**24 + 1]]),
        np.array([[1e300, -1.0]]),
        np.array([[3, 70000]]),
    ],
)
@pytest.mark.parametrize("like", [None, np.int16, np.uint8])
def test_nifti_never_wraps(tmp_path, array, like):
    image = None
    if like is not None:
        source = nibabel.Nifti1Image(np.ones((1, 2, 1), like), np.eye(4))
        source.header.set_slope_inter(0.5, 3)
        nibabel.save(source, tmp_path / "a.nii")
        image = read_image(tmp_path / "a.nii")
    back = nibabel.load(write_nifti(tmp_path / "b.nii", array, like=image))
    assert np.array_equal(np.asanyarray(back.dataobj).reshape(1, 2), array)
    assert back.get_data_dtype() not in (np.int64, np.uint64) or abs(array.astype(float)).max() >= 2**31


def test_nifti_of_what_is_no_number(tmp_path):
    for array in (np.ones((2, 2), np.complex64), np.array([["a"]]), np.array([[None]])):
        with pytest.raises(UserError, match=r"b\.nii: values of type"):
            write_nifti(tmp_path / "b.nii", array)
    assert not (tmp_path / "b.nii").exists()
