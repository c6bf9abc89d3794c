import dataclasses

import jax
import numpy as np
import PIL.Image
import pytest

from jaxgen import experiment
from jaxgen.data.domains import load_domains
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.tasks.translation import data, low_dose
from jaxgen.tasks.translation.baselines import baselines, by_model
from jaxgen.tasks.translation.evaluation import Comparison
from jaxgen.types import Model

CROSS = experiment.find("cross_modality")
DOSE = experiment.find("low_dose_ct")


def run_of(found, **changes):
    config = dataclasses.replace(found.presets["smoke"], **changes)
    splits = found.load(config)
    return Run(config, found.measure(config, splits), {}, splits, jax.random.key(0))


def error(run, name):
    test = data.tested_pairs(run)
    method = next(one for one in baselines(run) if one.name == name)
    return float(np.abs(method.run(run.key, test["source"]) - test["image"]).mean())


def test_on_a_rising_map_histograms_do_what_a_table_does_and_on_others_not():
    """Level A and B of the brief: another scanner's scale, and another contrast."""
    rising, other = (
        run_of(CROSS, data=f"{name}_phantom/32", size=32, unpaired=False) for name in ("rescaled", "contrast")
    )
    assert error(rising, "histogram matching") < 1.3 * error(rising, "lookup table")
    assert error(rising, "histogram matching") < 0.7 * error(rising, "source")
    assert error(other, "lookup table") < 0.35 * error(other, "histogram matching")


