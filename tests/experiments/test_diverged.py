"""Samples that diverged have no number in any table, and the table says so."""

import functools
import json
import types

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import sampler_speed, trilemma
from jaxgen import headings
from jaxgen.app.cli import main
from jaxgen.experiment import Run
from jaxgen.figures.samples import neighbours
from jaxgen.metrics import sample_uncertainty, sample_widening
from jaxgen.metrics import sampler_error as exact
from jaxgen.metrics.best import highest, lowest
from jaxgen.metrics.image_quality import clipped_psnr
from jaxgen.metrics.sample_sets import cut
from jaxgen.tasks import generation
from jaxgen.tasks.reconstruction import posterior

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1, 1, (24, 4, 4, 1)).astype(np.float32)
BAD = (np.nan, np.inf, -np.inf)


class Blind:
    """A feature extractor whose features hide what is no number, as a network with saturating layers may."""

    def __call__(self, x):
        return np.nan_to_num(x.reshape(len(x), -1), posinf=1, neginf=-1)[:, :3]

    def classes(self, x):
        return np.zeros(len(x), int)


def comparison():
    train, extract = IMAGES[:12], Blind()
    real = types.SimpleNamespace(
        extract=extract, train=train, train_features=extract(train), held_out=IMAGES[12:], count=12
    )
    return generation.Comparison(None, lambda n: {}, gaussian=False, real=real)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("index", [(0,), (3, 2, 2), slice(None)])
def test_scores_of_samples(bad, index):
    drawn, compared = np.array(IMAGES[12:]), comparison()
    fine = compared.score(drawn)
    assert np.isfinite(list(fine.values())).all()
    assert "diverged" not in fine
    drawn[index] = bad
    found = compared.score(drawn)
    assert found.pop("diverged") == pytest.approx(1 if index == slice(None) else 1 / 12)
    assert set(found) == set(fine)
    assert np.isnan(list(found.values())).all()
    assert np.isnan(compared.accuracy(drawn, np.zeros(12, int)))
    assert compared.accuracy(IMAGES, np.zeros(24, int)) == 1
    assert set(compared.fidelity(drawn)) <= set(headings.OF_SETS)
    rows = trilemma.quality(compared, [IMAGES[12:], drawn])
    assert np.isnan(rows["frechet"])
    assert rows["diverged"] > 0
    neighbours(drawn[:4], compared.real.train)


def test_values_cut_to_the_range_do_not_hide_infinity():
    assert np.isnan(cut(jnp.array(BAD))).all()
    assert cut(jnp.array([-3.0, 0.5, 1e30])).tolist() == [-1, 0.5, 1]
    for bad in BAD:
        x = np.array(IMAGES)
        x[0, 0, 0] = bad
        assert np.isnan(clipped_psnr(x, IMAGES))


def test_what_diverged_is_never_the_best():
    for bad in BAD:
        assert highest({"a": bad, "b": 1.0, "c": 2.0, "d": bad}) == "c"
        assert lowest({"a": bad, "b": 1.0, "c": 2.0, "d": bad}) == "b"
        errors = {"a": {5: bad}, "b": {5: 2.0}, "c": {5: 1.0}}
        assert exact.ranking(errors, 5) == ["c", "b", "a"]
        del errors["c"]
        assert sampler_speed.picks("flow", errors, 5) == {"flow_best": "b 2", "flow_second": "a diverged"}


@pytest.mark.parametrize("bad", BAD)
def test_uncertainty_of_samples(bad):
    drawn, truth = RNG.normal(size=(4, 2, 6, 6, 1)), RNG.normal(size=(2, 6, 6, 1))
    seen = np.ones(truth.shape, bool)
    assert np.isfinite(list(sample_uncertainty(drawn, truth, seen, 1.5).values())).all()
    drawn[1, 1, 2, 2] = bad
    assert np.isnan(sample_widening(drawn, truth, seen))
    assert np.isnan(list(sample_uncertainty(drawn, truth, seen, 1.5).values())).all()
    assert np.isnan(posterior.kept_widening(Run(None, None, chosen={"4x": {"dps widening": None}}), "4x", "dps"))
    assert posterior.kept_widening(Run(None, None), "4x", "dps") == 1


@pytest.mark.thorough
def test_a_sampler_that_diverges_is_named_in_the_table(tmp_path, monkeypatch, capsys):
    draw = sampler_speed.draw
    few_samplers = functools.partial(exact.evaluate_samplers, names=("ddim", "ddpm"))
    monkeypatch.setattr(exact, "evaluate_samplers", few_samplers)

    def diverging(run, name, evaluations, key, n):
        drawn, took = draw(run, name, evaluations, key, n)
        if name == "ddim" and evaluations == 5:
            drawn[-1, 0, 0] = np.inf
        return drawn, took

    monkeypatch.setattr(sampler_speed, "draw", diverging)
    folder = tmp_path / "run"
    assert main(["run", "sampler_speed", "--preset", "smoke", "--workdir", str(folder)]) == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    few, many = metrics["5 evaluations"], metrics["10 evaluations"]
    assert few["diverged"] == "ddim"
    assert few["frechet.ddim"] is few["kernel.ddim"] is None
    assert few["frechet_second"] == "ddim diverged"
    assert "diverged" not in many
    assert many["frechet.ddim"] > 0
    assert "Diverged" in capsys.readouterr().out
