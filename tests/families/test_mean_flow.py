import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.data import planar
from jaxgen.families import flow_matching_model, mean_flow_model
from jaxgen.metrics.energy import energy_distance
from jaxgen.nets import interval, mlp, unet
from jaxgen.samplers import Sampling, euler, grids
from jaxgen.types import Net
from tests.families.planar import points, train

PATH = paths.rectified()
ONE = grids.uniform(PATH, 1)


def test_samples_follow_the_mean_velocity():
    """The way from z to 3 + z^... of a known flow, x_s = x_t e^(s - t): one step or five, the same."""
    net = Net(
        lambda key, x, t, s: {}, lambda params, x, t, s, key=None: x * jnp.expm1(s - t) / jnp.where(s == t, 1, s - t)
    )
    one, five = (mean_flow_model(net, PATH, (2,), grids.uniform(PATH, n), data="x") for n in (1, 5))
    key = jax.random.key(0)
    want = np.e * jax.random.normal(key, (7, 2))
    np.testing.assert_allclose(one.sample({"net": {}}, key, 7), want, rtol=1e-5)
    np.testing.assert_allclose(five.sample({"net": {}}, key, 7), want, rtol=1e-5)
    with pytest.raises(ValueError, match="unconditional"):
        one.sample({"net": {}}, key, 2, jnp.zeros(2, int))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (interval(mlp(2, widths=(8,)), "condition"), (2,)),
        (interval(unet(1, channels=(8,), blocks=1, attention=(0,), head_width=4)), (4, 4, 1)),
    ],
    ids=["mlp", "unet"],
)
def test_gradients_reach_every_parameter(net, shape):
    model = mean_flow_model(net, PATH, shape, ONE)
    batch = {"image": jax.random.normal(jax.random.key(5), (4, *shape))}
    params = jax.tree.map(lambda p: p + 0.05, jax.jit(model.init)(jax.random.key(0), batch))

    @jax.jit
    def gradient(params):
        def loss(params):
            value, info = model.objectives[0].loss(params, jax.random.split(jax.random.key(1), 4), batch)
            return value.sum(), (value, info)

        return jax.grad(loss, has_aux=True)(params)

    slopes, (value, info) = gradient(params)
    assert (value.shape, value.dtype, info["error"].shape) == ((4,), jnp.float32, (4,))
    np.testing.assert_allclose(value, info["error"] / (info["error"] + 1e-3), rtol=1e-5)
    assert all(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(slopes))


def test_volumes_trace_forwards_and_backwards():
    model = mean_flow_model(interval(unet(1, channels=(8,), blocks=1)), PATH, (4, 4, 4, 1), ONE)
    batch = {"image": jnp.zeros((2, 4, 4, 4, 1))}
    params = jax.eval_shape(model.init, jax.random.key(0), batch)
    slopes = jax.eval_shape(jax.grad(lambda p: model.objectives[0].loss(p, jax.random.key(1), batch)[0].sum()), params)
    assert jax.tree.structure(slopes) == jax.tree.structure(params)


@pytest.mark.thorough
def test_one_step_beats_one_euler_step_of_flow_matching():
    """Energy distance to fresh points of eight Gaussians, three trainings each with equal networks and steps."""
    law = planar.ring()
    data, fresh = {"x": points(law, 4096)}, points(law, 1000, 1)
    plain = mlp(2, widths=(48, 48))
    models = (
        flow_matching_model(plain, (2,), Sampling(PATH, euler(PATH), ONE), data="x"),
        mean_flow_model(interval(plain, "condition"), PATH, (2,), ONE, data="x"),
    )

    def distance(model, key):
        params = train(model, data, key, 500, batch=64)
        return energy_distance(model.sample(params, jax.random.fold_in(key, 1), 1000), fresh)

    keys = jax.random.split(jax.random.key(0), 3)
    euler_step, mean_flow = (np.asarray(jax.jit(jax.vmap(functools.partial(distance, m)))(keys)) for m in models)
    assert (mean_flow < 0.3 * euler_step).all()
