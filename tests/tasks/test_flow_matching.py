"""Few equal steps along a velocity, and how far its trajectories are from straight."""

import types

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.experiment import Run
from jaxgen.samplers.few_steps import equal_steps
from jaxgen.tasks import flow_matching, images
from jaxgen.types import Net

CONFIG = types.SimpleNamespace(chunk=4, size=8)
SHAPE = (8, 8, 1)
FACTS = images.ImageFacts(value_range=((0.0,), (1.0,)), image_channels=1)


def run_of(**params):
    return Run(CONFIG, FACTS, params)


def net_of(velocity):
    return Net(lambda key, *args: {}, lambda params, x, *times: velocity(params, x, *times))


def test_steps_add_up_whatever_their_number():
    """A velocity of 2 everywhere moves the noise by 2; the time is that of the step's start."""
    draw = equal_steps(net_of(lambda params, x, t: params + 0 * x), SHAPE, 4)
    key = jax.random.key(0)
    start = draw(jnp.float32(0), key, 6, 1)
    assert start.shape == (6, 8, 8, 1)
    for steps in (1, 3):
        np.testing.assert_allclose(draw(jnp.float32(2), key, 6, steps), start + 2, atol=1e-5)
    timed = equal_steps(net_of(lambda params, x, t: t + 0 * x), SHAPE, 4)
    np.testing.assert_allclose(timed(0, key, 6, 4), start + (0 + 0.25 + 0.5 + 0.75) / 4, atol=1e-5)


def test_a_step_of_mean_flow_is_told_both_of_its_times():
    net = net_of(lambda params, x, t, s: 10 * t + s + 0 * x)
    draw = equal_steps(net, SHAPE, 4, mean_flow=True)
    start = equal_steps(net_of(lambda params, x, t: 0 * x), SHAPE, 4)({}, jax.random.key(0), 4, 1)
    np.testing.assert_allclose(draw({}, jax.random.key(0), 4, 2), start + (0.5 + 6) / 2, atol=1e-5)


def test_straight_lines_have_no_departure():
    run = run_of(straight={"net": jnp.float32(0)}, bent={"net": jnp.float32(3)})
    net = net_of(lambda params, x, t: 1 + params * t + 0 * x)
    found = flow_matching.departures_from_straight(run, net, {"a": "straight", "b": "bent"}, jax.random.key(0))
    assert found["a"]["straightness"] < 1e-8
    np.testing.assert_allclose(found["b"]["straightness"], 9 / 12, rtol=0.01)  # the variance of 3 t
