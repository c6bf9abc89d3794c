"""TIFF of every depth, sign, meaning and layout: read as it was written, or refused in one line; never cut."""

import struct
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.TiffImagePlugin
import pytest
import tifffile

from jaxgen.data.orientation import upright
from jaxgen.data.readers import read_header, read_image, read_mask
from jaxgen.errors import UserError

RNG = np.random.default_rng(0)


def random(dtype, *shape):
    if np.dtype(dtype).kind == "f":
        return RNG.normal(size=shape).astype(dtype)
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max, shape, dtype, endpoint=True)


def image_of(path):
    array, head = read_image(path).array, read_header(path)
    assert array.shape == (*head.shape, head.channels)
    return array


def mask_of(path):
    array = read_mask(path)
    assert array.shape == read_header(path, mask=True).shape
    return array


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("extra", [{}, {"compression": "zlib", "predictor": True}, {"tile": (16, 16)}])
def test_colour_of_every_depth_is_not_cut(tmp_path, planar, dtype, order, extra):
    if dtype == "f4" and "predictor" in extra:
        extra = {"compression": "zlib"}
    image = random(dtype, 6, 9, 3)
    stored = image if planar == "contig" else np.moveaxis(image, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, byteorder=order, **extra)
    np.testing.assert_array_equal(image_of(tmp_path / "a.tif"), image)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("extra", [{}, {"compression": "zlib"}, {"bigtiff": True}])
def test_grey_of_every_type(tmp_path, dtype, order, extra):
    image = random(dtype, 6, 9)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack", byteorder=order, **extra)
    found = image_of(tmp_path / "a.tif")
    if dtype in ("u1", "u2", "i1", "i2"):
        np.testing.assert_array_equal(found[..., 0], image)
    np.testing.assert_array_equal(found[..., 0].astype(np.float32), image.astype(np.float32))


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i4", "f4", "f8"])
def test_labels_of_every_type(tmp_path, dtype):
    labels = RNG.integers(0, 250, (6, 9)).astype(dtype)
    if labels.dtype.itemsize >= 4:
        labels[0, 0] = 70001
    tifffile.imwrite(tmp_path / "a.tif", labels)
    np.testing.assert_array_equal(mask_of(tmp_path / "a.tif"), labels)


