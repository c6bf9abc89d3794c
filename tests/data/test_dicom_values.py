"""From stored pixels to values."""

import numpy as np
import pytest

from jaxgen.data.readers import read_image
from jaxgen.errors import UserError
from tests.data.dicom_files import item, placed, pydicom, write

STORED = np.arange(24, dtype=np.uint16).reshape(4, 6)


def values(path, array=STORED, **tags):
    return read_image(write(path, array, **tags)).array[..., 0]


def lut(first, entries, bits=16, vr="US", data=None):
    table = item()
    table.add_new("LUTDescriptor", vr, [len(entries) % 65536, first, bits])
    table.add_new("LUTData", "OW", np.asarray(entries, "<u2").tobytes() if data is None else data)
    return {"ModalityLUTSequence": [table]}


def test_modality_lut_clamps_at_its_ends(tmp_path):
    found = values(tmp_path / "a.dcm", **lut(5, [100, 300, 700, 60000]))
    assert found[0].tolist() == [100, 100, 100, 100, 100, 100]
    assert found[1].tolist() == [300, 700, 60000, 60000, 60000, 60000]
    assert found.dtype == np.uint16


@pytest.mark.parametrize(("first", "vr"), [(-3, "SS"), (65533, "US")])
def test_modality_lut_of_signed_pixels(tmp_path, first, vr):
    array = np.array([[-32768, -4, -3, -2], [0, 1, 2, 32767]], np.int16)
    found = values(tmp_path / "a.dcm", array, **lut(first, [10, 20, 30, 40, 50], vr=vr))
    assert found.tolist() == [[10, 10, 10, 20], [40, 50, 50, 50]]


def test_modality_lut_of_all_16_bits(tmp_path):
    table = np.arange(65536)[::-1]
    array = np.array([[0, 1], [40000, 65535]], np.uint16)
    assert (values(tmp_path / "a.dcm", array, **lut(0, table)) == 65535 - array).all()
    assert values(tmp_path / "b.dcm", array, **lut(0, table[:40000])).tolist() == [[65535, 65534], [25536, 25536]]


def test_modality_lut_of_bytes_and_as_numbers(tmp_path):
    array = STORED.astype(np.uint8)
    assert values(tmp_path / "a.dcm", array, **lut(0, range(24), 8, data=bytes(range(50, 74)))).max() == 73
    table = item()
    table.add_new("LUTDescriptor", "US", [24, 0, 16])
    table.add_new("LUTData", "US", [9 * i for i in range(24)])
    assert (values(tmp_path / "b.dcm", array, ModalityLUTSequence=[table]) == 9 * STORED).all()
    assert (values(tmp_path / "c.dcm", array, ModalityLUTSequence=[]) == STORED).all()  # empty is absent
    with pytest.raises(UserError, match="LUT of 6 entries that should have 24"):
        values(tmp_path / "d.dcm", array, **lut(0, range(24), data=b"\0" * 6))


def test_a_modality_lut_in_hounsfield_units_is_not_inverted(tmp_path):
    table = lut(0, range(24), 12)
    table["ModalityLUTSequence"][0].ModalityLUTType = "HU"
    assert (values(tmp_path / "a.dcm", **table, PhotometricInterpretation="MONOCHROME1") == STORED).all()


def test_modality_lut_goes_before_a_rescale_and_is_inverted_in_its_own_range(tmp_path):
    both = {"Modality": "DX", "RescaleSlope": 2, "RescaleIntercept": 5, **lut(0, range(24), 12)}
    assert (values(tmp_path / "a.dcm", **both) == STORED).all()
    assert (values(tmp_path / "b.dcm", **both, PhotometricInterpretation="MONOCHROME1") == 4095 - STORED).all()


def test_monochrome1_is_inverted_after_rescaling(tmp_path):
    one = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11, "Modality": "DX"}
    found = values(tmp_path / "a.dcm", **one, RescaleSlope=2, RescaleIntercept=10)
    assert (found == 2 * (4095 - STORED.astype(int)) + 10).all()  # from 10 to 8200, as before it was inverted
    # what a pixel becomes depends on nothing but itself
    other = values(tmp_path / "b.dcm", STORED[:2] + 0, **one, RescaleSlope=2, RescaleIntercept=10)
    assert (other == found[:2]).all()
    signed = values(tmp_path / "c.dcm", STORED.astype(np.int16) - 9, **one, RescaleType="US")
    assert (signed == -1 - (STORED.astype(int) - 9)).all()
    fractions = values(tmp_path / "d.dcm", **one, RescaleSlope=0.5)
    assert np.allclose(fractions, 0.5 * (4095 - STORED.astype(int)))


