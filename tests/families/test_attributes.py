"""Diffusion that is told attributes: what is hidden in training, and that samples follow what they are told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.families import Attributes, attribute_diffusion_model
from jaxgen.nets import mlp
from jaxgen.paths import cosine
from jaxgen.samplers import Sampling, ddim, grids
from jaxgen.types import Net


def model(drop=0.1, steps=10):
    """Of numbers, by a network that reads the vector of attributes beside them."""
    net = mlp(2, widths=(64, 64))

    def joined(x, vector):
        return jnp.concatenate([x, jnp.broadcast_to(vector, (x.shape[0], 5))], -1)

    def init(key, x, t, vector):
        return net.init(key, joined(x, vector), t)

    def apply(params, x, t, vector, key=None):
        return net.apply(params, joined(x, vector), t)[:, :2]

    path = cosine()
    sampling = Sampling(path, ddim(path), grids.uniform(path, steps), "x0")
    return attribute_diffusion_model(Net(init, apply), (2,), sampling, Attributes((2, 3), drop))


def test_each_part_is_hidden_on_its_own_and_as_a_whole():
    hidden = Attributes((2, 3), 0.25).training(jax.random.key(0), jnp.ones((4000, 5)))
    first, second = hidden[:, :2] == 0, hidden[:, 2:] == 0
    assert (first.all(1) == first.any(1)).all()
    assert (second.all(1) == second.any(1)).all()
    assert abs(float(first[:, 0].mean()) - 0.25) < 0.03
    both = (first[:, 0] & second[:, 0]).mean()
    assert abs(float(both) - 0.0625) < 0.02


def test_with_nothing_hidden_the_network_sees_what_it_is_told():
    told = jnp.arange(10.0).reshape(2, 5)
    np.testing.assert_array_equal(Attributes((2, 3), 0.0).training(jax.random.key(0), told), told)


def test_one_vector_for_each_image_is_needed():
    made = model()
    params = made.init(jax.random.key(0), {"image": jnp.zeros((2, 2)), "told": jnp.zeros((2, 5))})
    with pytest.raises(ValueError, match="5 numbers for each"):
        made.sample(params, jax.random.key(1), 3, jnp.zeros((2, 5)))


def test_telling_nothing_is_telling_zeros_and_a_scale_of_one_is_no_guidance():
    made, key = model(), jax.random.key(2)
    params = made.init(jax.random.key(0), {"image": jnp.zeros((2, 2)), "told": jnp.zeros((2, 5))})
    told = jnp.eye(5)[:4]
    np.testing.assert_allclose(
        made.sample(params, key, 4, jnp.zeros((4, 5)), 3.0), made.sample(params, key, 4), atol=1e-5
    )
    one, two = (made.sample(params, key, 4, told, scale) for scale in (1.0, 2.0))
    nothing = made.sample(params, key, 4)
    assert np.abs(one - two).max() > 1e-3
    assert np.abs(one - nothing).max() > 1e-3
