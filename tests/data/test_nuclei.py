"""The shipped set is what its SOURCE.md says, and is read without TensorFlow."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import jaxgen.data
from jaxgen.data import ArraySource, load
from jaxgen.data.nuclei_dsb2018.crops import assign_splits, choose_crop, find_fields

FOLDER = Path(jaxgen.data.__file__).parent / "nuclei_dsb2018"


@pytest.fixture(scope="module")
def splits():
    return load("nuclei_dsb2018", wants=("image", "mask", "instances"))


def test_sizes_and_content(splits):
    assert [len(s) for s in splits[:3]] == [234, 50, 50]
    for split in splits[:3]:
        held = ArraySource.from_source(split)
        assert held.arrays["image"].shape == (len(split), 128, 128, 1)
        assert held.arrays["image"].dtype == held.arrays["mask"].dtype == np.uint8
        assert ((held.arrays["instances"] > 0) == held.arrays["mask"]).all()
        assert 0.07 < held.arrays["mask"].mean() < 0.09
        # nuclei are bright: foreground is brighter than background in every image that has both
        image, mask = held.arrays["image"][..., 0].astype(float), held.arrays["mask"].astype(bool)
        both = mask.any((1, 2))
        brighter = [i[m].mean() > i[~m].mean() for i, m in zip(image[both], mask[both], strict=True)]
        assert np.mean(brighter) == 1.0
    assert splits.licence == "CC0-1.0"
    assert splits.origin.startswith("https://github.com/lopuhin/")


def test_no_image_is_in_two_splits(splits):
    seen = [{hashlib.sha256(s[i]["image"].tobytes()).digest() for i in range(len(s))} for s in splits[:3]]
    assert [len(s) for s in seen] == [234, 50, 50]
    assert len(set.union(*seen)) == 334


def test_it_is_small_and_says_where_it_comes_from():
    files = [f for f in FOLDER.rglob("*") if f.is_file() and "__pycache__" not in f.parts]
    assert sum(f.stat().st_size for f in files) < 3_000_000
    assert "CC0" in (FOLDER / "SOURCE.md").read_text()
    assert "Creative Commons license 0" in (FOLDER / "LICENSE.txt").read_text()


def test_reading_needs_no_tensorflow():
    code = (
        "import sys\n"
        "from jaxgen.data import load, Feed\n"
        "batch = next(Feed(load('nuclei_dsb2018').train, 4, seed=0))\n"
        "assert batch['image'].shape == (4, 128, 128, 1) and batch['mask'].max() == 1\n"
        "assert 'tensorflow' not in sys.modules\n"
        "print('read')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=FOLDER.parents[2])
    assert done.stdout.strip().endswith("read"), done.stderr
    assert "OpenCV" not in done.stderr


def test_crop_has_the_share_of_the_whole():
    instances = np.zeros((256, 256), np.uint8)
    instances[130:256, 130:256] = 1  # 24 % of the whole: a corner crop would hold 97 % or 0 %
    row, column = choose_crop(instances)
    share = (instances[row : row + 128, column : column + 128] > 0).mean()
    assert abs(share - (instances > 0).mean()) < 0.01


def test_neighbouring_tiles_stay_in_one_split():
    rng = np.random.default_rng(0)
    whole = [rng.normal(size=(65, 129)).cumsum(0).cumsum(1) for _ in range(3)]
    tiles = np.stack([t for w in whole for t in (w[:64, :64], w[:64, 64:128])])
    assert find_fields(tiles).tolist() == [0, 0, 2, 2, 4, 4]
    field = np.repeat(np.arange(167), 2)
    field[-60:] = np.arange(1000, 1060)
    split = assign_splits(field, np.array([f"{i:04d}" for i in range(334)]))
    assert {name: int((split == name).sum()) for name in set(split)} == {"train": 234, "validation": 50, "test": 50}
    assert all(len(set(split[field == f])) == 1 for f in set(field))


def test_building_twice_gives_the_same_files(tmp_path, monkeypatch):
    """The builder runs without TensorFlow; on small random images, as the full set is not shipped."""
    from jaxgen.data.nuclei_dsb2018 import nuclei_dsb2018_dataset_builder as module

    rng = np.random.default_rng(0)
    monkeypatch.setattr(module, "SIZES", {"train": 3, "validation": 1, "test": 1})
    monkeypatch.setattr(
        module, "assign_splits", lambda field, ids: np.array(["train", "test", "train", "train", "validation"])
    )
    images = rng.integers(0, 255, (5, 256, 256), dtype=np.uint8)
    instances = rng.integers(0, 3, (5, 256, 256), dtype=np.uint8)
    np.savez(tmp_path / "full.npz", images=images, instances=instances, image_id=np.array(list("abcde")))
    built = [module.build(tmp_path / "full.npz", tmp_path / name) for name in "xy"]
    first, second = ({f.name: f.read_bytes() for f in folder.iterdir()} for folder in built)
    assert first == second
    assert "tensorflow" not in sys.modules
