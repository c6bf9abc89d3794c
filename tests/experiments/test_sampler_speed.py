"""The comparison of samplers: the truth it compares with, what it counts, and the files that it leaves."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import sampler_speed
from jaxgen import mixtures, paths
from jaxgen.app.cli import main
from jaxgen.errors import UserError
from jaxgen.metrics import sampler_error as exact
from jaxgen.samplers import grids, sample
from jaxgen.samplers.catalogue import SAMPLERS

VP = paths.variance_preserving()


@pytest.mark.thorough
def test_smoke_preset_from_the_command_line(tmp_path):
    data, run = tmp_path / "images.npz", tmp_path / "run"
    np.savez(data, images=np.random.default_rng(0).integers(0, 255, (40, 16, 16), np.uint8))
    assert main(["run", "sampler_speed", "--preset", "smoke", "--data", str(data), "--workdir", str(run)]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    for budget in (5, 10):
        column = metrics[f"{budget} evaluations"]
        for name, sampler in SAMPLERS.items():
            assert column[f"law.{name}"] > 0
            assert (f"flow.{name}" in column) == (not sampler.random)
        assert column["flow_best"].split()[0] in SAMPLERS
        assert column["frechet_best"].split()[0] in ("ddim", "dpm_solver_2m_sde")
        assert column["flow.ddim"] == pytest.approx(column["flow.dpm_solver_1s"], rel=1e-3)  # one method, two names
        assert column["flow_second"] != column["flow_best"]
        assert column["flow_best"] == min(
            (f"{name} {column[f'flow.{name}']:.3g}" for name in SAMPLERS if f"flow.{name}" in column),
            key=lambda words: float(words.split()[1]),
        )
    measured = json.loads((run / "timings.json").read_text())["measured"]
    assert measured["ddim"]["milliseconds per image, 10 evaluations"] > 0
    page = (run / "report.html").read_text()
    assert page.count("<figure>") == 6
    assert "milliseconds per image, 10 evaluations" in page


@pytest.fixture(scope="module")
def found():
    """Four methods of different order, and one that draws."""
    names = ("ddim", "heun", "dpm_solver_3m", "ddpm")
    mixture = exact.make_mixture(4, 3, 0)
    key = jax.random.key(0)
    return exact.evaluate_samplers(
        VP, mixture, grids.log_snr, (20, 80), key, points=512, reference_steps=200, names=names
    )


@pytest.mark.thorough
def test_errors_fall_with_evaluations_and_faster_for_high_orders(found):
    fall = {name: errors[20] / errors[80] for name, errors in found.flow.items()}
    assert fall["ddim"] > 2.5  # order 1: a factor of 4 in the limit
    assert fall["heun"] > 8
    assert fall["dpm_solver_3m"] > 8
    assert found.flow["dpm_solver_3m"][80] < found.flow["ddim"][80] / 5
    assert found.law["ddpm"][80] < found.law["ddpm"][20]
    assert 0 < found.law_floor < found.law["ddpm"][20]
    assert exact.ranking(found.flow, 80)[-1] == "ddim"
    assert all(found.rmse[name][80] > found.flow[name][80] for name in found.flow)


def test_the_reference_is_the_flow_of_a_gaussian():
    law = mixtures.gaussian([1.0, -0.5], [[1.0, 0.6], [0.6, 0.7]])
    x = np.random.default_rng(0).normal(size=(16, 2))
    with jax.enable_x64(True):
        want = np.asarray(law.flow(VP, jnp.asarray(x)))
    np.testing.assert_allclose(exact.flow_ends(VP, law, x, 200), want, atol=1e-6)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_evaluations_are_counted_right(name):
    """With plain Python loops in place of compiled ones every call of the denoiser is seen."""
    sampler, calls = SAMPLERS[name], []

    def denoise(x, t):
        calls.append(t)
        return 0.5 * x

    for steps in (2, 3):
        calls.clear()
        with jax.disable_jit():
            sample(sampler.step(VP), denoise, jax.random.key(0), jnp.ones((1, 2)), grids.uniform(VP, steps))
        assert len(calls) == steps * sampler.evaluations + sampler.extra
    assert sampler.steps_within(10) * sampler.evaluations + sampler.extra <= 10


def test_samplers_below_the_floor_are_not_ranked():
    errors = {"a": {5: 0.1}, "b": {5: 0.2}, "c": {5: 0.9}}
    pick = sampler_speed.picks
    assert pick("law", errors, 5) == {"law_best": "a 0.1", "law_second": "b 0.2"}
    assert pick("law", errors, 5, 0.15)["law_best"] == "a 0.1"
    assert pick("law", errors, 5, 0.3)["law_best"] == "2 as good as fresh draws"


def test_evaluations_must_rise():
    with pytest.raises(UserError, match="--evaluations must rise"):
        sampler_speed.SamplerSpeedConfig(evaluations=(10, 5))
