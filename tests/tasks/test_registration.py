"""The task of registration: options, pairs as training and evaluation see them, and the table of methods."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from experiments.registration import registration as recipe
from jaxgen.data import ArraySource, Splits
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.medical.registration import warp
from jaxgen.medical.registration.models import Registration
from jaxgen.tasks import registration
from jaxgen.tasks.registration import evaluation

CONFIG = dataclasses.replace(recipe.EXPERIMENT.presets["smoke"], test_images=3, shares=3)


def splits(n=6, shape=(40, 32)):
    """Images of another size than the network's, of two structures: a ring around a disc, at random places."""
    rng = np.random.default_rng(0)
    away = np.hypot(*(np.indices(shape)[:, None] - rng.uniform(12, 20, (2, n, 1, 1))))
    mask = np.select([away < 4, away < 8], [2, 1], 0).astype(np.uint8)
    image = (60.0 * mask + rng.uniform(0, 20, mask.shape))[..., None].astype(np.float32)
    source = ArraySource({"image": image, "mask": mask})
    return Splits(source, source, source, mask_names=("ring", "disc"))


@pytest.fixture(scope="module")
def run():
    data = splits()
    facts = registration.measure(CONFIG, data)
    return Run(CONFIG, facts, {}, data, jax.random.key(0))


def test_facts_survive_their_file(run):
    assert run.facts.structures == ("ring", "disc")
    again = registration.RegistrationFacts.from_json(json.loads(json.dumps(run.facts.to_json())))
    assert again == run.facts


def test_training_sees_pairs_as_bytes_and_the_device_makes_them_numbers(run, monkeypatch):
    held = registration.example_pairs(run)
    assert isinstance(held, ArraySource)
    assert set(held.arrays) == {"moving", "fixed"}
    assert held.arrays["moving"].shape == (12, 32, 32, 1)
    assert held.arrays["moving"].dtype == np.uint8
    monkeypatch.setattr(registration, "HELD_BYTES", 100)
    lazy = registration.example_pairs(run)
    assert not isinstance(lazy, ArraySource)
    np.testing.assert_array_equal(lazy[7]["fixed"], held[7]["fixed"])
    batch = registration.to_unit(jax.random.key(0), held.arrays)
    np.testing.assert_allclose(batch["moving"], held.arrays["moving"] / 127.5 - 1, atol=1e-6)
    np.testing.assert_allclose((batch["fixed"].min(), batch["fixed"].max()), (-1, 1), atol=0.05)


def test_training_and_test_warp_alike_but_not_the_same(run):
    train = registration.pairs_of(run, run.splits.train, 0)[0]
    test = registration.pairs_of(run, run.splits.test, 2, 3)
    assert len(test) == 6
    assert (train["flow"] != test[0]["flow"]).any()
    with pytest.raises(UserError, match="2 are the least"):
        registration.pairs_of(run, run.splits.test, 2, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": (32, 32, 32, 32)}, "--size must be one number"),
        ({"window": 8}, "--window must be odd"),
        ({"size": 33}, "--size must be a multiple of"),
    ],
)
def test_options_that_do_not_fit(change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(CONFIG, **change)


@pytest.mark.thorough
def test_the_networks_to_compare_have_as_many_parameters():
    """Within 10 %, but for `smoke`."""
    for name, config in recipe.EXPERIMENT.presets.items():
        shape = (1, *(config.size if not isinstance(config.size, int) else (config.size,) * 2), 1)
        batch = {which: jax.ShapeDtypeStruct(shape, np.float32) for which in ("moving", "fixed")}
        counts = {
            method: sum(
                x.size for x in jax.tree.leaves(jax.eval_shape(build(config).model.init, jax.random.key(0), batch))
            )
            for method, build in recipe.MODELS.items()
        }
        assert name == "smoke" or max(counts.values()) < 1.1 * min(counts.values()), (name, counts)


def test_slices_become_volumes_where_a_size_has_three_axes():
    volumes = dataclasses.replace(CONFIG, size=(16, 24, 16), encoder=(8, 8), decoder=(8,))
    data = registration.load_labelled(volumes)
    assert data.train[0]["image"].ndim == 4
    assert data.mask_names[0] == "head"
    assert volumes.spatial == 3


def still(params, moving, fixed, share=1.0):
    return 0 * share + np.zeros((*moving.shape[:-1], moving.ndim - 2), np.float32)


def test_the_table_knows_the_true_field_and_no_field(run, monkeypatch):
    """A method that is told the truth, and one that never moves: their rows are what they must be."""
    pairs = ArraySource.from_source(registration.pairs_of(run, run.splits.test, 2, CONFIG.test_images)).arrays
    number = {pair.tobytes(): i for i, pair in enumerate(np.concatenate([pairs["moving"], pairs["fixed"]], -1))}

    def told(moving, fixed, share):
        keys = np.round((np.concatenate([moving, fixed], -1) + 1) * 127.5).astype(np.uint8)
        return share * pairs["flow"][[number[key.tobytes()] for key in keys]]

    monkeypatch.setattr(evaluation, "has_optical_flow", lambda: False)
    nothing = evaluation.learned(run._replace(params={"still": {}}), "still", Registration(None, still), shares=True)
    with pytest.warns(UserWarning, match="scikit-image"):
        found = evaluation.compare(run, [evaluation.Method("told", told), nothing])
    table = found.metrics
    assert list(table) == ["identity", "told", "still", "pairs"]
    assert table["pairs"] == 6
    assert table["told"]["epe_warped"] == 0
    assert table["told"]["dice_warped"] == 1
    assert table["told"]["dice_subjects"] == table["identity"]["dice_subjects"] < 1
    assert {name: table["still"][name] for name in table["identity"]} == table["identity"]
    for row in (table["told"], table["identity"]):
        for kind in ("warped", "subjects"):
            assert row[f"dice_{kind}_low"] <= row[f"dice_{kind}"] <= row[f"dice_{kind}_high"]
    size = np.linalg.norm(pairs["flow"][:3], axis=-1)
    mask = pairs["fixed_mask"][:3] > 0
    expected = np.mean([x[m].mean() for x, m in zip(size, mask, strict=True)])
    assert table["identity"]["epe_warped"] == pytest.approx(expected, rel=1e-4)
    assert table["still"]["monotone"] == 1
    assert set(found.figures) == {"registered", "way_still"}
    assert len(found.cases) == 6
    assert found.cases[0]["told: dice"] == 1
    assert set(found.describe) >= set(table["still"])
    assert "told" in found.headline
    assert set(found.timings) == {"identity", "told", "still"}
    moved = warp(pairs["moving"][:3].astype(np.float32), pairs["flow"][:3])
    assert float(np.abs(moved - pairs["fixed"][:3]).mean()) < 10
