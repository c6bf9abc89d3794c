import struct
import unicodedata
import zlib

import nibabel
import numpy as np
import PIL.Image
import pytest

from jaxgen.data.nifti import axial_axis
from jaxgen.data.readers import file_suffix, read_header, read_image, read_mask, stem

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 9), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (6, 9), dtype=np.uint16)


def saved(path, array, mode=None):
    picture = array if isinstance(array, PIL.Image.Image) else PIL.Image.fromarray(array)
    picture.save(path)
    if mode is not None:
        assert PIL.Image.open(path).mode == mode
    return path


def agrees_with_header(path):
    image, head = read_image(path), read_header(path)
    assert image.array.shape == (*head.shape, head.channels)
    return image.array


def test_grey_and_colour(tmp_path):
    for name in ("a.png", "a.tif", "a.bmp"):
        assert (agrees_with_header(saved(tmp_path / name, GREY, "L"))[..., 0] == GREY).all()
        assert (agrees_with_header(saved(tmp_path / name, COLOUR, "RGB")) == COLOUR).all()


def test_jpeg(tmp_path):
    flat = np.full((16, 16, 3), 100, np.uint8)
    assert (agrees_with_header(saved(tmp_path / "a.jpg", flat)) == 100).all()


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_sixteen_bits_are_kept(tmp_path, name):
    array = agrees_with_header(saved(tmp_path / name, DEEP, "I;16"))
    assert array.dtype == np.uint16
    assert (array[..., 0] == DEEP).all()
    assert (read_mask(tmp_path / name) == DEEP).all()


def test_float_tiff(tmp_path):
    array = agrees_with_header(saved(tmp_path / "a.tif", GREY.astype(np.float32) / 7, "F"))
    assert array.dtype == np.float32
    assert (array[..., 0] == GREY.astype(np.float32) / 7).all()


@pytest.mark.parametrize("alpha", [0, 128, 255])
def test_alpha_is_dropped(tmp_path, alpha):
    extra = np.full((6, 9, 1), alpha, np.uint8)
    rgba = saved(tmp_path / "rgba.png", np.concatenate([COLOUR, extra], -1), "RGBA")
    la = saved(tmp_path / "la.png", np.concatenate([GREY[..., None], extra], -1), "LA")
    assert (agrees_with_header(rgba) == COLOUR).all()
    assert (agrees_with_header(la)[..., 0] == GREY).all()
    assert (read_mask(la) == GREY).all()


def palette(colours):
    picture = PIL.Image.fromarray((GREY % len(colours)).astype(np.uint8), "L").convert("P")
    picture = PIL.Image.frombytes("P", picture.size, (GREY % len(colours)).astype(np.uint8).tobytes())
    picture.putpalette(np.asarray(colours, np.uint8).ravel().tolist())
    return picture


def test_palettes(tmp_path):
    colours = np.array([[9, 0, 0], [0, 70, 0], [0, 0, 200], [255, 255, 255]])
    path = saved(tmp_path / "p.png", palette(colours), "P")
    assert (agrees_with_header(path) == colours[GREY % 4]).all()
    assert (read_mask(path) == GREY % 4).all(), "in a mask the indices are the labels"
    greys = np.array([[0] * 3, [90] * 3, [255] * 3])
    path = saved(tmp_path / "g.png", palette(greys), "P")
    assert (agrees_with_header(path)[..., 0] == greys[GREY % 3, 0]).all()


def test_transparent_palette_keeps_its_colours(tmp_path):
    colours = np.array([[9, 0, 0], [0, 70, 0], [0, 0, 200]])
    palette(colours).save(tmp_path / "p.png", transparency=1)
    assert (agrees_with_header(tmp_path / "p.png") == colours[GREY % 3]).all()


def test_one_bit(tmp_path):
    path = saved(tmp_path / "b.png", PIL.Image.fromarray(GREY > 99), "1")
    assert (agrees_with_header(path)[..., 0] == 255 * (GREY > 99)).all()
    assert (read_mask(path) == (GREY > 99)).all()


