"""Volumes that are translated: how they are fed, handed to networks of slices, evaluated, and refused."""

import dataclasses

import jax
import nibabel
import numpy as np
import pytest

from jaxgen import experiment
from jaxgen.data.image import Image
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.tasks import translation
from jaxgen.tasks.translation import data, volumes
from jaxgen.tasks.translation.baselines import Translator
from jaxgen.types import Model

FOUND = experiment.find("cross_modality_volumes")


def config_of(**changes):
    return dataclasses.replace(FOUND.presets["smoke"], **changes)


def run_of(**changes):
    config = config_of(**changes)
    splits = FOUND.load(config)
    return Run(config, FOUND.measure(config, splits), {}, splits, jax.random.key(0))


@pytest.fixture(scope="module")
def run():
    return run_of(data="contrast_volumes_phantom/16x16x20", depth=20)


def test_training_is_fed_slices_of_all_volumes_and_windows_of_neighbours(run):
    slices = volumes.examples(run)
    windows = FOUND.stages[-1].examples(run)
    assert (len(slices), len(windows)) == (96 * 20, 96 * (20 - 4 + 1))
    assert slices[25]["source"].shape == (16, 16, 1)
    assert slices[25]["image"].dtype == np.uint8
    for entry in ("image", "source"):
        for z in range(4):
            np.testing.assert_array_equal(windows[17 + 3][entry][z], slices[20 + 3 + z][entry])
        raw = run.splits.train[1][entry][:, :, 5, 0].T
        assert np.corrcoef(raw.ravel(), slices[25][entry][..., 0].ravel())[0, 1] > 0.99


def test_windows_are_mirrored_left_to_right_as_slices_are(run):
    windows = FOUND.stages[-1].examples(run)
    batch = {name: np.stack([windows[i][name] for i in range(6)]) for name in ("image", "source")}
    seen = data.prepare(run.config, axis=2)(jax.random.split(jax.random.key(1), 6), batch)
    flipped = []
    for i in range(6):
        plain = {name: batch[name][i] / 127.5 - 1 for name in batch}
        turned = [np.allclose(seen[name][i], plain[name][:, :, ::-1], atol=1e-5) for name in batch]
        straight = [np.allclose(seen[name][i], plain[name], atol=1e-5) for name in batch]
        assert all(turned) or all(straight)
        flipped.append(all(turned))
    assert len(set(flipped)) == 2


def test_a_translator_of_slices_sees_the_slices_of_a_volume_in_order():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5, 1)).astype(np.float32)
    given = []

    def twice(key, slices):
        given.append(slices)
        return np.concatenate([slices, 2 * slices], -1)

    one = volumes.by_slices(Translator("twice", twice))
    found = one.run(jax.random.key(0), x)
    np.testing.assert_array_equal(found, np.concatenate([x, 2 * x], -1))
    assert given[0].shape == (10, 4, 3, 1)
    np.testing.assert_array_equal(given[0][7, :, :, 0], x[1, :, :, 2, 0].T)
    assert (one.name, volumes.by_slices(one, "other").name) == ("twice", "other")


