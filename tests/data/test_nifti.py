"""Where NIfTI volumes lie, and headers that make no sense."""

import struct

import nibabel
import numpy as np
import pytest

from jaxgen.data import load
from jaxgen.data.nifti import thinner
from jaxgen.data.readers import read_header, read_image, read_mask
from jaxgen.errors import UserError

RNG = np.random.default_rng(0)


def save(path, array, affine=None, kind=nibabel.Nifti1Image):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(kind(array, np.eye(4) if affine is None else affine), path)


def pairs(root, shape, affine, wrong):
    for i in range(3):
        save(root / f"images/{i}.nii.gz", RNG.normal(size=shape).astype(np.float32), affine)
        save(root / f"masks/{i}.nii.gz", RNG.integers(0, 2, shape).astype(np.uint8), wrong if i == 1 else affine)
    return root


FLIPPED = np.diag([-1.0, 1, 1, 1])
SHIFTED = np.array([[1.0, 0, 0, 3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
ANOTHER_SLICE = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 5], [0, 0, 0, 1]])
TURNED = np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 8), (8, 8, 4)])
@pytest.mark.parametrize("wrong", [FLIPPED, SHIFTED, ANOTHER_SLICE, TURNED])
def test_masks_of_one_slice_are_checked_like_thick_ones(tmp_path, shape, wrong):
    with pytest.raises(UserError, match=r"masks/1\.nii\.gz: lies .* mm away .*affines differ.*; resample"):
        load(pairs(tmp_path, shape, np.eye(4), wrong))


@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 8)])
def test_a_mask_of_one_slice_in_its_place_is_read(tmp_path, shape):
    near = np.eye(4)
    near[0, 3] = 0.3
    assert load(pairs(tmp_path, shape, np.eye(4), near)).train[0]["mask"].shape == (8, 8)


def test_a_dicom_slice_and_its_mask_as_nifti(tmp_path):
    """DICOM counts rows first and NIfTI columns: a square mask would lie transposed on its image."""
    pytest.importorskip("pydicom")
    from tests.data.test_writers import dicom_slice

    (tmp_path / "images").mkdir()
    for i in range(3):
        dicom_slice(tmp_path / f"images/{i}.dcm", float(i))
    image = read_image(tmp_path / "images/0.dcm")
    shape, affine = image.array.shape[:2], image.affine
    side = min(shape)
    for i in range(3):
        import pydicom

        data = pydicom.dcmread(tmp_path / f"images/{i}.dcm")
        data.PixelData = data.pixel_array[:side, :side].tobytes()
        data.Rows = data.Columns = side
        data.save_as(tmp_path / f"images/{i}.dcm")
        here = affine.copy()
        here[2, 3] = i
        save(tmp_path / f"masks/{i}.nii", np.eye(side, dtype=np.uint8)[..., None], here)
    with pytest.raises(UserError, match="affines differ"):
        load(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0), (1, 3), (2, 2)])
@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 5, 1)])
def test_an_affine_that_is_no_number(tmp_path, value, place, shape):
    affine = np.eye(4)
    affine[place] = value
    picture = nibabel.Nifti1Image(np.ones(shape, np.uint8), np.eye(4))
    for i, row in enumerate(("srow_x", "srow_y", "srow_z")):
        picture.header[row] = affine[i]
    picture.header["sform_code"] = 1
    nibabel.save(nibabel.Nifti1Image(picture.dataobj, None, picture.header), tmp_path / "a.nii")
    for read in (read_image, read_mask, read_header):
        with pytest.raises(UserError, match=r"a\.nii: its affine has NaN or infinite values; "):
            read(tmp_path / "a.nii")


@pytest.mark.parametrize("columns", [(0,), (1, 2), (0, 1, 2)])
def test_a_singular_affine(tmp_path, columns):
    picture = nibabel.Nifti1Image(np.ones((4, 5, 6), np.uint8), np.eye(4))
    affine = np.eye(4)
    affine[:3, list(columns)] = 0
    picture.header.set_sform(affine, 1)
    nibabel.save(nibabel.Nifti1Image(picture.dataobj, None, picture.header), tmp_path / "a.nii")
    with pytest.raises(UserError, match=r"a\.nii: its affine is singular"):
        read_image(tmp_path / "a.nii")