def test_grey_mask_saved_in_colour(tmp_path):
    rgb = np.repeat(GREY[..., None] // 128 * 255, 3, -1)
    rgba = np.concatenate([rgb, np.full((6, 9, 1), 255, np.uint8)], -1)
    for array in (rgb, rgba):
        assert (read_mask(saved(tmp_path / "m.png", array)) == rgb[..., 0]).all()


def test_pages_are_a_third_axis(tmp_path):
    pages = [PIL.Image.fromarray(GREY + i) for i in range(4)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    array = agrees_with_header(tmp_path / "a.tif")
    assert array.shape == (6, 9, 4, 1)
    assert (array[:, :, 2, 0] == GREY + 2).all()


def test_four_bit_grey_png(tmp_path):
    """Written by hand: Pillow cannot. Values 0 to 15 of a mask must not be stretched to 0 to 255."""
    rows = b"".join(b"\0" + bytes([0x01, 0x23]) for _ in range(2))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 4, 2, 4, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    values = np.unique(read_mask(tmp_path / "a.png"))
    assert len(values) == 4
    assert values[0] == 0


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("u1", "u1"), ("i2", "i2"), ("u2", "u2"), ("f4", "f4"), ("f8", "f4"), ("i4", "f4"), (">i2", "i2"), ("i1", "i2")],
)
def test_nifti(tmp_path, suffix, dtype, expected):
    array = RNG.integers(0, 100, (4, 5, 6)).astype(dtype)
    affine = np.diag([2.0, 3, 4, 1])
    header = nibabel.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(array.dtype)
    nibabel.save(nibabel.Nifti1Image(array, affine, header), tmp_path / f"a{suffix}")
    image = read_image(tmp_path / f"a{suffix}")
    assert image.array.dtype == np.dtype(expected)
    assert (image.array[..., 0] == array).all()
    assert (image.affine == affine).all()
    assert read_header(tmp_path / f"a{suffix}").shape == (4, 5, 6)
    assert (read_mask(tmp_path / f"a{suffix}") == array).all()


def test_nifti_scaling(tmp_path):
    picture = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    picture.header.set_slope_inter(0.5, -3)
    nibabel.save(picture, tmp_path / "a.nii")
    expected = np.asarray(nibabel.load(tmp_path / "a.nii").get_fdata(), np.float32)
    array = read_image(tmp_path / "a.nii").array
    assert array.dtype == np.float32
    assert (array[..., 0] == expected).all()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((4, 5), (4, 5, 1)), ((4, 5, 1), (4, 5, 1)), ((4, 5, 6, 2), (4, 5, 6, 2)), ((4, 5, 1, 3), (4, 5, 3))],
)
def test_nifti_shapes(tmp_path, shape, expected):
    nibabel.save(nibabel.Nifti1Image(RNG.normal(size=shape), np.eye(4)), tmp_path / "a.nii")
    assert agrees_with_header(tmp_path / "a.nii").shape == expected


def test_axial_axis_of_each_orientation():
    for axis in range(3):
        order = [i for i in range(3) if i != axis]
        affine = np.zeros((4, 4))
        affine[2, axis], affine[0, order[0]], affine[1, order[1]], affine[3, 3] = -2.5, 1, 1, 1
        assert axial_axis(affine) == axis
    assert axial_axis(None) == 2


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((8, 9), (8, 9, 1)), ((8, 9, 3), (8, 9, 3)), ((8, 9, 7), (8, 9, 7, 1)), ((8, 9, 7, 2), (8, 9, 7, 2))],
)
def test_npy(tmp_path, shape, expected):
    np.save(tmp_path / "a.npy", RNG.normal(size=shape))
    assert agrees_with_header(tmp_path / "a.npy").shape == expected
    np.save(tmp_path / "m.npy", np.ones(shape, bool))
    assert read_mask(tmp_path / "m.npy").shape == read_header(tmp_path / "m.npy", mask=True).shape == shape


def test_large_labels_keep_their_numbers(tmp_path):
    np.save(tmp_path / "m.npy", np.array([[0, 70000]]))
    assert read_mask(tmp_path / "m.npy").tolist() == [[0, 70000]]


def test_names():
    assert stem("x/b.nii.gz") == "b"
    assert stem("x/b.v2.PNG") == "b.v2"
    assert file_suffix(".png") == ""
    assert stem(unicodedata.normalize("NFD", "é.png")) == stem(unicodedata.normalize("NFC", "é.png"))