def test_what_training_is_fed():
    run = run_of(CROSS)
    pairs, apart = data.examples(run).arrays, data.unpaired_examples(run).arrays
    n = len(pairs["image"])
    np.testing.assert_array_equal(pairs["image"], apart["image"])
    np.testing.assert_array_equal(apart["source"], pairs["source"][(np.arange(n) - n // 2) % n])
    batch = {name: array[:4] for name, array in pairs.items()}
    keys = jax.random.split(jax.random.key(0), 4)
    seen = data.prepare(run.config)(keys, batch)
    flipped = {}
    for name in ("image", "source"):
        plain = batch[name] / 127.5 - 1
        flipped[name] = [bool(np.allclose(x, y[:, ::-1], atol=1e-5)) for x, y in zip(seen[name], plain, strict=True)]
        straight = [bool(np.allclose(x, y, atol=1e-5)) for x, y in zip(seen[name], plain, strict=True)]
        assert all(a or b for a, b in zip(flipped[name], straight, strict=True))
    assert flipped["image"] == flipped["source"], "source and target are mirrored alike"


def test_healthy_targets_are_without_a_lesion():
    run = run_of(CROSS)
    whole = data.brought(run, run.splits.train, dtype=np.uint8)
    ill = {image.tobytes() for image, mask in zip(whole["image"], whole["mask"], strict=True) if mask.any()}
    chosen = data.unpaired_examples(run, healthy=True).arrays
    assert len(chosen["image"]) == len(whole["image"])
    assert ill
    assert not any(image.tobytes() in ill for image in chosen["image"])
    np.testing.assert_array_equal(chosen["source"], data.unpaired_examples(run).arrays["source"])


def test_methods_of_pairs_refuse_data_without():
    with pytest.raises(UserError, match="--methods pix2pix: learns from pairs"):
        dataclasses.replace(CROSS.presets["smoke"], unpaired=True)
    config = dataclasses.replace(CROSS.presets["smoke"], unpaired=True, methods=("cyclegan",))
    stages = [stage.name for stage in experiment.stages_of(CROSS, config)]
    assert stages == ["cyclegan"]


def test_slices_of_two_doses_must_be_the_same_slices(tmp_path):
    rng = np.random.default_rng(0)
    for folder, names in (("source", "abcd"), ("target", "abce")):
        (tmp_path / folder).mkdir()
        for name in names:
            PIL.Image.fromarray(rng.integers(0, 255, (32, 32), np.uint8)).save(tmp_path / folder / f"{name}.png")
    with pytest.raises(UserError, match="e has no counterpart in source/"):
        run_of(DOSE, data=str(tmp_path))
    (tmp_path / "target" / "e.png").rename(tmp_path / "target" / "d.png")
    with pytest.raises(UserError, match="no Hounsfield units"):
        run_of(DOSE, data=str(tmp_path))
    with pytest.raises(UserError, match="--unpaired"):
        run_of(DOSE, unpaired=True)
    with pytest.raises(UserError, match="--crop"):
        run_of(DOSE, crop=64)


def test_given_pairs_in_hounsfield_units_are_taken_as_they_are(tmp_path):
    rng = np.random.default_rng(0)
    full = rng.uniform(-1000, 400, (10, 32, 32)).astype(np.float32)
    np.savez(tmp_path / "doses.npz", images=full, sources=full + 20)
    run = run_of(DOSE, data=str(tmp_path / "doses.npz"))
    found = data.brought(run, run.splits.train)
    hu = {name: low_dose.hounsfield(run.config, found[name]) for name in ("image", "source")}
    np.testing.assert_allclose(hu["source"] - hu["image"], 20, atol=0.01)
    assert "clean" not in found


def test_computed_doses_are_a_function_of_the_slice_and_the_window_is_that_of_the_metrics():
    run = run_of(DOSE)
    one, again = (run.splits.test[3] for _ in range(2))
    np.testing.assert_array_equal(one["source"], again["source"])
    noise = {name: np.std(one[name] - one["clean"]) for name in ("source", "image")}
    assert 2 < noise["source"] / noise["image"] < 5  # ten times the photons: about sqrt(10), if no ray is empty
    low, high = run.config.window
    x = 2 * (np.array([low, (low + high) / 2, high, high + 100]) - low_dose.LOW) / (run.config.high - low_dose.LOW) - 1
    np.testing.assert_allclose(low_dose.in_window(run.config, x), [-1, 0, 1, 1], atol=1e-5)


def test_the_texture_of_the_full_dose_itself_is_without_error():
    run = run_of(DOSE, data="ct_lesion_phantom/64", size=64, test_images=4)
    test = data.tested_pairs(run)
    found = low_dose.texture(run.config, test["image"], test)
    assert found["noise_power"] == found["local_std"] == 0
    assert found["false_structures"] == 1
    assert low_dose.texture(run.config, test["source"], test)["false_structures"] > 4
    blurred = low_dose.texture(run.config, test["clean"], test)
    assert blurred["noise_power"] == pytest.approx(1)
    assert blurred["false_structures"] == 0
    assert blurred["contrast_to_noise"] > found["contrast_to_noise"] > 0


def test_sources_can_be_moved_away_from_their_targets():
    run = run_of(CROSS, data="contrast_phantom/32", size=32, misaligned=3)
    plain, moved = data.examples(run).arrays, CROSS.examples(run).arrays
    np.testing.assert_array_equal(plain["image"], moved["image"])
    shifts = set()
    for before, after in zip(plain["source"], moved["source"], strict=True):
        steps = [(i, j) for i in range(-3, 4) for j in range(-3, 4)]
        shifts |= {step for step in steps if (np.roll(before, step, (0, 1))[4:-4, 4:-4] == after[4:-4, 4:-4]).all()}
    assert len(shifts) > 20
    assert max(max(step) for step in shifts) == 3
    assert min(min(step) for step in shifts) == -3


def test_slices_of_a_volume_share_their_noise_if_asked_to():
    """A model that answers nothing but noise."""
    noise = Model(dict, (), lambda params, keys, n, x: jax.vmap(lambda k: jax.random.normal(k, (4, 4, 1)) / 9)(keys))
    run = Run(CROSS.presets["smoke"], None, {"noise": {}})
    x = np.zeros((3, 4, 4, 1), np.float32)
    shared, alone = (by_model(run, "noise", noise, shared=yes).run for yes in (True, False))
    np.testing.assert_array_equal(shared(jax.random.key(1), x), shared(jax.random.key(2), x[:1]).repeat(3, 0))
    assert np.ptp(alone(jax.random.key(1), x), axis=0).max() > 0.01


def test_unpaired_folders_are_evaluated_without_pairs(tmp_path):
    rng = np.random.default_rng(0)
    for folder, count in (("source", 9), ("target", 14)):
        (tmp_path / folder).mkdir()
        for i in range(count):
            pixels = rng.integers(0, 255, (20, 20), np.uint8)
            PIL.Image.fromarray(pixels).save(tmp_path / folder / f"{folder}{i}.png")
    run = run_of(CROSS, data=str(tmp_path), unpaired=True, methods=("cyclegan",))
    assert not run.facts.paired
    compared = Comparison(run, [], references=baselines(run)).evaluation()
    assert set(compared.metrics["source"]) == {"frechet"}
    assert list(compared.metrics) == ["source", "histogram matching", "images"]


def test_the_splits_of_computed_pairs_are_of_different_subjects():
    splits = load_domains("contrast_phantom/16")
    assert not (splits.train[0]["source"] == splits.test[0]["source"]).all()