def test_one_noise_for_all_slices_does_not_flicker_and_the_table_says_so(run, monkeypatch):
    """A model that adds what it draws to the true target; with volumetric layers it draws half as much."""
    test = data.tested_pairs(run)
    truth = {test["source"][i, :, :, z].T.tobytes(): test["image"][i, :, :, z].T for i in range(2) for z in range(20)}

    def drawing(size):
        def answer(key, x):
            true = np.stack([truth[np.ascontiguousarray(one[..., 0]).tobytes()] for one in x.reshape(-1, 16, 16, 1)])
            return true.reshape(x.shape) + size * np.asarray(jax.random.normal(key, x.shape))

        return answer

    names = (volumes.VOLUMETRIC, volumes.SLICES, volumes.SHARED)
    shared = lambda key, x: drawing(0)(key, x) + 0.2 * jax.random.normal(key, x.shape[1:])  # noqa: E731
    ways = (drawing(0.1), drawing(0.2), shared)
    compared = [volumes.by_slices(Translator(name, way)) for name, way in zip(names, ways, strict=True)]
    monkeypatch.setattr(volumes, "baselines", lambda run, fitted: [Translator("source", lambda key, x: x)])
    found = volumes.evaluated(run, compared)
    excess = {name: found.metrics[name]["excess_jump"] for name in names}
    assert excess[volumes.SLICES] > 1.5 * excess[volumes.VOLUMETRIC] > 0
    assert excess[volumes.SHARED] == pytest.approx(0, abs=1e-3)
    assert found.metrics[volumes.SHARED]["jump_reduction"] == pytest.approx(100, abs=0.1)
    ratio = excess[volumes.VOLUMETRIC] / excess[volumes.SLICES]
    assert found.metrics[volumes.VOLUMETRIC]["jump_reduction"] == pytest.approx(100 * (1 - ratio))
    assert found.metrics[volumes.VOLUMETRIC]["psnr"] == pytest.approx(26, abs=0.5)  # 20 log10(2 / 0.1)
    assert set(found.figures) == {"slices", "across_slices"}
    assert found.timings[volumes.SLICES]["s per volume"] > 0


def test_methods_hand_volumes_and_slices_to_their_models(run, monkeypatch):
    """Models that answer their keys' numbers: one key per volume, one per slice, and one for all."""

    def keys_as_images(params, keys, n, x):
        drawn = jax.vmap(lambda key: jax.random.normal(key, ()) / 9)(keys)
        return drawn.reshape(n, *(1,) * (x.ndim - 1)) + 0 * x

    told = Model(dict, (), keys_as_images)
    monkeypatch.setattr(volumes, "model", lambda run: told)
    monkeypatch.setattr(volumes.diffusion, "model", lambda run: told)
    x = np.zeros((3, 16, 16, 20, 1), np.float32)
    known = run._replace(params={"volumes": {}, "slices": {}})
    drawn = {one.name: one.run(jax.random.key(0), x) for one in volumes.methods(known)}
    counts = {name: len(np.unique(y[:, 0, 0, :, 0])) for name, y in drawn.items()}
    assert counts == {volumes.VOLUMETRIC: 3, volumes.SLICES: 60, volumes.SHARED: 1}
    assert {y.shape for y in drawn.values()} == {x.shape}


def test_an_applied_volume_lies_as_the_given_one(run, tmp_path):
    """A method that answers the source: another scale, the same place."""
    raw = np.zeros((12, 20, 9, 1), np.float32)
    raw[2:5, 11:17, 6:8] = 1
    same = translation.applied(run, Translator("same", lambda key, x: x))
    found = same(jax.random.key(0), Image(raw, None, {}))["translated"]
    assert found.shape == (12, 20, 9)
    centre = [np.average(np.indices(found.shape)[k], weights=np.clip(found - 0.2, 0, None)) for k in range(3)]
    np.testing.assert_allclose(centre, [3, 13.5, 6.5], atol=0.4)
    with pytest.raises(UserError, match="the run translates 1 channels, this image has 2"):
        same(jax.random.key(0), Image(np.repeat(raw, 2, -1), None, {}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unpaired": True}, "--unpaired: volumes are learnt from pairs"),
        ({"slices": True}, "--slices: whole volumes are wanted here; leave it out"),
        ({"window": 17}, "--window 17 is more slices than a volume has, --depth 16"),
        ({"depth": 8}, "--depth"),
    ],
)
def test_options_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        config_of(**changes)


def test_data_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(UserError, match="2-D images where volumes are wanted"):
        run_of(data="contrast_phantom/16")
    for folder in ("source", "target"):
        (tmp_path / folder).mkdir()
        for i in range(4):
            values = np.random.default_rng(i).random((16, 16, 3), np.float32)
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / folder / f"{i}.nii.gz")
    with pytest.raises(UserError, match="volumes of 3 slices, too few for --window 4"):
        run_of(data=str(tmp_path))
    assert run_of(data=str(tmp_path), window=3).facts.paired
