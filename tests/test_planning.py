"""``jaxgen plan``: what a training needs, before it is started."""

import dataclasses

import jax
import pytest

from jaxgen import experiment
from jaxgen.app import planning
from jaxgen.app.cli import main

GIB = 2**30


@pytest.fixture(scope="module")
def two_moons():
    return experiment.find("two_moons")


def planned(found, **changed):
    config = dataclasses.replace(found.presets["small"], **changed)
    return planning.plan(found, config, planning.data_of(found, config, brought=False)), config


def test_the_numbers_are_those_of_the_stage(two_moons):
    (one, *_), config = planned(two_moons)
    ((spec, _, state, batch), *_) = planning.shapes(two_moons, config, config)
    assert one.name == spec.name
    assert one.parameters == sum(leaf.size for leaf in jax.tree.leaves(state.params))
    assert one.steps == config.steps
    arrays = jax.tree.leaves((state.params, state.ema, state.opt_state))
    assert one.memory.state == sum(leaf.size * leaf.dtype.itemsize for leaf in arrays)
    assert one.memory.batch == sum(x.size * x.dtype.itemsize for x in batch.values())
    assert one.memory.total == one.memory.state + one.memory.batch + one.memory.temporary
    assert one.sample_operations > 0


def test_devices_and_parts_take_their_share(two_moons):
    (whole, *_), config = planned(two_moons)
    (shard, *_), _ = planned(two_moons, shard_state=4)
    (parts, *_), _ = planned(two_moons, accumulate=4)
    assert shard.memory.state == whole.memory.state / 4
    assert shard.memory.batch == whole.memory.batch / 4
    assert parts.memory.state == whole.memory.state
    assert parts.memory.batch == whole.memory.batch
    (quarter, *_), _ = planned(two_moons, batch_size=config.batch_size // 4)
    assert parts.memory.temporary == quarter.memory.temporary + 4 * whole.parameters  # the gradients so far
    assert shard.memory.temporary == quarter.memory.temporary + 4 * whole.parameters  # what was gathered
    assert whole.operations == shard.operations == parts.operations


def of_size(state, temporary, single, batch=0.0):
    memory = planning.StepMemory(state * GIB, batch * GIB, temporary * GIB)
    alone = planning.StepMemory(state * GIB, batch * GIB, single * GIB)
    return planning.Planned("net", 10**9, 1000, 3.5e14, memory, alone, None, None)


CARD = planning.Accelerator("Card", 80 * GIB, 1e15, 1e14)


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (of_size(10, 60, 4), "net: 10 s per step, 2.8 hours for 1,000 steps; fits on one Card (80.0 GiB)"),
        (of_size(10, 160, 10), "--accumulate 4 would need some 50.0 GiB"),
        (of_size(200, 16, 1), "one example does not either; --shard-state 8 on as many devices"),
        (of_size(10, 1600, 100), "one example does not either; --space 4 on as many devices"),
    ],
)
def test_what_does_not_fit_is_told_the_least_change(two_moons, one, said):
    config = dataclasses.replace(two_moons.presets["small"], batch_size=16)
    told = planning.lines([one], config, CARD)
    assert any(said in line for line in told), told


def test_the_command(capsys):
    assert main(["plan", "two_moons", "--preset", "small", "--accelerator", "t4", "--batch-size", "64"]) == 0
    told = capsys.readouterr().out
    assert "fits on one NVIDIA T4" in told
    assert "flow" in told
    assert main(["plan"]) == 2
    assert "usage: jaxgen plan NAME" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--accelerator", "abacus"], "--accelerator invalid choice: 'abacus'"),
        (["--batch-size", "3", "--accumulate", "2"], "--batch-size 3: must be a multiple of 2"),
        (["--devices", "6", "--shard-state", "4"], "--devices 6: cannot be divided into groups of 4"),
        (["--preset", "huge"], "huge"),
    ],
)
def test_one_line_each_for_what_is_wrong(flags, said, capsys):
    assert main(["plan", "two_moons", *flags]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_data_of_the_user_are_loaded(two_moons):
    config = two_moons.presets["small"]
    assert planning.data_of(two_moons, config, brought=True) is config
    assert planning.data_of(two_moons, config, brought=False) == two_moons.presets["smoke"]
