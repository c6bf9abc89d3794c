"""What folders stand for on the command line: every image that can be read, by a path that reads it."""

import builtins
import os

import numpy as np
import PIL.Image
import pytest

from jaxgen.app.inputs import find_all, find_inputs
from jaxgen.data import load, read_image
from jaxgen.errors import UserError
from tests.data.dicom_files import enhanced, flat, groups, placed, write

RNG = np.random.default_rng(0)


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(RNG.integers(0, 255, (16, 16)).astype(np.uint8)).save(path, "png")


def xray(path, **tags):
    return write(path, RNG.integers(0, 4000, (16, 16)).astype(np.uint16), **{"Modality": "DX", **tags})


def series(folder, n=4, first=0, **tags):
    for i in range(n):
        placed(folder / f"IM{first + i:04d}", 2.0 * i, first + i, **tags)


def names(root, *more):
    """What is found, relative to the folder, and each of it read."""
    found, left_out = find_all([str(root), *more])
    for path in found:
        read_image(path)
    return {str(path.relative_to(root)): stem for path, stem in found.items()}, left_out


def test_images_of_several_series_are_an_image_each(tmp_path):
    for i in range(4):
        xray(tmp_path / f"case{i}.dcm", SeriesInstanceUID=f"1.2.{i}")
    assert names(tmp_path) == ({f"case{i}.dcm": f"case{i}" for i in range(4)}, {})
    assert len(load(tmp_path, wants=("image",)).train) == 2  # of the same four


def test_images_of_one_series_from_the_side_are_an_image_each(tmp_path):
    for i in range(3):
        xray(tmp_path / f"view{i}", InstanceNumber=i)
    assert list(names(tmp_path)[0]) == ["view0", "view1", "view2"]


def test_images_at_one_place_are_an_image_each(tmp_path):
    for i in range(3):
        placed(tmp_path / f"{i}", 0, i, InstanceNumber=i)
    assert list(names(tmp_path)[0]) == ["0", "1", "2"]


def test_slices_without_a_suffix_are_one_volume(tmp_path):
    series(tmp_path / "s")
    assert find_inputs([str(tmp_path / "s")]) == [tmp_path / "s"]
    assert read_image(tmp_path / "s").array.shape == (5, 4, 4, 1)


def test_a_dicom_file_beside_pictures(tmp_path):
    xray(tmp_path / "IM0001")
    picture(tmp_path / "a.png")
    assert names(tmp_path)[0] == {"IM0001": "IM0001", "a.png": "a"}


def test_a_volume_beside_a_picture(tmp_path):
    series(tmp_path)
    picture(tmp_path / "a.png")
    found, left_out = find_all([str(tmp_path)])
    assert {path.name: read_image(path).array.ndim for path in found} == {"a.png": 3, tmp_path.name + "#1": 4}
    assert left_out == {}


def test_several_series_in_a_folder_are_a_volume_each(tmp_path):
    series(tmp_path / "s", SeriesInstanceUID="1.2.1")
    series(tmp_path / "s", 3, 10, SeriesInstanceUID="1.2.2")
    placed(tmp_path / "s" / "scout", 0, ImageOrientationPatient=[0, 1, 0, 0, 0, -1], SeriesInstanceUID="1.2.2")
    found = find_inputs([str(tmp_path / "s")])
    assert set(found) == {tmp_path / "s#1", tmp_path / "s#2", tmp_path / "s" / "scout"}
    assert sorted(read_image(path).array.shape[2] for path in found if "#" in path.name) == [3, 4]
    again = find_inputs([str(tmp_path / "s#2")])
    assert again == [tmp_path / "s#2"]


def test_two_echoes_are_a_volume_each_and_what_cannot_be_told_apart_fails_alone(tmp_path):
    series(tmp_path / "e", EchoTime=5)
    series(tmp_path / "e", 4, 10, EchoTime=10)
    series(tmp_path / "t")
    series(tmp_path / "t", 4, 10)
    found = find_inputs([str(tmp_path)])
    assert found == [tmp_path / "e#1", tmp_path / "e#2", tmp_path / "t"]
    assert read_image(found[1]).array[0, 0, :, 0].tolist() == [10, 11, 12, 13]
    with pytest.raises(UserError, match="lie at one place"):
        read_image(found[2])


def test_folders_of_patients(tmp_path):
    for patient in ("p1", "p2"):
        series(tmp_path / patient / "CT", SeriesInstanceUID=f"1.2.{patient[1]}")
        xray(tmp_path / patient / "front", SeriesInstanceUID=f"1.3.{patient[1]}")
    assert names(tmp_path)[0] == {
        "p1/CT": "p1_CT",
        "p1/front": "p1_front",
        "p2/CT": "p2_CT",
        "p2/front": "p2_front",
    }


