"""Shapes from slices: what is seen of a volume, what is fed, and how a slice of a person becomes a volume."""

import dataclasses

import jax
import nibabel
import numpy as np
import pytest

from jaxgen import experiment as experiments
from jaxgen.app.cli import main
from jaxgen.data import ArraySource, load
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.tasks import images, shapes

FOUND = experiments.find("shape_from_slice")


def run_of(**changes):
    config = dataclasses.replace(FOUND.presets["smoke"], **changes)
    return Run(config, images.ImageFacts(value_range=((0.0,), (1.0,)), image_channels=1))


def volumes(n=2, size=16):
    mask = np.zeros((n, size, size, size), np.uint8)
    mask[:, 4:10, 5:12, 6:11] = 1
    image = np.random.default_rng(0).uniform(0, 1, (n, size, size, size, 1)).astype(np.float32)
    return {"image": image, "mask": mask}


def test_the_slice_is_the_middle_one_inside_of_the_mask():
    arrays = volumes()
    found = shapes.slices_of(run_of(), ArraySource(arrays)).arrays
    inside = arrays["mask"][:, :, :, 8] > 0
    np.testing.assert_array_equal(found["source"][..., 1], 255 * inside)
    np.testing.assert_allclose(found["source"][..., 0], 255 * arrays["image"][:, :, :, 8, 0] * inside, atol=0.6)
    np.testing.assert_array_equal(found["image"][..., 0], 255 * arrays["mask"])


def test_a_volume_whose_middle_slice_is_empty_is_named():
    arrays = volumes()
    arrays["mask"][1, :, :, 8] = 0
    with pytest.raises(UserError, match="middle slice shows nothing of the mask; crop"):
        shapes.slices_of(run_of(), ArraySource(arrays))


@pytest.mark.parametrize("mask_only", [0.0, 0.5])
def test_some_slices_lose_their_image_and_none_its_mask(mask_only):
    rng = np.random.default_rng(0)
    batch = {
        "source": rng.integers(1, 255, (64, 16, 16, 2)).astype(np.uint8),
        "image": rng.integers(0, 255, (64, 16, 16, 16, 1)).astype(np.uint8),
    }
    fed = shapes.prepare(run_of(mask_only=mask_only, mirror=False).config)(jax.random.key(0), batch)
    source = np.asarray(fed["source"])
    assert source.shape == (64, 16, 16, 16, 2)
    np.testing.assert_array_equal(source, source[:, :, :, :1].repeat(16, 3))
    np.testing.assert_allclose(source[:, :, :, 0, 1], batch["source"][..., 1] / 127.5 - 1, atol=1e-6)
    lost = (source[..., 0] == -1).reshape(64, -1).all(1)
    assert abs(lost.mean() - mask_only) < 0.15
    np.testing.assert_allclose(source[~lost][:, :, :, 0, 0], batch["source"][~lost][..., 0] / 127.5 - 1, atol=1e-6)


def test_slice_and_volume_are_turned_over_together():
    batch = {"source": np.zeros((32, 16, 16, 2), np.uint8), "image": np.zeros((32, 16, 16, 16, 1), np.uint8)}
    batch["source"][:, 2, 3], batch["image"][:, 2, 3, 5] = 255, 255
    fed = shapes.prepare(run_of(mask_only=0.0).config)(jax.random.key(0), batch)
    seen = np.asarray(fed["source"])[:, :, :, 0, 1] > 0
    np.testing.assert_array_equal(seen, np.asarray(fed["image"])[:, :, :, 5, 0] > 0)
    assert {(int(a), int(b)) for _, a, b in np.argwhere(seen)} == {(2, 3), (13, 3), (2, 12), (13, 12)}


def test_baselines_are_fitted_to_training_volumes():
    splits = load("cell3d_phantom/16", spatial=3, wants=("image", "mask"))
    methods, thickness = shapes.baselines(run_of()._replace(splits=splits))
    slices = shapes.slices_of(run_of(), splits.test, 8).arrays
    seen = slices["source"] / 127.5 - 1
    for draw in methods.values():
        found = draw(None, seen)
        assert found.shape == (8, 1, 16, 16, 16)
        true = slices["image"][..., 0] > 0
        assert 2 * (found[:, 0] & true).sum() / (found.sum() + true.sum()) > 0.7
    assert thickness["cylinder"] < thickness["inflated outline"]


@pytest.mark.thorough
def test_a_slice_becomes_a_volume_and_bad_ones_are_refused(tmp_path, capsys):
    flags = ["--preset", "smoke", "--steps", "1", "--checkpoint-every", "1", "--workdir", str(tmp_path / "run")]
    assert main(["run", "shape_from_slice", *flags]) == 0
    mask = np.zeros((20, 20, 1), np.uint8)
    mask[5:15, 6:14] = 1
    light = np.random.default_rng(0).uniform(0, 1, mask.shape).astype(np.float32)
    given = {"mask": mask, "both": np.concatenate([light, mask], -1), "empty": 0 * mask, "many": np.zeros((20, 20, 3))}
    for name, array in given.items():
        np.save(tmp_path / f"{name}.npy", array)
    out = tmp_path / "out"
    files = [str(tmp_path / f"{name}.npy") for name in given]
    assert main(["apply", str(tmp_path / "run"), *files, "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert "nothing is in its mask" in said
    assert "this has 3 channels" in said
    for name in ("mask", "both"):
        found = nibabel.load(out / f"{name}_volume.nii.gz")
        assert found.shape == (16, 16, 16)
        np.testing.assert_allclose(np.diag(found.affine), [20 / 16] * 3 + [1])
        assert 0 <= found.get_fdata().min() <= found.get_fdata().max() <= 1
    assert not list(out.glob("empty*"))
