"""The memory of a compiled training step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgen.train import Stage
from jaxgen.train.memory import step_memory
from jaxgen.types import Model, Objective

WIDTH = 500


def stage(depth=1):
    def loss(params, key, batch):
        x = batch["x"]
        for _ in range(depth):
            x = jnp.tanh(x @ params["net"])
        return jnp.sum(x**2, -1), {}

    model = Model(lambda key, batch: {"net": jnp.zeros((WIDTH, WIDTH))}, (Objective("net", loss),), lambda *_: None)
    return Stage("toy", model, {"net": optax.adam(1e-3)}, 1)


def batch(n):
    return {"x": jax.ShapeDtypeStruct((n, WIDTH), jnp.float32)}


def test_the_state_is_counted_once_and_what_is_kept_for_gradients():
    weights = 4 * WIDTH**2
    one = step_memory(stage(), batch(1))
    assert 4 * weights < one < 8 * weights, "parameters, their average and two moments, and a gradient"
    n = 4000
    grown = step_memory(stage(depth=6), batch(n)) - step_memory(stage(depth=1), batch(n))
    assert grown > 4 * 4 * n * WIDTH, "each layer keeps its values for the gradient"


def test_without_an_account_there_is_no_number(monkeypatch):
    monkeypatch.setattr(jax.stages.Compiled, "memory_analysis", lambda self: None)
    assert np.isnan(step_memory(stage(), batch(1)))