@pytest.mark.parametrize(
    "tags",
    [
        {"Modality": "CT"},
        {"Modality": "CT", "RescaleType": None},
        {"Modality": "MR", "RescaleType": "HU"},
        {"Modality": None, "RescaleIntercept": -1024},  # a CT by its class
        {"Modality": "PT"},
    ],
)
def test_values_with_a_unit_are_never_inverted(tmp_path, tags):
    tags = {"RescaleSlope": 1, "RescaleIntercept": -1000, **tags}
    found = values(tmp_path / "a.dcm", PhotometricInterpretation="MONOCHROME1", **tags)
    assert (found == STORED.astype(int) + tags["RescaleIntercept"]).all()


@pytest.mark.parametrize(
    "empty",
    [
        ("RescaleSlope", "RescaleIntercept"),
        ("PixelSpacing",),
        ("ImagePositionPatient", "ImageOrientationPatient"),
        ("ImageOrientationPatient",),
        ("NumberOfFrames", "SliceThickness", "SpacingBetweenSlices", "SliceLocation", "InstanceNumber"),
        ("SamplesPerPixel", "PhotometricInterpretation"),
        ("BitsStored", "HighBit"),
        ("SeriesInstanceUID", "SOPInstanceUID", "Modality", "RescaleType", "WindowCenter", "PatientID"),
        ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "ModalityLUTSequence"),
    ],
)
def test_empty_tags_count_as_absent(tmp_path, empty, recwarn):
    full = {"PixelSpacing": [1, 1], "ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    path = write(tmp_path / "a.dcm", STORED, **(full | dict.fromkeys(empty)))
    image = read_image(path)
    assert (image.array[..., 0] == STORED).all()
    assert (image.affine is None) == bool(set(empty) & set(full))


def test_lists_of_empty_values_count_as_absent(tmp_path):
    empty = {"PixelSpacing": ["", ""], "ImageOrientationPatient": [""] * 6, "RescaleSlope": " "}
    image = read_image(write(tmp_path / "a.dcm", STORED, ImagePositionPatient=[0, 0, 0], **empty))
    assert (image.array[..., 0] == STORED).all()
    assert image.affine is None


def test_an_intercept_without_a_slope(tmp_path):
    assert (values(tmp_path / "a.dcm", RescaleSlope=None, RescaleIntercept=-1024) == STORED.astype(int) - 1024).all()
    assert (values(tmp_path / "b.dcm", RescaleSlope=3, RescaleIntercept=None) == STORED * 3).all()


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "RescaleSlope is 0"),
        ({"PixelSpacing": [1, 1, 1]}, "PixelSpacing cannot be read"),
        ({"PixelRepresentation": None}, "PixelRepresentation is empty"),
        ({"BitsStored": 20}, "BitsStored 20"),
        ({"NumberOfFrames": -2}, "NumberOfFrames is -2"),
        ({"NumberOfFrames": 2_000_000_000}, "announces 91553 MiB"),
        ({"NumberOfFrames": 2_000_000}, "NumberOfFrames is 2000000 in a file of"),
        ({"SamplesPerPixel": 2}, "2 samples a pixel"),
    ],
)
def test_tags_that_make_no_sense_are_one_line(tmp_path, tags, words):
    path = write(tmp_path / "a.dcm", STORED, **tags)
    with pytest.raises(UserError, match=f"a.dcm: .*{words}"):
        read_image(path)


def bad(path, **tags):
    """A file with values that no reader takes, written over values of the same length."""
    path = write(path, STORED, **dict.fromkeys(tags, "123"))
    content = path.read_bytes()
    for value in tags.values():
        content = content.replace(b"123 ", value, 1)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("tag", ["InstanceNumber", "SliceLocation", "EchoTime", "AcquisitionNumber", "TriggerTime"])
def test_a_bad_value_of_a_tag_that_no_pixel_hangs_on_does_not_matter(tmp_path, tag):
    assert (read_image(bad(tmp_path / "a.dcm", **{tag: b"1A? "})).array[..., 0] == STORED).all()


