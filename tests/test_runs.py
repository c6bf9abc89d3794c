"""Run folders of strangers: links out of them, odd files and damaged JSON are one clear line."""

import json
import os
from pathlib import Path

import pytest

from jaxgen.app import runs
from jaxgen.errors import UserError


@pytest.fixture
def run(tmp_path):
    """A small run folder, beside a folder that is none of its business."""
    path = tmp_path / "run"
    for name in ("figures", "checkpoints/flow/8/ema", "samples", "evaluations/other/figures", "tensorboard/flow"):
        (path / name).mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"experiment": "flow_sdf", "config": {}}))
    (path / "figures" / "captions.json").write_text("{}")
    (path / "checkpoints/flow/8/ema/data").write_bytes(b"x")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("{}")
    return path


def test_a_whole_run_folder_opens_also_by_a_link_to_it(run, tmp_path):
    assert runs.open_run(run).path == run
    (tmp_path / "shortcut").symlink_to(run)
    assert runs.open_run(tmp_path / "shortcut").finished() is False


LINKED = (
    *runs.FILES,
    *runs.FOLDERS,
    "figures/captions.json",
    "checkpoints/flow",
    "checkpoints/flow/8",
    "checkpoints/flow/8/ema/data",
    "evaluations/other/figures",
    "evaluations/other/metrics.json",
    "tensorboard/flow/events",
)


@pytest.mark.parametrize("leads", ["outside/secret", "outside", "nowhere", "run/config.json", "/dev/zero"])
@pytest.mark.parametrize("name", LINKED)
def test_a_part_of_a_run_that_is_a_link_is_refused(run, tmp_path, name, leads):
    path = run / name
    if path.is_dir():
        path.rename(tmp_path / "was")
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(tmp_path / leads)
    with pytest.raises(UserError, match=r"it is a link to .* delete the link") as error:
        runs.open_run(run)
    assert str(path) in str(error.value)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["metrics.json", "log.jsonl", ".lock", "checkpoints/flow/8/pipe", "config.json"])
def test_a_pipe_is_no_file(run, name):
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    with pytest.raises(UserError, match=r"it is no file \(a pipe or a device\)"):
        runs.open_run(run)


@pytest.mark.parametrize(("name", "folder"), [("metrics.json", True), ("log.jsonl", True), ("samples", False)])
def test_a_folder_in_the_place_of_a_file_is_refused_and_the_other_way_round(run, name, folder):
    if folder:
        (run / name).mkdir()
    else:
        (run / name).rmdir()
        (run / name).write_text("x")
    with pytest.raises(UserError, match="which a run folder does not hold there"):
        runs.open_run(run)


DAMAGED = {
    "empty": "",
    "half": '{"a": 1',
    "two": "{} {}",
    "deep list": "[" * 100_000 + "]" * 100_000,
    "deep object": '{"a":' * 100_000,
    "as deep as Python goes": "[" * 900 + "]" * 900,
    "rather deep": '{"a":' * 60 + "1" + "}" * 60,
    "NaN": '{"a": NaN}',
    "infinity": '{"a": [-Infinity]}',
    "overflow": '{"a": 1e999}',
    "a whole number without end": '{"a": ' + "9" * 5000 + "}",
    "a whole number that no float holds": '{"a": ' + "9" * 400 + "}",
    "half a surrogate": '{"a": "\\ud83d"}',
    "half a surrogate as a key": '{"\\uDCff": 1}',
    "not UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "zeros": b"\0" * 64,
}
WRONG = {"list": "[]", "text": '""', "null": "null", "number": "3", "bool": "true"}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_json_is_one_line_that_names_the_file(tmp_path, content):
    path = tmp_path / "metrics.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for read in (runs.read_json, runs.read_object):
        with pytest.raises(UserError, match=r"metrics.json: it is not valid JSON .*; restore it from a copy"):
            read(path)


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_another_kind_of_json_is_no_object(tmp_path, content):
    path = tmp_path / "metrics.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"metrics.json: it holds .*, not an object; restore it"):
        runs.read_object(path, default={})


@pytest.mark.parametrize(
    ("shapes", "content", "words"),
    [
        (runs.CAPTIONS, {"figures": {}}, "its entry 'figures' is an object, not a list"),
        (runs.CAPTIONS, {"figures": ["a"]}, r"its entry 'figures\[0\]' is text, not an object"),
        (runs.CAPTIONS, {"headline": None}, "its entry 'headline' is null, not text"),
        (runs.CAPTIONS, {"describe": {"dice": 3}}, "its entry 'describe.dice' is a number, not an object"),
        (runs.CAPTIONS, {"order": {"methods": [["a"]]}}, r"its entry 'order.methods\[0\]' is a list, not text"),
        (runs.CONFIG, {"config": []}, "its entry 'config' is a list, not an object"),
        (runs.CONFIG, {"changed": "all"}, "its entry 'changed' is text, not a list"),
        (runs.TIMINGS, {"stages": {"flow": {"steps": True}}}, "'stages.flow.steps' is true or false, not a number"),
    ],
)
def test_an_entry_of_the_wrong_kind_is_named(tmp_path, shapes, content, words):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=words):
        runs.read_object(path, shapes)


def test_a_file_without_end_is_not_read(tmp_path):
    path = tmp_path / "x.json"
    with path.open("wb") as file:
        file.truncate(10 * 2**30)  # sparse
    with pytest.raises(UserError, match="larger than 64 MiB"):
        runs.read_json(path)


def test_a_log_gives_its_rows_and_passes_over_what_is_none(tmp_path):
    rows = ['{"step": 1, "loss": NaN}', "[", "[]", '{"step": "a"}', '{"warning": []}', '{"step": ' + "9" * 400 + "}"]
    rows += ["[" * 50_000, '{"step": 2, "loss": 0.5}', '{"step": 3, "lo']
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(rows))
    assert [row["step"] for row in runs.read_log(path)] == [1, 2]


def test_a_long_log_is_thinned(tmp_path, monkeypatch):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(f'{{"step": {i}}}\n' for i in range(1000)))
    monkeypatch.setattr(runs, "MOST_LOG", path.stat().st_size // 4)
    assert len(runs.read_log(path)) == 200


@pytest.mark.parametrize("name", ["../a", "a/b", "/a", "..", ".", "", "a\\b", "a\0b", "a" * 300])
def test_a_way_to_somewhere_else_is_no_plain_name(name):
    assert not runs.is_plain_name(name)
    assert runs.is_plain_name("quality_against_speed, 日本 v1.2")


def test_what_is_written_replaces_a_link_and_does_not_follow_it(run, tmp_path):
    (run / "report.html").symlink_to(tmp_path / "outside" / "secret")
    runs.write_text(Path(run / "report.html"), "page")
    assert (tmp_path / "outside" / "secret").read_text() == "{}"
    assert not (run / "report.html").is_symlink()
