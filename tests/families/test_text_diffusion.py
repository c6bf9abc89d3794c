import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.families import scaled_codes_model, text_diffusion_model
from jaxgen.paths import cosine
from jaxgen.samplers import Sampling, ddim, grids
from jaxgen.types import Net

EMPTY = (1, 2, 0)
SHAPE = (4, 4, 1)
PROMPTS = jnp.array([[1, 5, 2], [1, 7, 2]], jnp.int32)
TABLE = jnp.linspace(-0.8, 0.8, 9)


def sampling(prediction="x0"):
    return Sampling(cosine(), ddim(cosine()), grids.uniform(cosine(), 3), prediction)


def told():
    """A network whose clean image is what the second token of the prompt stands for, and nothing else."""
    encoder = Net(
        lambda key, tokens: {"table": TABLE}, lambda params, tokens, key=None: params["table"][tokens][..., None]
    )
    net = Net(
        lambda key, x, t, context: {"shift": jnp.zeros(())},
        lambda params, x, t, context, key=None: 0 * x + params["shift"] + context[:, 1, 0].reshape(-1, 1, 1, 1),
    )
    return net, encoder


def test_samples_follow_the_prompt_and_guidance_moves_them_from_the_empty_one():
    model = text_diffusion_model(*told(), SHAPE, sampling(), empty=EMPTY)
    params = jax.jit(model.init)(jax.random.key(0), {"image": jnp.zeros((2, *SHAPE)), "text": PROMPTS})
    draw = jax.jit(lambda scale: model.sample(params, jax.random.key(1), 2, PROMPTS, guidance=scale)[:, 0, 0, 0])
    wanted, nothing = TABLE[PROMPTS[:, 1]], TABLE[EMPTY[1]]
    for scale in (0.0, 1.0, 2.5):
        np.testing.assert_allclose(draw(scale), nothing + scale * (wanted - nothing), atol=1e-5)
    unasked = model.sample(params, jax.random.key(1), 2)
    np.testing.assert_allclose(unasked, jnp.full((2, *SHAPE), nothing), atol=1e-5)


@pytest.mark.parametrize("drop", [0.0, 1.0])
def test_dropped_prompts_are_the_empty_one(drop):
    model = text_diffusion_model(*told(), SHAPE, sampling(), empty=EMPTY, drop=drop)
    image = jnp.ones((2, *SHAPE)) * TABLE[PROMPTS[:, 1]].reshape(2, 1, 1, 1)
    batch = {"image": image, "text": PROMPTS}
    loss, _ = model.objectives[0].loss(jax.jit(model.init)(jax.random.key(0), batch), jax.random.key(3), batch)
    expected = drop * (TABLE[PROMPTS[:, 1]] - TABLE[EMPTY[1]]) ** 2
    np.testing.assert_allclose(loss, expected, atol=1e-6)


@pytest.mark.parametrize("trains", [("net", "text"), ("text",)])
def test_gradients_reach_the_groups_that_learn(trains):
    model = text_diffusion_model(*told(), SHAPE, sampling(), empty=EMPTY, drop=0.0, trains=trains)
    batch = {"image": jnp.ones((2, *SHAPE)), "text": PROMPTS}
    params = jax.jit(model.init)(jax.random.key(0), batch)
    assert model.objectives[0].groups == trains
    found = jax.jit(jax.grad(lambda params: model.objectives[0].loss(params, jax.random.key(1), batch)[0].mean()))(
        params
    )
    assert abs(found["net"]["shift"]) > 0.1
    np.testing.assert_array_equal(found["text"]["table"] != 0, jnp.isin(jnp.arange(9), PROMPTS[:, 1]))


def test_the_rest_of_a_batch_comes_along_with_scaled_codes():
    inner = text_diffusion_model(*told(), SHAPE, sampling(), empty=EMPTY, drop=0.0, data="code")
    model = scaled_codes_model(inner)
    batch = {"code": 4.0 * jax.random.normal(jax.random.key(0), (2, *SHAPE)), "text": PROMPTS}
    params = jax.jit(model.init)(jax.random.key(0), batch)
    loss, _ = model.objectives[0].loss(params, jax.random.key(1), batch)
    scaled = {**batch, "code": batch["code"] * params["scale"]["factor"]}
    np.testing.assert_allclose(loss, inner.objectives[0].loss(params, jax.random.key(1), scaled)[0])


def test_what_does_not_fit_is_refused():
    make = functools.partial(text_diffusion_model, *told(), SHAPE, sampling(), empty=EMPTY)
    with pytest.raises(ValueError, match="trains must name"):
        make(trains=("image",))
    model = make()
    with pytest.raises(ValueError, match="3 tokens for each"):
        model.sample({}, jax.random.key(0), 2, PROMPTS[:1])