@pytest.mark.parametrize("tag", ["RescaleSlope", "RescaleIntercept", "NumberOfFrames"])
def test_a_bad_value_that_pixels_hang_on_is_one_line(tmp_path, tag):
    with pytest.raises(UserError, match=f"{tag} cannot be read"):
        read_image(bad(tmp_path / "a.dcm", **{tag: b"1A? "}))


def test_overlays_in_the_high_bits_are_no_values(tmp_path):
    array = STORED | 0xF000
    assert (values(tmp_path / "a.dcm", array, BitsStored=12, HighBit=11) == STORED).all()
    signed = (STORED.astype(np.int16) - 12) & 0x0FFF | 0x5000
    found = values(tmp_path / "b.dcm", signed.astype(np.int16), BitsStored=12, HighBit=11)
    assert (found == STORED.astype(int) - 12).all()
    high = values(tmp_path / "c.dcm", STORED << 4 | 7, BitsStored=12, HighBit=15)
    assert (high == STORED).all()
    negative = values(tmp_path / "d.dcm", (STORED.astype(np.int16) - 12) << 4, BitsStored=12, HighBit=15)
    assert (negative == STORED.astype(int) - 12).all()


def test_colour_in_ybr_is_converted_once(tmp_path):
    ybr = np.array([[[100, 90, 200], [50, 128, 128]]], np.uint8)
    image = read_image(write(tmp_path / "a.dcm", ybr, PhotometricInterpretation="YBR_FULL"))
    # R = Y + 1.402 (Cr - 128), G = Y - 0.344136 (Cb - 128) - 0.714136 (Cr - 128), B = Y + 1.772 (Cb - 128)
    assert image.array.tolist() == [[[201, 62, 33], [50, 50, 50]]]


def test_a_window_is_not_applied(tmp_path):
    assert (values(tmp_path / "a.dcm", WindowCenter=5, WindowWidth=2, PixelPaddingValue=3) == STORED).all()


def test_compressed_without_a_decoder_is_one_line(tmp_path):
    fragments = pydicom.encaps.encapsulate([b"\xff\xd8 no image"])
    for name in ("JPEG2000Lossless", "JPEGXLLossless", "MPEG2MPML"):
        syntax = getattr(pydicom.uid, name, pydicom.uid.MPEG2MPML)
        path = placed(tmp_path / f"{name}.dcm", 0)
        data = pydicom.dcmread(path)
        data.file_meta.TransferSyntaxUID = syntax
        data.PixelData = fragments
        data["PixelData"].is_undefined_length = True
        data.save_as(path)
        with pytest.raises(UserError) as caught:
            read_image(path)
        assert str(path) in str(caught.value)
        assert "decompress it" in str(caught.value)
        assert ("compressed as" in str(caught.value)) != name.startswith("JPEG2000")


def test_without_its_pixels_it_says_so(tmp_path):
    path = placed(tmp_path / "a.dcm", 0)
    data = pydicom.dcmread(path)
    del data.PixelData
    data.save_as(path)
    with pytest.raises(UserError, match="without its pixels"):
        read_image(path)


@pytest.mark.parametrize("syntax", ["ImplicitVRLittleEndian", "ExplicitVRBigEndian", "DeflatedExplicitVRLittleEndian"])
def test_other_encodings(tmp_path, syntax):
    array = np.array([[-4, -3, -2], [0, 1, 300]], np.int16)
    if syntax == "ExplicitVRBigEndian":
        table = lut(-3, [10, 20, 30, 40, 500], vr="SS", data=np.array([10, 20, 30, 40, 500], ">u2").tobytes())
        stored = array.astype(">i2").view(np.int16)
    else:
        table, stored = lut(-3, [10, 20, 30, 40, 500], vr="SS"), array
    path = write(tmp_path / "a.dcm", stored, getattr(pydicom.uid, syntax), **table)
    assert read_image(path).array[..., 0].tolist() == [[10, 10, 20], [40, 500, 500]]


@pytest.mark.parametrize(("frames", "said"), [(2, None), (3, None), (3, 2)])
def test_pixels_of_more_frames_than_are_said_are_one_line(tmp_path, frames, said):
    many = np.concatenate([STORED] * frames)
    tags = {"Rows": len(STORED)} | ({} if said is None else {"NumberOfFrames": said})
    with pytest.raises(UserError, match=rf"{frames} frames of pixels where NumberOfFrames is {said or 1};"):
        values(tmp_path / "a.dcm", many, **tags)