@pytest.mark.parametrize("dtype", ["?", "u1", "u2"])
def test_white_is_zero(tmp_path, dtype):
    image = random("u1", 6, 9) > 99 if dtype == "?" else random(dtype, 6, 9)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="miniswhite")
    white = {"?": 1, "u1": 255, "u2": 65535}[dtype]
    scale = 255 if dtype == "?" else 1
    np.testing.assert_array_equal(image_of(tmp_path / "a.tif")[..., 0], (white - image.astype(int)) * scale)
    with pytest.raises(UserError, match=r"a\.tif: mask whose 0 is white"):
        read_mask(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", ["i1", "i2", "u4", "f2", "f4"])
def test_white_is_zero_without_a_black_is_refused(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", random(dtype, 6, 9), photometric="miniswhite")
    with pytest.raises(UserError, match=r"a\.tif: .*WhiteIsZero"):
        read_image(tmp_path / "a.tif")


def packed(path, values, bits, photometric=1):
    """An uncompressed grey TIFF with `bits` a sample, written by hand."""
    rows = [
        np.packbits(((row[:, None].astype(int) >> np.arange(bits)[::-1]) & 1).astype(np.uint8).ravel())
        for row in values
    ]
    data = np.concatenate(rows).tobytes()
    tags = [(256, values.shape[1]), (257, len(values)), (258, bits), (259, 1), (262, photometric), (273, 8)]
    tags += [(277, 1), (278, len(values)), (279, len(data))]
    at = 8 + len(data) + len(data) % 2
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    content = struct.pack("<2sHI", b"II", 42, at) + data + bytes(len(data) % 2)
    path.write_bytes(content + struct.pack("<H", len(tags)) + entries + bytes(4))


@pytest.mark.parametrize("bits", [1, 2, 4, 12])
def test_packed_bits(tmp_path, bits):
    values = RNG.integers(0, 2**bits, (6, 9))
    packed(tmp_path / "a.tif", values, bits)
    np.testing.assert_array_equal(mask_of(tmp_path / "a.tif"), values)
    scale = 1 if bits == 12 else 255 // (2**bits - 1)
    np.testing.assert_array_equal(image_of(tmp_path / "a.tif")[..., 0], values * scale)
    if bits < 12:
        packed(tmp_path / "b.tif", values, bits, photometric=0)
        np.testing.assert_array_equal(image_of(tmp_path / "b.tif")[..., 0], (2**bits - 1 - values) * scale)


@pytest.mark.parametrize("factor", [256, 257])
def test_palette(tmp_path, factor):
    indices = RNG.integers(0, 256, (6, 9)).astype(np.uint8)
    colours = RNG.integers(0, 256, (3, 256))
    tifffile.imwrite(tmp_path / "a.tif", indices, photometric="palette", colormap=(colours * factor).astype(np.uint16))
    found = image_of(tmp_path / "a.tif")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, colours.T[indices])
    np.testing.assert_array_equal(mask_of(tmp_path / "a.tif"), indices)


def test_palette_of_sixteen_bits_is_not_cut(tmp_path):
    indices = RNG.integers(0, 256, (6, 9)).astype(np.uint8)
    colours = RNG.integers(0, 65536, (3, 256)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", indices, photometric="palette", colormap=colours)
    np.testing.assert_array_equal(image_of(tmp_path / "a.tif"), colours.T[indices])


def test_alpha_and_further_channels(tmp_path):
    image, path = random("u2", 6, 9, 4), tmp_path / "a.tif"
    tifffile.imwrite(path, image, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(image_of(path), image[..., :3])
    tifffile.imwrite(path, image, photometric="rgb", extrasamples=["assocalpha"])
    with pytest.raises(UserError, match="multiplied by alpha"):
        read_image(path)
    image[..., 3] = 65535
    tifffile.imwrite(path, image, photometric="rgb", extrasamples=["assocalpha"])
    np.testing.assert_array_equal(image_of(path), image[..., :3])
    tifffile.imwrite(path, image, photometric="minisblack", planarconfig="contig")
    np.testing.assert_array_equal(image_of(path), image)
    tifffile.imwrite(path, image[..., :2], photometric="minisblack", planarconfig="contig", extrasamples=[2])
    np.testing.assert_array_equal(image_of(path), image[..., :1])


@pytest.mark.parametrize("kind", ["imagej", "ome", "shaped"])
@pytest.mark.parametrize(
    ("axes", "order"), [("ZYX", (1, 2, 0)), ("TYX", (1, 2, 0)), ("CYX", (1, 2, 0)), ("ZCYX", (2, 3, 0, 1))]
)
def test_axes_that_programs_note(tmp_path, kind, axes, order):
    stack = random("u2", *{"Z": (4,), "T": (4,), "C": (2,)}[axes[0]], *(2,) * (axes == "ZCYX"), 6, 9)
    noted = {} if kind == "shaped" else {kind: True}
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", metadata={"axes": axes}, **noted)
    expected = stack.transpose(order)
    expected = expected if "C" in axes else expected[..., None]
    np.testing.assert_array_equal(image_of(tmp_path / "a.tif"), expected)


@pytest.mark.parametrize("kind", ["imagej", "ome", "shaped"])
def test_two_axes_over_pages_are_never_interleaved(tmp_path, kind):
    noted = {} if kind == "shaped" else {kind: True}
    tifffile.imwrite(
        tmp_path / "a.tif", random("u2", 3, 4, 6, 9), photometric="minisblack", metadata={"axes": "TZYX"}, **noted
    )
    for read in (read_image, read_mask, read_header):
        with pytest.raises(UserError, match=r"a\.tif: a stack over T \(3\) and Z \(4\).*split it"):
            read(tmp_path / "a.tif")


def test_stacks_of_colour(tmp_path):
    stack = random("u2", 4, 6, 9, 3)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="rgb")
    np.testing.assert_array_equal(image_of(tmp_path / "a.tif"), stack.transpose(1, 2, 0, 3))
    tifffile.imwrite(tmp_path / "b.tif", np.moveaxis(stack, -1, 1), photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(image_of(tmp_path / "b.tif"), stack.transpose(1, 2, 0, 3))


def test_reduced_copies_are_passed_over_and_others_refused(tmp_path):
    whole = random("u2", 64, 48)
    with tifffile.TiffWriter(tmp_path / "chain.tif") as file:
        file.write(whole, metadata=None)
        file.write(whole[::2, ::2], subfiletype=1, metadata=None)
    with tifffile.TiffWriter(tmp_path / "inside.tif") as file:
        file.write(whole, subifds=1, tile=(16, 16))
        file.write(whole[::2, ::2], subfiletype=1, tile=(16, 16))
    for name in ("chain", "inside"):
        np.testing.assert_array_equal(image_of(tmp_path / f"{name}.tif")[..., 0], whole)
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        file.write(whole)
        file.write(whole[:5])
    with pytest.raises(UserError, match="differ in size"):
        read_image(tmp_path / "two.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_orientation(tmp_path, orientation, compression):
    pages = random("u1", 3, 6, 9)
    tags = PIL.TiffImagePlugin.ImageFileDirectory_v2()
    tags[274] = orientation
    pictures = [PIL.Image.fromarray(page) for page in pages]
    options = {"compression": compression, "tiffinfo": tags}
    pictures[0].save(tmp_path / "a.tif", **options)
    np.testing.assert_array_equal(image_of(tmp_path / "a.tif")[..., 0], upright(pages[0], orientation))
    np.testing.assert_array_equal(mask_of(tmp_path / "a.tif"), upright(pages[0], orientation))
    tifffile.imwrite(
        tmp_path / "b.tif",
        np.moveaxis(np.stack([pages[0]] * 3, -1), -1, 0),
        photometric="rgb",
        planarconfig="separate",
        extratags=[(274, "H", 1, orientation, True)],
    )
    np.testing.assert_array_equal(mask_of(tmp_path / "b.tif"), upright(pages[0], orientation))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16", "F", "1", "P"])
def test_lzw_is_decoded_without_a_further_package(tmp_path, mode):
    shape = {"RGB": (6, 9, 3), "RGBA": (6, 9, 4)}.get(mode, (6, 9))
    image = random({"I;16": "u2", "F": "f4"}.get(mode, "u1"), *shape)
    if mode == "1":
        image = image > 99
    picture = PIL.Image.frombytes("P", (9, 6), image.tobytes()) if mode == "P" else PIL.Image.fromarray(image)
    if mode == "P":
        picture.putpalette(RNG.integers(0, 256, 768).astype(np.uint8).tolist())
    picture.save(tmp_path / "a.tif", compression="tiff_lzw")
    expected = np.asarray(picture.convert("RGB")) if mode == "P" else image.reshape(6, 9, -1)[..., :3]
    np.testing.assert_array_equal(image_of(tmp_path / "a.tif"), expected * (255 if mode == "1" else 1))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB"])
def test_other_colours_are_refused(tmp_path, mode):
    picture = PIL.Image.frombytes(
        mode, (9, 6), random("u1", 54 * len(PIL.Image.new(mode, (1, 1)).getbands())).tobytes()
    )
    picture.save(tmp_path / "a.tif")
    for read in (read_image, read_mask, read_header):
        with pytest.raises(UserError, match=r"a\.tif: TIFF in .*; save"):
            read(tmp_path / "a.tif")


def test_complex_values_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", random("f4", 6, 9).astype(np.complex64))
    with pytest.raises(UserError, match=r"a\.tif: complex"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("extra", [{}, {"compression": "zlib"}, {"tile": (16, 16)}])
def test_what_is_missing_is_not_filled_with_zeros(tmp_path, extra):
    tifffile.imwrite(tmp_path / "a.tif", random("u2", 64, 64), rowsperstrip=None if "tile" in extra else 8, **extra)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        counts = file.pages[0].tags[279 if 279 in file.pages[0].tags else 325]
        counts.overwrite([0, *counts.value[1:]])
    with pytest.raises(UserError, match=r"a\.tif: cannot be read as TIFF"):
        read_image(tmp_path / "a.tif")


def test_pages_in_a_circle(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", random("u1", 6, 9), metadata=None)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages[0]
        link = page.offset + 2 + 12 * len(page.tags)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[link : link + 4] = struct.pack("<I", page.offset)
    (tmp_path / "a.tif").write_bytes(bytes(content))
    with pytest.raises(UserError, match="circle"):
        read_image(tmp_path / "a.tif")


def test_other_files_that_ome_names_are_not_opened(tmp_path, monkeypatch):
    """tifffile follows them by default."""
    opened = []

    def watched(path, *args, **options):
        opened.append(Path(path).name)
        return open(path, *args, **options)

    tifffile.imwrite(tmp_path / "secret.tif", random("u2", 6, 9), ome=True)
    stack = random("u2", 2, 6, 9)
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, ome=True, photometric="minisblack", metadata={"axes": "ZYX"})
    text = tifffile.TiffFile(tmp_path / "a.ome.tif").ome_metadata
    inside = '<TiffData IFD="0" FirstZ="1"><UUID FileName="secret.tif">urn:uuid:0</UUID></TiffData>'
    start, end = text.index("<TiffData"), text.rindex("</Pixels>")
    text = text[:start] + '<TiffData IFD="0" FirstZ="0" PlaneCount="1"/>' + inside + text[end:]
    tifffile.imwrite(tmp_path / "a.ome.tif", stack[0], description=text, metadata=None)
    assert tifffile.TiffFile(tmp_path / "a.ome.tif").is_ome
    monkeypatch.setattr(tifffile.tifffile, "open", watched, raising=False)
    with pytest.raises(UserError, match=r"a\.ome\.tif: the notes on its axes .*other files"):
        read_image(tmp_path / "a.ome.tif")
    assert set(opened) == {"a.ome.tif"}


@pytest.mark.parametrize("extra", [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"photometric": "rgb"}])
def test_pages_written_one_by_one_are_a_stack(tmp_path, extra):
    pages = random(np.uint8, 3, 32, 32, 3) if "photometric" in extra else random(np.uint8, 3, 32, 32)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in pages:
            file.write(page, **extra)
    wanted = np.moveaxis(pages, 0, 2)
    wanted = wanted if wanted.ndim == 4 else wanted[..., None]
    assert np.array_equal(image_of(tmp_path / "a.tif"), wanted)
    if wanted.shape[-1] == 1:
        assert np.array_equal(mask_of(tmp_path / "a.tif"), wanted[..., 0])


def test_several_stacks_in_a_file_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for stack in random(np.uint8, 2, 5, 12, 17):
            file.write(stack, photometric="minisblack")
    with pytest.raises(UserError, match="2 images or stacks in one file; save them as separate files"):
        read_image(tmp_path / "a.tif")
