"""The experiments of continuous flows: from the command line to their files, and their full presets by shape."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.generation import flow_matching
from jaxgen.app.cli import main
from jaxgen.tasks.old.networks import network


def _numbers(run):
    metrics = json.loads((run / "metrics.json").read_text())
    numbers = [v for entry in metrics.values() if isinstance(entry, dict) for v in entry.values()]
    assert numbers
    assert np.isfinite(numbers).all()
    assert (run / "report.html").stat().st_size > 20_000
    return metrics


def test_flow_matching_smoke(tmp_path):
    method, data, run = "reflow", tmp_path / "discs.npz", tmp_path / "run"
    rng = np.random.default_rng(0)
    centre = rng.uniform(5, 11, (40, 2, 1, 1))
    disc = np.where(((np.indices((16, 16))[None] - centre) ** 2).sum(1) < 16, 200, 10)
    np.savez(data, images=(disc + rng.integers(0, 10, disc.shape)).astype(np.uint8))
    flags = ["--samples", "8", "--chunk", "8", "--method", method, "--coupling", "entropic"]
    assert main(["run", "flow_matching", "--preset", "smoke", "--data", str(data), "--workdir", str(run), *flags]) == 0
    metrics = _numbers(run)
    assert {"Euler, 1", f"{method}, 1", "flow matching", "gaussian"} <= metrics.keys()


CONSTANTS = {"channels": 1, "classes": [], "mean": [0.0, 0.0], "covariance": [[1.0, 0.0], [0.0, 1.0]]}


@pytest.mark.parametrize(("preset", "precision"), [("small", "float32"), ("full", "bfloat16")])
@pytest.mark.parametrize("method", ["mean_flow", "reflow"])
def test_every_preset_traces_a_training_step(preset, precision, method):
    config = dataclasses.replace(
        flow_matching.EXPERIMENT.presets[preset], precision=precision, method=method, coupling="optimal_transport"
    )
    dtype = jnp.dtype(precision)
    batch = {"image": jax.ShapeDtypeStruct((2, config.size, config.size, 1), dtype)}
    trained = {}
    for spec in flow_matching.EXPERIMENT.stages[1:]:
        model = spec.build(config, CONSTANTS, trained).model
        if method == "mean_flow" or spec.name == "flow":
            params = jax.eval_shape(model.init, jax.random.key(0), batch)
            trained[spec.name] = params
        else:
            params = {"net": trained["flow"]["net"], "teacher": trained["flow"]["net"]}
        params = jax.tree.map(lambda leaf, dtype=dtype: jax.ShapeDtypeStruct(leaf.shape, dtype), params)
        loss, _ = jax.eval_shape(model.objectives[0].loss, params, jax.random.split(jax.random.key(0), 2), batch)
        assert (loss.shape, loss.dtype) == ((2,), jnp.float32)


def test_the_full_preset_is_the_paper_s_network():
    """ADM for 64 pixels, as Lipman et al. 2023 for ImageNet at that size, without labels."""
    config = flow_matching.FULL
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    params = jax.eval_shape(network(config, {"channels": 3}).init, jax.random.key(0), x, jnp.zeros(1))
    labels = 1001 * 4 * config.channels[0]  # of the conditional network, whose count is that of `guidance`
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 295_900_035 - labels
