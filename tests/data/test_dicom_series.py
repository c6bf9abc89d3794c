"""Folders of slices: one even volume, volumes told apart by tags, or one line that says what was found."""

import os
import shutil

import numpy as np
import pytest

from jaxgen.data import load
from jaxgen.data.readers import read_header, read_image
from jaxgen.errors import UserError
from tests.data.dicom_files import enhanced, flat, groups, item, placed, pydicom, write


def along(path):
    return read_image(path).array[0, 0, :, 0].tolist()


def series(folder, heights, first=0, prefix="s", **tags):
    for i, z in enumerate(heights):
        placed(folder / f"{prefix}{i}.dcm", z, first + i, InstanceNumber=i + 1, **tags)
    return folder


@pytest.mark.parametrize(
    ("heights", "found"),
    [
        ((0, 2, 6, 8, 10), r"4 mm from s1.dcm to s2.dcm where most of its 5 slices are 2 mm apart"),
        ((10, 8, 4, 2, 0), r"4 mm from s2.dcm to s1.dcm where most of its 5 slices"),
        ((0, 1, 2, 3, 8, 13, 18), "mm apart: a slice is missing, or several scans are mixed"),
        ((*range(40), 41), r"2 mm from s39.dcm to s40.dcm where most of its 41 slices are 1 mm"),
        ((*range(11), *(10 + 1.04 * k for k in range(1, 11))), "mm apart"),  # adds up, though each step is near
        ((0, 0.3, 0.8, 1.1), "0.5 mm from s1.dcm to s2.dcm"),
        ((0, 0.1, 0.3, 0.4), "mm apart"),
        ((0, 0.001, 0.003, 0.004), "mm apart"),  # of a microscope, where a step is a micrometre
    ],
)
def test_uneven_series_are_one_line(tmp_path, heights, found):
    tags = {"PixelSpacing": [1e-4, 1e-4]} if max(heights) < 1 else {}
    series(tmp_path / "s", heights, **tags)
    for read in (read_image, read_header):
        with pytest.raises(UserError, match=f"{tmp_path / 's'}: .*{found}"):
            read(tmp_path / "s")


