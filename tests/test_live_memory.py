"""The memory of a function, estimated from its trace."""

import sys

import jax
import jax.numpy as jnp
import pytest

from jaxgen import experiment
from jaxgen.app import planning
from jaxgen.live_memory import peak_bytes
from jaxgen.train import make_train_step
from jaxgen.train.memory import estimated_memory

SQUARE = jax.ShapeDtypeStruct((64, 64), jnp.float32)
ONE = 64 * 64 * 4


@pytest.mark.parametrize(
    ("function", "arrays"),
    [
        (lambda a: (a @ a) @ a, 1),  # the second product is the result
        (lambda a: jnp.sum((a @ a) @ a), 2),
        (lambda a: jnp.sum(jnp.sin(jnp.exp(a) + 1)), 0),  # computed where it is read
        (lambda a: jnp.sum(jnp.sin(a) @ a), 2),  # a product reads from memory
        (lambda a: jnp.sum((y := jnp.sin(a)) + y * jnp.cos(y)), 1),  # read more than once
        (lambda a: jnp.sum((((a @ a) @ a) @ a) @ a), 2),  # what has been read is let go
        (lambda a: (y := a @ a).reshape(-1) @ y.reshape(-1) + jnp.sum(y @ a), 2),  # a shape is not a copy
        (lambda a: jnp.sum(jax.jit(lambda a: (a @ a) @ a)(a)), 2),
        (lambda a: jnp.sum(jax.lax.cond(a[0, 0] > 0, lambda a: (a @ a) @ a, lambda a: a, a)), 2),
    ],
)
def test_results_are_held_until_their_last_reader_is_done(function, arrays):
    assert peak_bytes(function, SQUARE) == pytest.approx(arrays * ONE, abs=64)


def test_a_loop_holds_what_its_body_does_and_what_it_stacks():
    def body(x, _):
        return (jnp.sin(x) @ x) @ x, x[0]

    found = peak_bytes(lambda a: [jnp.sum(part) for part in jax.lax.scan(body, a, None, length=100)], SQUARE)
    assert found == pytest.approx(ONE + 100 * 64 * 4 + 2 * ONE, abs=64)  # carried, stacked, inside


def compared(name, preset, only=None):
    """Estimated bytes of training steps over those of their compiled programs, by stage."""
    found = experiment.find(name)
    config = found.presets[preset]
    for spec, run, state, batch in planning.shapes(found, config, planning.data_of(found, config, brought=False)):
        if only in (None, spec.name):
            stage = spec.build(run)
            step = make_train_step(stage.model, stage.optimizers, ema_decay=0.99, prepare=stage.prepare)
            held = jax.jit(step, donate_argnums=0).lower(state, batch).compile().memory_analysis()
            yield spec.name, estimated_memory(stage, state, batch).temporary / held.temp_size_in_bytes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "stage"),
    [("ddpm", "ddpm"), ("flow_sdf", "flow_sdf"), ("gan", "gan"), ("vae", "vae"), ("planar_flow", "flow")],
)
def test_training_steps_are_within_a_fifth_of_compiled_ones(name, stage):
    ((_, ratio),) = compared(name, "small", stage)
    assert 0.8 < ratio < 1.2


@pytest.mark.thorough
def test_a_small_training_step_too(compiled_as_for_users):
    ((_, ratio),) = compared("planar_flow", "small", "flow")
    assert 0.8 < ratio < 1.2


if __name__ == "__main__":
    for experiment_name in sys.argv[1:]:
        for stage_name, found_ratio in compared(experiment_name, "small"):
            print(f"{experiment_name} {stage_name} {found_ratio:.2f}", flush=True)
