"""Every experiment's `smoke` is run by some test of this folder, in the precision of its `full`."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import experiment
from jaxgen.app.cli import main
from jaxgen.train import init_state, make_train_step


@pytest.mark.parametrize("name", experiment.names())
def test_smoke_runs_in_the_precision_of_full(name):
    """The fixture of this folder sees to the precision; here it is held that none is left out of the tests."""
    presets = experiment.find(name).presets
    if "full" in presets:
        assert presets["smoke"].precision == presets["full"].precision
    runs = [file.read_text() for file in Path(__file__).parent.glob("test_*.py")]
    marks = ('"--preset", "smoke"', 'runner.train(trilemma.EXPERIMENT, "smoke"')
    assert any(name in text and any(mark in text for mark in marks) for text in runs)


@pytest.mark.parametrize("name", experiment.names())
def test_every_stage_takes_a_training_step_in_the_precision_of_full(name, data):
    """By shape alone: what does not fit in bfloat16, such as a complex image of it, shows before anything compiles."""
    found = experiment.find(name)
    config = found.presets["smoke"]
    if not config.data and name != "two_moons":  # which takes none
        config = dataclasses.replace(config, data=str(data))
    splits = found.load(config)
    constants = found.measure(config, splits)
    examples = splits.train if found.examples is None else found.examples(config, constants, splits)
    rows = [examples[i] for i in range(config.batch_size)]
    batch = {entry: np.stack([row[entry] for row in rows]) for entry in rows[0]}
    trained: dict[str, object] = {}
    for spec in experiment.stages_of(found, config):
        stage = spec.build(config, constants, trained)

        def start(batch, stage=stage):
            keys = jax.random.split(jax.random.key(0), config.batch_size)
            prepared = batch if stage.prepare is None else stage.prepare(keys, batch)
            return init_state(stage.model, stage.optimizers, jax.random.key(1), prepared)

        state = jax.eval_shape(start, batch)
        for precision in {"bfloat16", config.precision}:
            options = {"ema_decay": config.ema_decay, "prepare": stage.prepare, "precision": precision}
            after, metrics = jax.eval_shape(make_train_step(stage.model, stage.optimizers, **options), state, batch)
            same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), after, state)
            assert all(jax.tree.leaves(same))
            assert {value.dtype for value in metrics.values()} == {jnp.dtype(jnp.float32)}
        trained[spec.name] = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), state.params)


def test_two_moons(tmp_path):
    assert main(["run", "two_moons", "--preset", "smoke", "--workdir", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())


def test_the_presets_are_those_of_full(smoke_in_the_precision_of_full):
    assert "ddpm" in smoke_in_the_precision_of_full
    assert "kspace_cold_diffusion" in smoke_in_the_precision_of_full
