"""One bad file never ends a batch, and ``summary.json`` is always written."""

import json
import os
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from jaxgen.app import apply, result_files
from jaxgen.app.apply import apply_run
from jaxgen.data import writers
from jaxgen.errors import UserError, printable
from tests.data.dicom_files import enhanced, flat, groups, placed, pydicom, write


def picture(folder, name):
    """An image, its name in bytes."""
    with open(os.path.join(os.fsencode(folder), name), "wb") as file:
        PIL.Image.fromarray(np.eye(16, dtype=np.uint8) * 255).save(file, "png")


@pytest.fixture
def images(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def run(toy_run, images, tmp_path, **options):
    said = []
    failed = apply_run(toy_run, [str(images)], tmp_path / "out", quiet=True, say=said.append, **options)
    return failed, json.loads((tmp_path / "out" / "summary.json").read_text("utf-8")), said[-1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (b"x" * 250 + b".png", "shorten"),  # no result fits
        (b"x" * 240 + b".png", "shorten"),  # some fit, and go
        (b"\xff\xfebad.png", "not UTF-8"),
        ("日".encode() * 80 + b".png", "shorten"),
    ],
)
def test_a_bad_name_is_the_failure_of_its_file(toy_run, images, tmp_path, capsys, name, words):
    picture(images, name)
    picture(images, b"z.png")
    (failed,), summary, said = run(toy_run, images, tmp_path)
    assert words in failed
    assert "1 of 2 images done, 1 failed" in said
    assert "files" in summary["z.png"]
    assert words in next(entry["error"] for entry in summary.values() if "error" in entry)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {*summary["z.png"]["files"], "summary.json"}
    assert words in capsys.readouterr().err


def test_when_all_fail_there_is_a_summary(toy_run, images, tmp_path):
    picture(images, b"\xff.png")
    (images / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    failed, summary, said = run(toy_run, images, tmp_path)
    assert len(failed) == 2
    assert said.startswith("0 of 2 images done, 2 failed")
    assert set(summary) == {"cut.png", "\\udcff.png"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError(), RuntimeError("odd")])
def test_a_result_that_cannot_be_written_is_the_failure_of_its_file(toy_run, images, tmp_path, monkeypatch, error):
    picture(images, b"a.png")
    picture(images, b"b.png")
    real = result_files._write_arrays

    def write_arrays(path, *rest):
        if path.name.startswith("a"):
            raise error
        return real(path, *rest)

    monkeypatch.setattr(result_files, "_write_arrays", write_arrays)
    (failed,), summary, _ = run(toy_run, images, tmp_path)
    assert "a.png" in failed
    assert "error" in summary["a.png"]
    assert "files" in summary["b.png"]
    assert not list((tmp_path / "out").glob("a_*"))  # all results of an image, or none


def test_a_batch_that_is_stopped_has_its_summary(toy_run, images, tmp_path, monkeypatch):
    picture(images, b"a.png")
    picture(images, b"b.png")
    real = apply.write_results

    def stop(results, image, out, stem, *rest):
        if stem == "b":
            raise KeyboardInterrupt
        return real(results, image, out, stem, *rest)

    monkeypatch.setattr(apply, "write_results", stop)
    with pytest.raises(KeyboardInterrupt):
        run(toy_run, images, tmp_path)
    assert list(json.loads((tmp_path / "out" / "summary.json").read_text())) == ["a.png"]


@pytest.mark.parametrize("text", ["[]", "3", "{", '"x"'])
def test_a_summary_that_is_none_is_one_line_before_the_work(toy_run, images, tmp_path, text):
    picture(images, b"a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "summary.json").write_text(text)
    with pytest.raises(UserError, match=r"summary.json"):
        run(toy_run, images, tmp_path)
    assert (tmp_path / "out" / "summary.json").read_text() == text


def test_what_a_reader_warns_of_is_not_printed(toy_run, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    pixels = np.arange(128, dtype=np.uint16).reshape(16, 8)
    write(folder / "two.dcm", pixels, Rows=8)  # pydicom logs and warns of the second frame
    write(folder / "one.dcm", pixels[:8])
    words = ["apply", str(toy_run), str(folder), "--out", str(tmp_path / "out"), "--trust-code"]
    done = subprocess.run([sys.executable, "-m", "jaxgen", *words], capture_output=True, text=True)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("1/2", "2/2"))]
    assert lines == [f"jaxgen: failed: {folder / 'two.dcm'}: 2 frames of pixels where NumberOfFrames is 1; correct it"]


@pytest.mark.parametrize("name", ["a\x1b[31m", "\u202egnp", "a\nb", "a\x9b", "\u2066x", "a\x07"])
def test_names_that_steer_a_terminal_are_escaped(toy_run, images, tmp_path, capsys, name):
    name += ".png"
    (images / name).write_bytes(b"\x89PNG\r\n\x1a\n")
    (images / f"{name}.txt").write_text("no image")
    failed = apply_run(toy_run, [str(images)], tmp_path / "out", say=print)
    out, err = capsys.readouterr()
    for text in (out, err, *failed):
        assert not set("\x1b\u202e\x9b\u2066\x07") & set(text)
    assert printable(name) in err or " ".join(name.split()) in err
    assert "left out" in err
    assert "1 left out" in out


