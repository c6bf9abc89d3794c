"""The experiments on points in the plane: from the command line to their files, and what runs of before need."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.points import cnf, planar_flow
from jaxgen.app.cli import main
from jaxgen.config import from_dict, to_dict
from jaxgen.data.planar import planar_set
from jaxgen.experiment import Run
from jaxgen.tasks.points import PointFacts

FACTS = PointFacts(mean=(0.0, 0.0), covariance=((1.0, 0.0), (0.0, 1.0)))


def metrics(run):
    return json.loads((run / "metrics.json").read_text())


@pytest.mark.thorough
def test_cnf_smoke(tmp_path, capsys):
    run = tmp_path / "run"
    flags = ["--data", "moons", "--trace", "hutchinson", "--kinetic", "0.01", "--coupling", "optimal_transport"]
    assert main(["run", "cnf", "--preset", "smoke", "--workdir", str(run), *flags]) == 0
    found = metrics(run)
    np.testing.assert_allclose(found["entropy"], planar_set("moons").entropy(400), atol=1e-3)
    for name in ("likelihood", "flow matching", "gaussian"):
        assert np.isfinite(list(found[name].values())).all()
        assert found[name]["excess"] > 0
    assert (run / "report.html").stat().st_size > 20_000
    assert main(["sample", str(run), "--n", "3"]) == 0
    (drawn,) = run.glob("samples*/samples.npz")
    assert np.load(drawn)["points"].shape == (3, 2)
    assert main(["run", "cnf", "--preset", "smoke", "--data", "squares", "--workdir", str(tmp_path / "other")]) == 2
    assert "eight_gaussians" in capsys.readouterr().err


def test_runs_of_before_open():
    config = cnf.EXPERIMENT.presets["smoke"]
    saved = {("fresh" if name == "test_points" else name): value for name, value in to_dict(config).items()}
    assert from_dict(cnf.CNFConfig, saved) == config
    saved = {"mean": [0, 0], "covariance": [[1, 0], [0, 1]], "entropy": 1.5}
    assert cnf.EXPERIMENT.facts.from_json(saved) == FACTS


def test_samples_are_drawn_from_the_same_noise_in_an_evaluation_and_afterwards():
    config = cnf.EXPERIMENT.presets["smoke"]
    (stage, _) = cnf.EXPERIMENT.stages
    run = Run(config, FACTS)
    params = stage.build(run).model.init(jax.random.key(0), {"points": jnp.ones((1, 2))})
    drawn = cnf.draw(run._replace(params={"cnf": params}), jax.random.key(1), 5)
    flow = cnf.compiled_velocity(cnf.velocity(config).apply, jnp.linspace(0, 1, 3), config.tolerance)
    want, cost = flow.draw(params["net"], jax.random.normal(jax.random.key(1), (5, 2)))
    np.testing.assert_allclose(drawn, want, atol=1e-5)
    assert cost["evaluations"] >= 6


def test_the_full_preset_of_cnf_by_shape():
    model = cnf.EXPERIMENT.stages[0].build(Run(cnf.EXPERIMENT.presets["full"], FACTS)).model
    params = jax.eval_shape(model.init, jax.random.key(0), {"points": jnp.zeros((1, 2))})
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == (2 + 32 + 1) * 256 + 2 * 257 * 256 + 257 * 2


@pytest.mark.thorough
def test_planar_flow_smoke(tmp_path):
    run = tmp_path / "run"
    assert main(["run", "planar_flow", "--preset", "smoke", "--data", "checkerboard", "--workdir", str(run)]) == 0
    found = metrics(run)
    assert found["entropy"] == pytest.approx(np.log(8), abs=1e-3)
    assert found["flow"]["gap"] > 0


@pytest.mark.parametrize("flow", ["spline", "autoregressive_spline", "real_nvp", "autoregressive"])
def test_every_planar_flow_starts_near_a_gaussian(flow):
    config = planar_flow.PlanarFlowConfig(flow=flow, layers=2, widths=(8,), bins=4)
    model = planar_flow.model(Run(config, FACTS))
    x = jax.random.normal(jax.random.key(0), (16, 2))
    params = jax.jit(model.init)(jax.random.key(1), {"points": x})
    standard = (x - x.mean(0)) / x.std(0)
    expected = -0.5 * jnp.sum(standard**2, -1) - np.log(2 * np.pi) - jnp.sum(jnp.log(x.std(0)))
    np.testing.assert_allclose(model.log_prob(params, None, x), expected, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eight_gaussians", "moons", "spirals", "checkerboard"])
def test_a_spline_flow_is_within_a_twentieth_of_a_nat_of_the_entropy(name, tmp_path):
    assert main(["run", "planar_flow", "--data", name, "--workdir", str(tmp_path / "run")]) == 0
    found = metrics(tmp_path / "run")["flow"]
    assert found["gap"] + 2 * found["gap_error"] < 0.05
