import itertools
import os
import zipfile

import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.metrics.fidelity import frechet_distance
from jaxgen.metrics.streaming import Statistics, load_statistics, merge, save_statistics, statistics

RNG = np.random.default_rng(0)
FEATURES = 1e3 + RNG.normal(size=(90, 5)) @ RNG.normal(size=(5, 5))


@pytest.mark.parametrize("sizes", [(90,), (1, 89), (45, 45), (7, 0, 30, 53), (1,) * 90])
def test_batches_give_what_all_at_once_give(sizes):
    edges = np.cumsum((0, *sizes))
    parts = statistics(FEATURES[i:j] for i, j in itertools.pairwise(edges))
    np.testing.assert_allclose(parts.mean, FEATURES.mean(0), rtol=1e-14)
    np.testing.assert_allclose(parts.covariance, np.cov(FEATURES.T), rtol=1e-9)
    assert parts.number == 90


@pytest.mark.parametrize("cut", [2, 30, 88])
def test_merged_parts_equal_the_whole(cut):
    merged = merge(statistics([FEATURES[:cut]]), statistics([FEATURES[cut:]]))
    whole = statistics([FEATURES])
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-14)
    np.testing.assert_allclose(merged.covariance, whole.covariance, rtol=1e-9)
    assert merged.number == 90


def test_statistics_from_a_file_give_the_distance_of_the_features(tmp_path):
    """A file as pytorch-fid writes it, and ours."""
    other = FEATURES[:40] * 1.1
    expected = frechet_distance(FEATURES, other)
    np.savez_compressed(tmp_path / "theirs.npz", mu=FEATURES.mean(0), sigma=np.cov(FEATURES, rowvar=False))
    save_statistics(tmp_path / "ours.npz", statistics([FEATURES]))
    theirs, ours = (load_statistics(tmp_path / name) for name in ("theirs.npz", "ours.npz"))
    assert (theirs.number, ours.number) == (0, 90)
    assert frechet_distance(theirs, other) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(ours, other) == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ValueError, match="cannot join 0 examples"):
        merge(theirs, ours)


def test_bad_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.npz"):
        load_statistics(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", mu=np.zeros(2))
    with pytest.raises(UserError, match="sigma"):
        load_statistics(tmp_path / "other.npz")
    np.savez(tmp_path / "shape.npz", mu=np.zeros(2), sigma=np.zeros((3, 3)))
    with pytest.raises(UserError, match="no mean and covariance"):
        load_statistics(tmp_path / "shape.npz")
    (tmp_path / "text.npz").write_text("mu")
    with pytest.raises(UserError, match=r"text\.npz"):
        load_statistics(tmp_path / "text.npz")
    np.savez(tmp_path / "pickled.npz", mu=np.array([print], object), sigma=np.eye(1))
    with pytest.raises(UserError, match=r"pickled\.npz"):
        load_statistics(tmp_path / "pickled.npz")


def test_files_that_unpack_or_announce_too_much(tmp_path):
    for name, size in (("mu", 2**26), ("sigma", 2**26)):
        np.savez_compressed(tmp_path / "a.npz", **{"mu": np.zeros(2), "sigma": np.eye(2)} | {name: np.zeros(size)})
        with pytest.raises(UserError, match=rf"a\.npz: {name}\.npy announces 512 MiB"):
            load_statistics(tmp_path / "a.npz")
    np.save(tmp_path / "b.npy", np.zeros(2))
    head = (tmp_path / "b.npy").read_bytes().replace(b"(2,), }          ", b"(99999999999,), }", 1)
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as file:
        file.writestr("mu.npy", head)
        file.write(tmp_path / "b.npy", "sigma.npy")
    with pytest.raises(UserError, match=r"mu\.npy of 144 bytes announces \(99999999999,\)"):
        load_statistics(tmp_path / "b.npz")
    os.mkfifo(tmp_path / "c.npz")
    with pytest.raises(UserError, match=r"c\.npz: no file"):
        load_statistics(tmp_path / "c.npz")


def test_bad_features():
    with pytest.raises(ValueError, match="at least 2"):
        statistics([np.zeros((1, 3))])
    with pytest.raises(ValueError, match="one width"):
        statistics([np.zeros((4, 3)), np.zeros((4, 2))])
    with pytest.raises(ValueError, match="cannot join"):
        merge(Statistics(np.zeros(2), np.eye(2), 5), Statistics(np.zeros(3), np.eye(3), 5))
