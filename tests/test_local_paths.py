"""Texts for others hold no paths of this machine, and lose nothing else."""

from pathlib import Path

import pytest

from jaxgen import local_paths


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/home/jane/scans/p01.nii.gz", "p01.nii.gz"),
        ("/home/Jane Doe/scans of june", "scans of june"),
        ("../../jane/scans", "scans"),
        ("~jane/scans/", "scans"),
        (r"C:\Users\jane\scans", "scans"),
        (r"\\server\jane\scans", "scans"),
        ("file:///home/jane/scans", "scans"),
        ("--data=/home/Jane Doe/scans", "--data=scans"),
        ("read from /home/jane/scans/a.png (8 bits)", "read from a.png (8 bits)"),
        ("'/home/jane/a b', file:///home/jane/c", "'a b', c"),
        ("/data/jane/x.npz: it is cut short; see https://a.org/b/c", "x.npz: it is cut short; see https://a.org/b/c"),
        (r"at D:\jane\x.png and /mnt/jane/y", "at x.png and y"),
    ],
)
def test_a_path_is_cut_to_its_name(text, left):
    short = local_paths.without_paths(text)
    assert short == left
    assert "jane" not in short.lower()


@pytest.mark.parametrize(
    "text", ["https://a.org/b/c", "data/mine", "mm/s and/or 1/2", "ratio 3 / 4", "0.5", "", "a: b/c/d", "--steps=3"]
)
def test_what_is_no_path_of_this_machine_stays(text):
    assert local_paths.without_paths(text) == text


def test_a_command_and_an_origin_keep_their_form():
    line = "jaxgen run '/home/Jane Doe/my exp.py' --data /mnt/x --kspace=/mnt/k.npz --steps 3"
    assert local_paths.command_without_paths(line) == "jaxgen run 'my exp.py' --data x --kspace=k.npz --steps 3"
    assert local_paths.origin("file /home/Jane Doe/x.npz") == "file x.npz"
    assert "jane" not in local_paths.command_without_paths("jaxgen run '/home/jane/x")


def test_a_folder_is_named_as_a_command_here_can_use_it(tmp_path, monkeypatch):
    (tmp_path / "runs" / "a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert local_paths.place(Path("runs/a")) == "runs/a"
    assert local_paths.place(tmp_path / "runs" / "a") == "runs/a"
    monkeypatch.chdir(tmp_path / "runs" / "a")
    assert local_paths.place(Path(".")) == "a"
    assert local_paths.place(Path("../../runs/a")) == "a"