def test_what_is_left_out_is_said_and_counted(toy_run, images, tmp_path, capsys):
    picture(images, b"a.png")
    for i in range(13):
        (images / f"{i}.txt").write_text("no image")
    _, summary, said = run(toy_run, images, tmp_path)
    assert "1 of 1 images done, 13 left out" in said
    assert sum("left_out" in entry for entry in summary.values()) == 13
    err = capsys.readouterr().err
    assert err.count("jaxgen: left out: ") == 11
    assert "3 more, named in summary.json" in err


def study(**tags):
    return {
        "Modality": "CT",
        "StudyInstanceUID": "1.2.1",
        "FrameOfReferenceUID": "1.2.4",
        "SliceThickness": 2,
        "SeriesNumber": 1,
        **tags,
    }


def seg_of(path):
    data = pydicom.dcmread(path)
    assert data.Modality == "SEG"
    return data


def test_dicom_seg_of_series_without_a_patient(toy_run, images, tmp_path):
    for k in range(3):
        placed(images / "whole" / f"{k}", 2 * k, 200 * (k % 2), PatientID="p", SeriesInstanceUID="1.2.3.1", **study())
        placed(images / "nobody" / f"{k}", 2 * k, 9, PatientID=None, SeriesInstanceUID="1.2.3.2", **study())
        lost = study(StudyInstanceUID=None)
        placed(images / "nostudy" / f"{k}", 2 * k, 9, SeriesInstanceUID="1.2.3.3", **lost)
        lost = study(FrameOfReferenceUID=None)
        placed(images / "noframe" / f"{k}", 2 * k, 9, SeriesInstanceUID="1.2.3.4", **lost)
    failed, summary, _ = run(toy_run, images, tmp_path, dicom_seg=True)
    assert seg_of(tmp_path / "out" / "whole_mask.dcm").PatientID == "p"
    assert not seg_of(tmp_path / "out" / "nobody_mask.dcm").PatientID
    assert "StudyInstanceUID" in summary["nostudy"]["error"]
    assert {"whole", "nobody", "nostudy", "noframe"} == set(summary)
    assert all("--dicom-seg" in line and "\n" not in line for line in failed)
    assert not list((tmp_path / "out").glob("nostudy*"))


def test_dicom_seg_of_a_single_image_and_of_frames(toy_run, images, tmp_path):
    write(images / "xray.dcm", np.eye(8, dtype=np.uint16) * 999, **study(Modality="DX", SeriesInstanceUID="1.2.8"))
    enhanced(images / "enhanced.dcm", flat(9, 900, 9), [groups(z) for z in (4, 0, 2)], **study())
    failed, summary, _ = run(toy_run, images, tmp_path, dicom_seg=True)
    assert failed == []
    assert set(summary) == {"xray.dcm", "enhanced.dcm"}
    for name in ("xray", "enhanced"):
        seg_of(tmp_path / "out" / f"{name}_mask.dcm")


def test_a_dicom_seg_that_cannot_be_made_is_the_failure_of_its_file(toy_run, images, tmp_path, monkeypatch):
    for name in ("a", "b"):
        uid = f"1.2.{ord(name)}"
        write(images / f"{name}.dcm", np.eye(8, dtype=np.uint16), **study(Modality="DX", SeriesInstanceUID=uid))
    real = writers._segmentation

    def lacks_a_tag(sources, *rest):
        if sources[0].SeriesInstanceUID == "1.2.97":
            raise AttributeError("'Dataset' object has no attribute\n 'Odd'")
        return real(sources, *rest)

    monkeypatch.setattr(writers, "_segmentation", lacks_a_tag)
    (failed,), summary, _ = run(toy_run, images, tmp_path, dicom_seg=True)
    assert "a.dcm: DICOM SEG cannot be made for it (AttributeError" in failed
    assert "leave --dicom-seg out" in failed
    assert "files" in summary["b.dcm"]


@pytest.mark.parametrize("folders", [("a", "b"), ("a/c", "b/c"), ("", "b")])
def test_images_of_one_name_in_several_folders_each_have_an_entry(toy_run, tmp_path, folders):
    for k, folder in enumerate(folders):
        write(tmp_path / "in" / folder / "im.dcm", np.full((8, 8), k, np.uint16), SeriesInstanceUID=f"1.{k}")
    assert apply_run(toy_run, [str(tmp_path / "in")], tmp_path / "out", quiet=True) == []
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    written = {name for entry in summary.values() for name in entry["files"]}
    assert len(summary) == 2
    assert written == {path.name for path in (tmp_path / "out").iterdir()} - {"summary.json"}