def test_a_series_over_several_folders(tmp_path):
    series(tmp_path / "d" / "one", 2)
    for i in (2, 3):
        placed(tmp_path / "d" / "two" / f"{i}", 2.0 * i, i)
    xray(tmp_path / "d" / "two" / "front", SeriesInstanceUID="1.9")
    found = find_inputs([str(tmp_path / "d")])
    assert found == [tmp_path / "d" / "two" / "front", tmp_path / "d#1"]
    assert read_image(found[1]).array[0, 0, :, 0].tolist() == [0, 1, 2, 3]


def test_a_file_of_several_volumes_is_a_volume_each(tmp_path):
    each = [groups(z, MREchoSequence={"EffectiveEchoTime": echo}) for z in (0, 1) for echo in (5.0, 9.0)]
    path = enhanced(tmp_path / "a.dcm", flat(1, 2, 3, 4), each)
    expected = [tmp_path / "a.dcm#1", tmp_path / "a.dcm#2"]
    assert find_inputs([str(path)]) == find_inputs([str(tmp_path)]) == expected
    assert read_image(expected[1]).array[0, 0, :, 0].tolist() == [2, 4]


def test_what_is_left_out_is_named_with_a_reason(tmp_path):
    picture(tmp_path / "a.png")
    xray(tmp_path / "front")
    (tmp_path / "front copy").write_bytes((tmp_path / "front").read_bytes())
    xray(tmp_path / "seg", Modality="SEG")
    (tmp_path / "notes.txt").write_text("no image")
    picture(tmp_path / "more" / "b.png")
    (tmp_path / "more" / "c.txt").write_text("no image")
    os.mkfifo(tmp_path / "fifo")
    found, left_out = names(tmp_path)
    assert list(found) == ["a.png", "front"]
    assert set(left_out) == {"front copy", "seg", "notes.txt", "more", "fifo"}
    assert "a copy of" in left_out["front copy"]
    assert "DICOM SEG" in left_out["seg"]
    assert "2 files inside that are no DICOM" in left_out["more"]
    assert "1 of them are images" in left_out["more"]


def test_what_lies_beside_images(tmp_path):
    picture(tmp_path / "images" / "a.png")
    picture(tmp_path / "masks" / "a.png")
    found, left_out = names(tmp_path)
    assert found == {"images/a.png": "a"}
    assert list(left_out) == ["masks"]


def test_a_damaged_file_is_an_input_that_fails_alone(tmp_path):
    xray(tmp_path / "front")
    (tmp_path / "cut.dcm").write_bytes((tmp_path / "front").read_bytes()[:140])
    found = find_inputs([str(tmp_path)])
    assert found == [tmp_path / "cut.dcm", tmp_path / "front"]
    read_image(found[1])
    with pytest.raises(UserError, match=r"cut.dcm"):
        read_image(found[0])


def test_without_pydicom_only_dicom_fails(tmp_path, monkeypatch):
    picture(tmp_path / "a.png")
    xray(tmp_path / "front")
    found = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("pydicom"):
            raise ImportError(name)
        return found(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert find_inputs([str(tmp_path)]) == [tmp_path / "a.png", tmp_path / "front"]
    with pytest.raises(UserError, match="pip install"):
        read_image(tmp_path / "front")


def test_the_folder_one_is_in(tmp_path, monkeypatch):
    series(tmp_path / "s")
    monkeypatch.chdir(tmp_path / "s")
    assert list(find_all(["."])[0].values()) == ["s"]


@pytest.mark.parametrize("text", ["x" * 300, "x" * 300 + "/*.png", "a\0b"])
def test_names_that_cannot_be(tmp_path, text):
    with pytest.raises(UserError):
        find_inputs([str(tmp_path / text)])


def test_a_pattern_that_matches_folders_and_files(tmp_path):
    series(tmp_path / "a", EchoTime=5)
    series(tmp_path / "a", 4, 10, EchoTime=10)
    series(tmp_path / "b")
    picture(tmp_path / "c.png")
    found = find_inputs([str(tmp_path / "*")])
    assert found == [tmp_path / "a#1", tmp_path / "a#2", tmp_path / "b", tmp_path / "c.png"]


def test_pipes_and_broken_links(tmp_path):
    picture(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.dcm")
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    found, left_out = find_all([str(tmp_path)])
    assert list(found) == [tmp_path / "a.png", tmp_path / "link.png"]
    assert list(left_out) == ["pipe.dcm"]
    with pytest.raises(UserError, match=r"link.png: no such file"):
        read_image(tmp_path / "link.png")
