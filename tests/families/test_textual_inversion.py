"""Textual inversion: one row of a table is learned, and nothing else moves."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.families.textual_inversion import extend, textual_inversion_model
from jaxgen.nets.clip_text import TextSizes, clip_text
from jaxgen.train.state import init_state
from jaxgen.train.step import make_train_step
from jaxgen.types import Model, Objective

SIZES = TextSizes(vocabulary=9, length=5, width=8, depth=1, heads=2)
TEXT = jnp.array([[1, 8, 3, 2, 2], [1, 4, 8, 2, 2]])


@pytest.fixture(scope="module")
def base():
    """A pretrained encoder of eight tokens, and a row for the ninth."""
    shapes = jax.eval_shape(clip_text(SIZES._replace(vocabulary=8)).init, jax.random.key(0), TEXT)
    rng = np.random.default_rng(0)
    text = jax.tree.map(lambda s: jnp.asarray(0.5 * rng.standard_normal(s.shape), jnp.float32), shapes)
    return extend({"text": text}, text["tokens"][4:5])


@pytest.fixture(scope="module")
def model():
    net = clip_text(SIZES)

    def loss(params, key, batch):
        return jnp.mean(jnp.square(net.apply(params["text"], batch["text"]) - batch["target"]), (1, 2)), {}

    def sample(params, key, n, cond=None):
        return net.apply(params["text"], TEXT[:n])

    return Model(lambda key, batch: {}, (Objective("text", loss),), sample)


def test_the_new_word_alone_is_learned(model, base):
    truth = {"text": {**base["text"], "tokens": base["text"]["tokens"].at[8].set(1.0)}}
    batch = {"text": TEXT, "target": clip_text(SIZES).apply(truth["text"], TEXT)}
    learned = textual_inversion_model(model, [8], base=base)
    optimizers = {"embedding": optax.adam(0.1)}
    state = init_state(learned, optimizers, jax.random.key(0), batch)
    np.testing.assert_array_equal(state.params["embedding"], base["text"]["tokens"][4:5])
    step = jax.jit(make_train_step(learned, optimizers, ema_decay=0.0))
    state, first = step(state, batch)
    for _ in range(80):
        state, last = step(state, batch)
    assert float(last["loss"]) < 0.05 * float(first["loss"])
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), state.params["text"], base["text"]))
    used = {"text": {**base["text"], "tokens": base["text"]["tokens"].at[8].set(state.params["embedding"][0])}}
    drawn = learned.sample(state.params, jax.random.key(1), 2), model.sample(used, jax.random.key(1), 2)
    np.testing.assert_allclose(*drawn, atol=1e-6)


def test_what_does_not_fit_is_said(model, base):
    with pytest.raises(ValueError, match=r"tokens must be from 0 to 8, got \[9\]"):
        textual_inversion_model(model, [9], base=base)
    with pytest.raises(ValueError, match="no table of tokens at text/table"):
        textual_inversion_model(model, [8], base=base, table=("text", "table"))
    with pytest.raises(ValueError, match=r"rows of shape \(1, 7\), and this text encoder takes \[n, 8\]"):
        extend(base, jnp.ones((1, 7)))