def test_rounded_and_jittering_places_and_directions_are_even(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(8):
        z = 2.5 * i + rng.uniform(-1e-3, 1e-3)
        cosines = (np.array([1, 0, 0, 0, 1, 0]) + rng.uniform(-4e-4, 4e-4, 6)).tolist()
        place = [rng.uniform(-1e-3, 1e-3), 0, z]
        placed(tmp_path / "a" / f"{i}", z, i, ImageOrientationPatient=cosines, ImagePositionPatient=place)
    assert along(tmp_path / "a") == list(range(8))
    assert np.isclose(read_image(tmp_path / "a").affine[2, 2], 2.5, atol=1e-3)
    series(tmp_path / "b", (0, 0.62, 1.25, 1.88, 2.5, 3.12))  # 0.625 as written by a scanner
    assert along(tmp_path / "b") == list(range(6))


def test_a_tilted_gantry_is_in_the_affine(tmp_path):
    for k in range(4):
        placed(tmp_path / "s" / f"{k}", 0, k, ImagePositionPatient=[0, 0.5 * k, 2 * k])
    image = read_image(tmp_path / "s")
    assert np.allclose(image.affine[:3, 2], [0, -0.5, 2])
    placed(tmp_path / "s" / "4", 0, 4, ImagePositionPatient=[0, 9, 8])  # and out of line
    with pytest.raises(UserError, match="a slice is missing, or several scans are mixed"):
        read_image(tmp_path / "s")


@pytest.mark.parametrize(
    ("name", "other", "tag"),
    [
        ("spacing", {"PixelSpacing": [0.9, 0.9]}, r"PixelSpacing 0.9\\0.9 is not that of s0.dcm \(0.5\\0.5\)"),
        ("localizer", {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "ImageOrientationPatient"),
        ("tilted", {"ImageOrientationPatient": [1, 0, 0, 0, 0.99, 0.141]}, "ImageOrientationPatient"),
        ("place", {"ImagePositionPatient": None}, "ImagePositionPatient absent"),
        ("series", {"SeriesInstanceUID": "1.2.4"}, r"SeriesInstanceUID 1.2.4 is not that of s0.dcm \(1.2.3\)"),
        ("study", {"StudyInstanceUID": "1.2.4"}, "StudyInstanceUID"),
        ("frame", {"FrameOfReferenceUID": "1.2.4"}, "FrameOfReferenceUID"),
        ("modality", {"Modality": "PT"}, r"Modality PT is not that of s0.dcm \(CT\)"),
        ("rescale", {"RescaleIntercept": None}, "RescaleIntercept absent is not that of s0.dcm"),
    ],
)
def test_slices_of_another_kind_are_named(tmp_path, name, other, tag):
    series(tmp_path / name, (0, 2, 4), RescaleIntercept=-5, RescaleSlope=1)
    placed(tmp_path / name / "t.dcm", 6, **{"RescaleIntercept": -5, "RescaleSlope": 1, **other})
    with pytest.raises(UserError, match=rf"t.dcm: {tag}.* holds 2 volumes or images \(slices: 3, 1\)"):
        read_image(tmp_path / name)
    assert along(tmp_path / f"{name}#1") == [-5, -4, -3]


def test_other_rows_are_named(tmp_path):
    series(tmp_path / "s", (0, 2, 4))
    write(tmp_path / "s" / "t.dcm", np.zeros((6, 5), np.uint16), Modality="CT")
    with pytest.raises(UserError, match=r"t.dcm: Rows 6 is not that of s0.dcm"):
        read_header(tmp_path / "s")


@pytest.mark.parametrize("jitter", [0, 1e-3, -1e-3])
def test_two_acquisitions_that_nothing_tells_apart(tmp_path, jitter):
    series(tmp_path / "s", range(0, 12, 2), 10, "a")
    series(tmp_path / "s", [z + jitter for z in range(0, 12, 2)], 100, "b")
    with pytest.raises(UserError, match=r"2 slices lie at one place \(a0.dcm, b0.dcm; 12 slices at 6 places\), and no"):
        read_image(tmp_path / "s")


@pytest.mark.parametrize("step", [0.625, 1.25, 2.33, 3.75])
def test_places_rounded_to_a_tenth_of_a_millimetre_are_even(tmp_path, step):
    series(tmp_path / "s", [round(i * step - 7, 1) for i in range(30)])
    assert along(tmp_path / "s") == list(range(30))
    assert np.isclose(read_image(tmp_path / "s").affine[2, 2], step, atol=0.01)


@pytest.mark.parametrize(
    ("group", "creator", "element", "kind", "pair"),
    [
        (0x0019, "SIEMENS MR HEADER", 0x0C, "IS", (0, 800)),
        (0x0043, "GEMS_PARM_01", 0x39, "IS", ([1000000000, 8, 0, 0], [1000000800, 8, 0, 0])),
        (0x0043, "GEMS_PARM_01", 0x39, "IS", ([0, 8, 0, 0], [800, 8, 0, 0])),
        (0x2001, "Philips Imaging DD 001", 0x03, "FL", (0.0, 800.0)),
    ],
)
def test_b_values_in_private_tags_tell_volumes_apart(tmp_path, group, creator, element, kind, pair):
    for k, value in enumerate(pair):
        for i, z in enumerate((0, 2, 4)):
            path = placed(tmp_path / "s" / f"{'ab'[k]}{i}.dcm", z, 10 * k + i, InstanceNumber=3 * k + i + 1)
            data = pydicom.dcmread(path)
            data.private_block(group, creator, create=True).add_new(element, kind, value)
            data.save_as(path)
    with pytest.raises(UserError, match=r"DiffusionBValue 800 is not that of a0.dcm \(0\)"):
        read_image(tmp_path / "s")
    assert along(tmp_path / "s#1") == [0, 1, 2]
    assert along(tmp_path / "s#2") == [10, 11, 12]


@pytest.mark.parametrize(
    ("tag", "pair"),
    [
        ("AcquisitionNumber", (1, 2)),
        ("EchoTime", (4.6, 9.2)),
        ("EchoNumbers", (1, 2)),
        ("TemporalPositionIdentifier", (1, 2)),
        ("DiffusionBValue", (0.0, 800.0)),
        ("ContrastBolusAgent", (None, "some")),
        ("ImageType", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"])),
        ("TriggerTime", (0.0, 350.0)),
        ("SequenceName", ("*ep_b0", "*ep_b800t")),
    ],
)
def test_acquisitions_are_told_apart_by_tags(tmp_path, tag, pair):
    for k, value in enumerate(pair):
        series(tmp_path / "s", (0, 2.001 + 0.001 * k, 4), 10 * k, "ab"[k], **{tag: value})
    with pytest.raises(UserError, match=rf"b0.dcm: {tag} .* is not that of a0.dcm .* 2 volumes or images"):
        read_image(tmp_path / "s")
    assert along(tmp_path / "s#1") == [0, 1, 2]
    assert along(tmp_path / "s#2") == [10, 11, 12]


def test_two_tags_together_tell_four_volumes_apart(tmp_path):
    for k, (echo, kind) in enumerate([(5, "M"), (5, "P"), (9, "M"), (9, "P")]):
        series(tmp_path / "s", (0, 1, 2), 10 * k, "abcd"[k], EchoTime=echo, ImageType=["ORIGINAL", "PRIMARY", kind])
    assert [along(tmp_path / f"s#{k}")[0] for k in (1, 2, 3, 4)] == [0, 10, 20, 30]


def test_a_tag_that_differs_in_every_slice_tells_nothing(tmp_path):
    for k, kind in enumerate("MP"):
        for z in range(3):
            tags = {"AcquisitionNumber": 3 * k + z, "ImageType": ["ORIGINAL", "PRIMARY", kind]}
            placed(tmp_path / "s" / f"{kind}{z}", z, 10 * k + z, **tags)
    assert along(tmp_path / "s#1") == [0, 1, 2]
    assert along(tmp_path / "s#2") == [10, 11, 12]


def test_a_slice_missing_in_one_of_two_echoes(tmp_path):
    series(tmp_path / "s", range(6), 0, "a", EchoTime=5)
    series(tmp_path / "s", (0, 1, 2, 4, 5), 10, "b", EchoTime=9)
    assert along(tmp_path / "s#1") == list(range(6))
    with pytest.raises(UserError, match="a slice is missing"):
        read_image(tmp_path / "s#2")


def test_echoes_shifted_against_each_other_are_never_interleaved(tmp_path):
    series(tmp_path / "s", (0, 2, 4), 0, "a", EchoTime=5)
    series(tmp_path / "s", (1, 3, 5), 10, "b", EchoTime=9)
    with pytest.raises(UserError, match="EchoTime"):
        read_image(tmp_path / "s")


def test_acquisition_numbers_that_grow_along_a_volume_do_not_cut_it(tmp_path):
    for k in range(6):
        placed(tmp_path / "s" / f"{k}", 2 * k, k, AcquisitionNumber=k // 2, AcquisitionTime=f"1200{k:02d}")
    assert along(tmp_path / "s") == list(range(6))


def test_a_slice_copied_twice_counts_once(tmp_path):
    series(tmp_path / "s", (0, 2, 4))
    shutil.copy(tmp_path / "s" / "s1.dcm", tmp_path / "s" / "s1 (copy).dcm")
    assert along(tmp_path / "s") == [0, 1, 2]
    changed = pydicom.dcmread(tmp_path / "s" / "s1.dcm")
    changed.PixelData = changed.PixelData[:-2] + b"\7\7"
    changed.save_as(tmp_path / "s" / "s1 (copy).dcm")  # one identifier for two images
    with pytest.raises(UserError, match="2 slices lie at one place"):
        read_image(tmp_path / "s")


def test_one_identifier_for_all_slices_as_a_bad_anonymiser_leaves_it(tmp_path):
    assert along(series(tmp_path / "s", (0, 2, 4), SOPInstanceUID="1.2.9")) == [0, 1, 2]


def test_without_positions_the_numbers_order_the_slices(tmp_path):
    nowhere = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
    for name, number in (("a", 3), ("b", 1), ("c", 2)):
        placed(tmp_path / "s" / name, 0, number, InstanceNumber=number, **nowhere)
        placed(tmp_path / "l" / name, 0, number, SliceLocation=-number, **nowhere)
        placed(tmp_path / "z" / name, 0, number, InstanceNumber=number, ImageOrientationPatient=[0] * 6)
        placed(tmp_path / "n" / name, 0, number, **nowhere)
    assert along(tmp_path / "s") == [1, 2, 3]
    assert read_image(tmp_path / "s").affine is None
    assert along(tmp_path / "l") == [3, 2, 1]
    assert along(tmp_path / "z") == [1, 2, 3]
    with pytest.raises(UserError, match=r"nothing tells the order of its slices .*; it holds 3 images and no volume"):
        read_image(tmp_path / "n")


def test_images_from_the_side_are_no_stack(tmp_path):
    for i in range(3):
        write(tmp_path / "x" / f"{i}", np.full((4, 4), i, np.uint16), Modality="DX", InstanceNumber=i)
    with pytest.raises(UserError, match="it holds 3 images and no volume"):
        read_image(tmp_path / "x")


def test_what_is_no_slice_does_not_matter(tmp_path):
    folder = series(tmp_path / "s", (0, 2, 4))
    for name in ("README.txt", "LICENSE", ".DS_Store", "._s0.dcm", "Thumbs.db"):
        (folder / name).write_text("no image")
    os.mkfifo(folder / "fifo")
    kinds = {
        "DICOMDIR": pydicom.uid.MediaStorageDirectoryStorage,
        "report": pydicom.uid.EnhancedSRStorage,
        "structures": pydicom.uid.RTStructureSetStorage,
    }
    for name, kind in kinds.items():
        data = item(SOPClassUID=kind, file_meta=pydicom.dcmread(folder / "s0.dcm").file_meta)
        data.file_meta.MediaStorageSOPClassUID = kind
        if name == "DICOMDIR":
            del data.SOPClassUID
        data.preamble = bytes(128)
        data.save_as(folder / name)
    write(folder / "seg", np.zeros((4, 4), np.uint16), Modality="SEG")
    assert along(folder) == [0, 1, 2]
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match=r"picture.png: not a DICOM slice"):
        read_image(folder)


@pytest.mark.parametrize("length", [0, 100, 140, 400, 480, -10])
def test_a_damaged_slice_is_named_not_passed_over(tmp_path, length):
    folder = series(tmp_path / "s", (0, 2, 4))
    (folder / "s2.dcm").write_bytes((folder / "s2.dcm").read_bytes()[:length])
    with pytest.raises(UserError, match=r"s2.dcm: (cannot be read as|DICOM without)"):
        read_image(folder)


@pytest.mark.parametrize("explicit", [True, False])
def test_a_slice_without_a_preamble_is_named_not_passed_over(tmp_path, explicit):
    folder = series(tmp_path / "s", (0, 2))
    data = pydicom.dcmread(placed(tmp_path / "whole.dcm", 4))
    del data.file_meta
    data.preamble = None
    data.save_as(folder / "old", implicit_vr=not explicit, little_endian=True)
    with pytest.raises(UserError, match="old: DICOM without its first 132 bytes"):
        read_image(folder)


def test_series_over_folders_inside_and_links_that_lead_back(tmp_path):
    series(tmp_path / "s" / "one", (0, 2), 0)
    series(tmp_path / "s" / "two", (4, 6), 2)
    (tmp_path / "s" / "two" / "up").symlink_to(tmp_path / "s")
    assert along(tmp_path / "s") == [0, 1, 2, 3]


def test_a_multi_frame_file_in_a_folder_of_its_own(tmp_path):
    path = enhanced(tmp_path / "s" / "a", flat(1, 2, 3), [groups(z) for z in (2, 1, 0)])
    assert along(tmp_path / "s") == along(path) == [3, 2, 1]
    enhanced(tmp_path / "s" / "b", flat(1, 2, 3), [groups(z) for z in (5, 4, 3)])
    with pytest.raises(UserError, match="holds 2 volumes"):
        read_image(tmp_path / "s")


def test_a_volume_over_several_multi_frame_files(tmp_path):
    part = {"ConcatenationUID": "1.2.77"}
    enhanced(tmp_path / "s" / "a", flat(4, 3), [groups(z) for z in (3, 2)], **part)
    enhanced(tmp_path / "s" / "b", flat(2, 1), [groups(z) for z in (1, 0)], **part)
    assert along(tmp_path / "s") == [1, 2, 3, 4]


def test_a_rescale_of_each_slice(tmp_path):
    for k, slope in enumerate((1, 2, 0.5)):
        placed(tmp_path / "s" / f"{k}", k, 10, RescaleSlope=slope, RescaleIntercept=0, Modality="PT")
    assert along(tmp_path / "s") == [10, 20, 5]


def test_training_reads_series_as_apply_does(tmp_path):
    for case in range(4):
        series(tmp_path / "images" / f"case{case}", (4, 0, 2), 5 * case, SeriesInstanceUID=f"1.2.{case}")
        (tmp_path / "images" / f"case{case}" / "README").write_text("no image")
    found = load(tmp_path, wants=("image",), spatial=3)
    images = [split[i]["image"] for split in (found.train, found.validation, found.test) for i in range(len(split))]
    assert sorted(image[0, 0, :, 0].tolist() for image in images) == [[5 * c + 1, 5 * c + 2, 5 * c] for c in range(4)]
    series(tmp_path / "images" / "case2", (6, 10), prefix="t")
    with pytest.raises(UserError, match="SeriesInstanceUID"):
        load(tmp_path, wants=("image",), spatial=3)


@pytest.mark.parametrize("number", ["0", "3", "01", "-1", "two", ""])
def test_the_number_of_a_volume_that_is_not_there(tmp_path, number):
    series(tmp_path / "s", (0, 2, 4), SeriesInstanceUID="1.1")
    series(tmp_path / "s", (0, 2, 4), 10, "t", SeriesInstanceUID="1.2")
    for read in (read_image, read_header):
        with pytest.raises(UserError, match="holds 2 volumes or images" if number == "3" else "no such file"):
            read(f"{tmp_path / 's'}#{number}")


def test_a_folder_whose_own_name_has_a_number(tmp_path):
    series(tmp_path / "scan#2", (0, 2, 4))
    assert along(tmp_path / "scan#2") == [0, 1, 2]
    assert along(tmp_path / "scan#2#1") == [0, 1, 2]
    series(tmp_path / "scan", (0, 2, 4), 10)
    assert along(tmp_path / "scan#2") == [0, 1, 2]  # what is there by its name goes first
    assert along(tmp_path / "scan#1") == [10, 11, 12]


def test_a_series_of_many_small_files_has_a_limit_as_a_whole(tmp_path, monkeypatch):
    for i in range(40):
        path = placed(tmp_path / "s" / f"{i}.dcm", 2 * i)
        data = pydicom.dcmread(path)
        data.Rows = data.Columns = 256
        data.PixelData = np.full((256, 256), i, np.uint16).tobytes()
        data.compress(pydicom.uid.RLELossless)
        data.save_as(path)
    monkeypatch.setenv("JAXGEN_MAX_FILE_MIB", "1")
    monkeypatch.setattr("jaxgen.data.limits.RATIO", 1)
    with pytest.raises(UserError, match=rf"{tmp_path / 's'}: announces 10 MiB .* --max-file-mib 10"):
        read_image(tmp_path / "s")
    monkeypatch.setenv("JAXGEN_MAX_FILE_MIB", "10")
    assert along(tmp_path / "s") == list(range(40))
