"""PNG, JPEG and BMP: orientation, labels of few bits, and what is refused because it cannot be read as it is meant."""

import struct
import zlib

import numpy as np
import PIL.Image
import pytest

from jaxgen.data import load
from jaxgen.data.orientation import upright
from jaxgen.data.readers import read_header, read_image, read_mask
from jaxgen.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 9), dtype=np.uint8)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_png(path, rows, width, bits, colour=0, first=b"", last=b""):
    """By hand: Pillow writes neither few bits of grey nor chunks behind the pixels."""
    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [chunk(b"IHDR", header), first, chunk(b"IDAT", data), last, chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def packed(values, bits):
    return [
        np.packbits(((row[:, None] >> np.arange(bits)[::-1]) & 1).astype(np.uint8).ravel()).tobytes() for row in values
    ]


def exif_block(orientation):
    exif = PIL.Image.Exif()
    exif[0x112] = orientation
    return exif.tobytes().removeprefix(b"Exif\0\0")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_orientation_is_applied_to_image_mask_and_header(tmp_path, orientation, suffix):
    big = np.kron(GREY // 128 * 255, np.ones((8, 8), np.uint8))  # blocks of JPEG, which keeps 0 and 255
    picture = PIL.Image.fromarray(big)
    exif = picture.getexif()
    exif[0x112] = orientation
    path = tmp_path / f"a.{suffix}"
    picture.save(path, exif=exif, **({"quality": 100} if suffix == "jpg" else {}))
    shown = upright(big, orientation)
    assert np.array_equal(read_image(path).array[..., 0], shown)
    assert np.array_equal(read_mask(path), shown)
    assert read_header(path).shape == read_header(path, mask=True).shape == shown.shape


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1", "I;16"])
def test_orientation_of_every_mode(tmp_path, mode):
    picture = PIL.Image.fromarray(GREY.astype(np.uint16) * 99) if mode == "I;16" else PIL.Image.fromarray(GREY)
    picture = picture if mode == "I;16" else picture.convert(mode)
    picture.save(tmp_path / "plain.png")
    exif = picture.getexif()
    exif[0x112] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    plain, turned = (read_image(tmp_path / f"{name}.png").array for name in ("plain", "turned"))
    assert np.array_equal(turned, upright(plain, 6))


@pytest.mark.parametrize("place", ["first", "last"])
def test_orientation_before_and_behind_the_pixels(tmp_path, place):
    write_png(tmp_path / "a.png", [r.tobytes() for r in GREY], 9, 8, **{place: chunk(b"eXIf", exif_block(8))})
    assert read_header(tmp_path / "a.png").shape == (9, 6)
    assert np.array_equal(read_mask(tmp_path / "a.png"), upright(GREY, 8))


@pytest.mark.parametrize("block", [b"", b"nonsense", exif_block(0), exif_block(9), exif_block(6)[:12]])
def test_an_orientation_that_is_none_changes_nothing(tmp_path, block):
    write_png(tmp_path / "a.png", [r.tobytes() for r in GREY], 9, 8, first=chunk(b"eXIf", block))
    assert np.array_equal(read_image(tmp_path / "a.png").array[..., 0], GREY)
    assert read_header(tmp_path / "a.png").shape == (6, 9)


def test_mask_lies_on_its_turned_image(tmp_path):
    """The image upside down with EXIF that says so, the mask as viewers show both."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    shown = np.zeros((16, 16), np.uint8)
    for i in range(3):
        shown[:4] = 200 + i
        picture = PIL.Image.fromarray(np.ascontiguousarray(shown[::-1, ::-1]))
        exif = picture.getexif()
        exif[0x112] = 3
        picture.save(tmp_path / f"images/{i}.jpg", exif=exif, quality=100)
        PIL.Image.fromarray(shown // 200 * 255).save(tmp_path / f"masks/{i}.png")
    example = load(tmp_path).train[0]
    assert example["image"][example["mask"] > 0].min() > 150


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_labels_of_few_bits_keep_their_values(tmp_path, bits):
    values = RNG.integers(0, 2**bits, (6, 9))
    write_png(tmp_path / "a.png", packed(values, bits), 9, bits)
    assert np.array_equal(read_mask(tmp_path / "a.png"), values)
    assert np.array_equal(read_image(tmp_path / "a.png").array[..., 0], values * (255 // (2**bits - 1)))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_indices_of_few_bits_are_labels(tmp_path, bits):
    values = RNG.integers(0, 2**bits, (6, 9))
    colours = RNG.integers(0, 256, (2**bits, 3)).astype(np.uint8)
    write_png(tmp_path / "a.png", packed(values, bits), 9, bits, 3, first=chunk(b"PLTE", colours.tobytes()))
    assert np.array_equal(read_mask(tmp_path / "a.png"), values)
    assert np.array_equal(read_image(tmp_path / "a.png").array, colours[values])


@pytest.mark.parametrize("bits", [1, 2, 4, 16])
def test_a_transparent_grey_changes_nothing(tmp_path, bits):
    values = RNG.integers(0, 2**bits, (6, 9))
    transparent = chunk(b"tRNS", struct.pack(">H", 1))
    write_png(tmp_path / "a.png", packed(values, bits), 9, bits, first=transparent)
    assert np.array_equal(read_mask(tmp_path / "a.png"), values)


@pytest.mark.parametrize(("colour", "samples"), [(2, 3), (4, 2), (6, 4)])
def test_sixteen_bit_colour_png_is_refused(tmp_path, colour, samples):
    write_png(tmp_path / "a.png", [bytes(9 * samples * 2)] * 6, 9, 16, colour)
    for read in (read_image, read_mask, read_header):
        with pytest.raises(UserError, match=r"a\.png: 16-bit colour PNG"):
            read(tmp_path / "a.png")


def test_cmyk_is_refused(tmp_path):
    """Whether the inks are inverted is not known."""
    PIL.Image.new("CMYK", (16, 16), (9, 80, 7, 3)).save(tmp_path / "a.jpg")
    for read in (read_image, read_mask, read_header):
        with pytest.raises(UserError, match=r"a\.jpg: colours in CMYK; save"):
            read(tmp_path / "a.jpg")


def test_an_animation_is_refused(tmp_path):
    pictures = [PIL.Image.fromarray(GREY + i) for i in range(3)]
    pictures[0].save(tmp_path / "a.png", save_all=True, append_images=pictures[1:])
    with pytest.raises(UserError, match=r"a\.png: an animation of 3 pictures"):
        read_image(tmp_path / "a.png")


def test_the_first_picture_of_a_camera_file(tmp_path):
    """Cameras append previews and depth maps to a JPEG (MPO)."""
    pictures = [PIL.Image.fromarray(np.full((16, 16), value, np.uint8)) for value in (100, 200)]
    pictures[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=pictures[1:])
    image = read_image(tmp_path / "a.jpg").array
    assert image.shape == (16, 16, 1)
    assert abs(image.astype(int) - 100).max() < 3


@pytest.mark.parametrize("foreground", ["binary", "any", 2, None])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_mask_that_jpeg_smeared_gets_the_right_advice(tmp_path, foreground, mode):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    blob = np.zeros((16, 16), np.uint8)
    blob[5:11, 3:12] = 255
    colours = np.stack([blob, 0 * blob, 0 * blob], -1)
    for i in range(3):
        PIL.Image.fromarray(RNG.integers(0, 256, (16, 16), dtype=np.uint8)).save(tmp_path / f"images/{i}.png")
        PIL.Image.fromarray(blob if mode == "L" else colours).save(tmp_path / f"masks/{i}.jpg", quality=75)
    with pytest.raises(UserError, match=r"masks/0\.jpg: mask with .* values in a JPEG.*PNG") as caught:
        load(tmp_path, foreground=foreground)
    assert "--foreground" not in str(caught.value)


def test_a_format_inside_another_is_refused(tmp_path):
    """The magic number of a PNG and the content of something else."""
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"GIF89a" + bytes(60))
    with pytest.raises(UserError, match=r"a\.png"):
        read_image(tmp_path / "a.png")
