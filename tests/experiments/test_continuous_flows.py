"""Flow matching: the few-step model that the preset does not train, on images of the user."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.generation import flow_matching
from jaxgen import experiment
from jaxgen.app.cli import main
from jaxgen.tasks import images


@pytest.mark.thorough
def test_flow_matching_smoke(tmp_path):
    method, data, run = "reflow", tmp_path / "discs.npz", tmp_path / "run"
    rng = np.random.default_rng(0)
    centre = rng.uniform(5, 11, (40, 2, 1, 1))
    disc = np.where(((np.indices((16, 16))[None] - centre) ** 2).sum(1) < 16, 200, 10)
    np.savez(data, images=(disc + rng.integers(0, 10, disc.shape)).astype(np.uint8))
    flags = ["--samples", "8", "--chunk", "8", "--method", method, "--coupling", "entropic"]
    assert main(["run", "flow_matching", "--preset", "smoke", "--data", str(data), "--workdir", str(run), *flags]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    numbers = [v for entry in metrics.values() if isinstance(entry, dict) for v in entry.values()]
    assert np.isfinite(numbers).all()
    assert {"Euler, 1", f"{method}, 1", "flow matching", "gaussian"} <= metrics.keys()
    assert metrics[f"{method}, 1"]["straightness"] > 0


@pytest.mark.parametrize("coupling", ["independent", "optimal_transport", "entropic"])
def test_every_coupling_traces_a_training_step_of_either_few_step_model(coupling):
    facts = images.ImageFacts(value_range=((0.0,), (255.0,)), image_channels=1)
    batch = {"image": jax.ShapeDtypeStruct((2, 16, 16, 1), jnp.float32)}
    for method in ("mean_flow", "reflow"):
        flags = {"coupling": coupling, "method": method, "time": "logit_normal"}
        config = flow_matching.EXPERIMENT.presets["smoke"].__class__(size=16, channels=(8,), attention=None, **flags)
        run = experiment.Run(config, facts)
        for spec in flow_matching.EXPERIMENT.stages[1:]:
            model = spec.build(run).model
            params = jax.eval_shape(model.init, jax.random.key(0), batch)
            run = run._replace(params={**run.params, spec.name: params})
            if method == "reflow" and spec.name == "few_steps":
                params = {"net": run.params["flow"]["net"], "teacher": run.params["flow"]["net"]}
            loss, _ = jax.eval_shape(model.objectives[0].loss, params, jax.random.split(jax.random.key(0), 2), batch)
            assert (loss.shape, loss.dtype) == ((2,), jnp.float32)