def patched(path, *changes):
    """The file with fields of its header overwritten: (offset, format, value)."""
    content = bytearray(path.read_bytes())
    for offset, form, value in changes:
        struct.pack_into(form, content, offset, value)
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("slope", [0.0, np.nan, 1.0])
def test_a_slope_that_says_nothing(tmp_path, slope):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    save(tmp_path / "a.nii", array)
    patched(tmp_path / "a.nii", (112, "<f", slope))
    assert np.array_equal(read_image(tmp_path / "a.nii").array[..., 0], array)
    assert read_image(tmp_path / "a.nii").array.dtype == np.int16


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("order", "<>")
def test_both_versions_and_orders_of_bytes(tmp_path, kind, order):
    array = RNG.integers(-99, 99, (4, 5, 6)).astype(order + "i2")
    header = kind.header_class(endianness=order)
    header.set_data_dtype(array.dtype)
    nibabel.save(kind(array, np.diag([2.0, 3, 4, 1]), header), tmp_path / "a.nii")
    image = read_image(tmp_path / "a.nii")
    assert np.array_equal(image.array[..., 0], array)
    assert np.array_equal(image.affine, np.diag([2, 3, 4, 1]))


@pytest.mark.parametrize("shape", [(2, 3, 4, 2, 3), (2,)])
def test_axes_that_are_not_read(tmp_path, shape):
    save(tmp_path / "a.nii", np.ones(shape, np.uint8))
    with pytest.raises(UserError, match=r"a\.nii: NIfTI of size .*; save 2 or 3"):
        read_image(tmp_path / "a.nii")


@pytest.mark.parametrize("value", [-3, 0])
def test_an_axis_without_voxels(tmp_path, value):
    save(tmp_path / "a.nii", np.ones((2, 3, 4), np.uint8))
    patched(tmp_path / "a.nii", (42, "<h", value))
    for read in (read_image, read_header):
        with pytest.raises(UserError, match=r"a\.nii"):
            read(tmp_path / "a.nii")


@pytest.mark.parametrize("name", ["a.hdr", "a.img"])
def test_pairs_of_analyze_are_named(tmp_path, name):
    nibabel.save(nibabel.Nifti1Pair(np.ones((2, 3, 4), np.uint8), np.eye(4)), tmp_path / "a.hdr")
    with pytest.raises(UserError, match=rf"{name}: not a format that is read .*convert"):
        read_image(tmp_path / name)


def test_compressed_without_the_suffix(tmp_path):
    save(tmp_path / "a.nii.gz", np.ones((2, 3, 4), np.uint8))
    (tmp_path / "a.nii.gz").rename(tmp_path / "b.nii")
    with pytest.raises(UserError, match=r"b\.nii: named \.nii, but its content is gzip; give it its right suffix"):
        read_image(tmp_path / "b.nii")


def test_thin_slices_lie_within_the_thick_one_that_they_come_from():
    turn = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn @ np.diag([0.9, 1.1, -4.0]), (-70, 12, 30)
    thin = thinner(affine, 4)
    np.testing.assert_allclose(np.linalg.norm(thin[:3, :3], axis=0), [0.9, 1.1, 1.0])
    for k in (0, 3):
        inside = [thin @ (5, 7, i, 1) for i in range(4 * k, 4 * k + 4)]
        np.testing.assert_allclose(np.mean(inside, axis=0), affine @ (5, 7, k, 1), atol=1e-9)
    np.testing.assert_allclose(thinner(None, 2), thinner(np.eye(4), 2))
    with pytest.raises(UserError, match="thickest along axis 1 of 0, 1, 2; make that the last axis"):
        thinner(np.diag([1.0, 5.0, 3.0, 1.0]), 3)
