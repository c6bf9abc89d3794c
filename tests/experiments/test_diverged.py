"""Samples that diverged have no number in any table, and the table says so."""

import functools
import json
import types

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.generation import image_to_image
from experiments.segmentation import flow_sdf
from experiments.studies import sampler_speed, trilemma
from jaxgen.app.cli import main
from jaxgen.tasks import exact_mixture as exact
from jaxgen.tasks.best import highest, lowest
from jaxgen.tasks.old import sample_quality as judging
from jaxgen.tasks.reconstruction import posterior

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1, 1, (24, 4, 4, 1)).astype(np.float32)
BAD = (np.nan, np.inf, -np.inf)


class Blind:
    """A judge whose features hide what is no number, as a network with saturating layers may."""

    def features(self, x):
        return np.nan_to_num(x.reshape(len(x), -1), posinf=1, neginf=-1)[:, :3]

    def classes(self, x):
        return np.zeros(len(x), int)


def real():
    return types.SimpleNamespace(train=IMAGES[:12], held_out=IMAGES[12:], train_features=Blind().features(IMAGES[:12]))


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("index", [(0,), (3, 2, 2), slice(None)])
def test_scores_of_samples(bad, index):
    drawn = np.array(IMAGES[12:])
    fine = judging.score(real(), Blind(), drawn)
    assert np.isfinite(list(fine.values())).all()
    assert "diverged" not in fine
    drawn[index] = bad
    found = judging.score(real(), Blind(), drawn)
    assert found.pop("diverged") == pytest.approx(1 if index == slice(None) else 1 / 12)
    assert set(found) == set(fine)
    assert np.isnan(list(found.values())).all()
    assert np.isnan(judging.accuracy(Blind(), drawn, np.zeros(12, int)))
    assert judging.accuracy(Blind(), IMAGES, np.zeros(24, int)) == 1
    assert set(judging.fidelity(real(), Blind(), drawn)) <= set(judging.DESCRIBE)
    rows = trilemma._quality(real(), Blind(), [IMAGES[12:], drawn])
    assert np.isnan(rows["frechet"])
    assert rows["diverged"] > 0
    judging.neighbours(real(), drawn[:4])


def test_values_cut_to_the_range_do_not_hide_infinity():
    assert np.isnan(judging.cut(jnp.array(BAD))).all()
    assert judging.cut(jnp.array([-3.0, 0.5, 1e30])).tolist() == [-1, 0.5, 1]
    for bad in BAD:
        x = np.array(IMAGES)
        x[0, 0, 0] = bad
        assert np.isnan(image_to_image.psnr(x, IMAGES))


def test_what_diverged_is_never_the_best():
    for bad in BAD:
        assert highest({"a": bad, "b": 1.0, "c": 2.0, "d": bad}) == "c"
        assert lowest({"a": bad, "b": 1.0, "c": 2.0, "d": bad}) == "b"
        errors = {"a": {5: bad}, "b": {5: 2.0}, "c": {5: 1.0}}
        assert exact.ranking(errors, 5) == ["c", "b", "a"]
        del errors["c"]
        assert sampler_speed._picks("flow", errors, 5) == {"flow_best": "b 2", "flow_second": "a diverged"}


@pytest.mark.parametrize("bad", BAD)
def test_uncertainty_of_samples(bad):
    drawn, truth = RNG.normal(size=(4, 2, 6, 6, 1)), RNG.normal(size=(2, 6, 6, 1))
    seen = np.ones(truth.shape, bool)
    assert np.isfinite(list(posterior.uncertainty(drawn, truth, seen, 1.5).values())).all()
    drawn[1, 1, 2, 2] = bad
    assert np.isnan(posterior.widening(drawn, truth, seen))
    assert np.isnan(list(posterior.uncertainty(drawn, truth, seen, 1.5).values())).all()
    assert np.isnan(posterior.kept_widening({"chosen": {"4x": {"dps widening": None}}}, "4x", "dps"))
    assert posterior.kept_widening({"chosen": {}}, "4x", "dps") == 1


def test_a_sampler_that_diverges_is_named_in_the_table(tmp_path, monkeypatch, capsys):
    draw = sampler_speed._draw
    few_samplers = functools.partial(exact.judge, names=("ddim", "ddpm"))
    monkeypatch.setattr(exact, "judge", few_samplers)

    def diverging(config, constants, trained, name, evaluations, key, n):
        drawn, took = draw(config, constants, trained, name, evaluations, key, n)
        if name == "ddim" and evaluations == 5:
            drawn[-1, 0, 0] = np.inf
        return drawn, took

    monkeypatch.setattr(sampler_speed, "_draw", diverging)
    run = tmp_path / "run"
    assert main(["run", "sampler_speed", "--preset", "smoke", "--workdir", str(run)]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    few, many = metrics["5 evaluations"], metrics["10 evaluations"]
    assert few["diverged"] == "ddim"
    assert few["frechet.ddim"] is few["kernel.ddim"] is None
    assert few["frechet_second"] == "ddim diverged"
    assert "diverged" not in many
    assert many["frechet.ddim"] > 0
    assert "Diverged" in capsys.readouterr().out


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_segmentation_that_diverged(bad):
    """Masks of NaN are empty: without a word they would be masks like others."""
    config = flow_sdf.SMOKE

    def case(maps, probability):
        truth = np.zeros((8, 8), bool)
        truth[2:5, 2:6] = True
        summary = flow_sdf.summarise(jnp.asarray(maps), threshold=0.0)
        return {
            "readers": truth[None],
            "truth": truth,
            "first": maps[0],
            "member_masks": maps <= 0,
            "summary": flow_sdf.jax.device_get(summary),
            "baseline_probability": probability,
            "baseline": probability > 0.5,
            "dice": 0.5,
            "diverged": not np.isfinite(maps).all(),
            "baseline_diverged": not np.isfinite(probability).all(),
        }

    maps = RNG.uniform(-1, 1, (2, config.members, 8, 8)).astype(np.float32)
    fine = [case(m, RNG.random((8, 8))) for m in maps]
    maps[1, 0, 0, 0] = bad
    one = flow_sdf._metrics(config, [fine[0], case(maps[1], RNG.random((8, 8)))])
    for name in ("flow_sdf", "flow_sdf_single"):
        assert one[name].pop("diverged") == 0.5
        assert np.isnan(list(one[name].values())).all()
    assert np.isfinite(one["unet"]["dice"])
    lost = flow_sdf._metrics(config, [fine[0], case(np.ones((config.members, 8, 8), np.float32), np.zeros((8, 8)))])
    for name in ("unet", "flow_sdf", "flow_sdf_single"):
        assert lost[name]["missed"] == 1, name
        assert lost[name]["hausdorff95"] > np.hypot(8, 8) / 2, name
        assert {"missed", "false_alarms", "hausdorff95"} <= set(flow_sdf.DESCRIBE)
    assert "diverged" not in lost["flow_sdf"]
