import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.data import planar
from jaxgen.families import flow_matching_model, reflow_model
from jaxgen.metrics import straightness
from jaxgen.metrics.energy import energy_distance
from jaxgen.nets import mlp
from jaxgen.samplers import Sampling, euler, from_velocity, grids, heun, sample
from jaxgen.types import Net
from tests.families.planar import points, train

PATH = paths.rectified()
ONE, TEN = grids.uniform(PATH, 1), grids.uniform(PATH, 10)


def test_the_student_learns_the_line_from_noise_to_what_the_teacher_makes_of_it():
    """A teacher of constant velocity c makes noise + c: a student of velocity w is off by c - w, whatever was drawn."""
    net = Net(lambda key, x, t: {}, lambda params, x, t, key=None: params + 0 * x)
    model = reflow_model(net, PATH, (2,), euler(PATH), ONE, jnp.array([3.0, 1.0]), heun(PATH), TEN, data="x")
    params = jax.jit(model.init)(jax.random.key(0), {})
    batch = {"x": jnp.zeros((5, 2))}
    np.testing.assert_allclose(model.objectives[0].loss(params, jax.random.key(0), batch)[0], 0, atol=1e-9)
    params["net"] = params["net"] + 2.0
    value, _ = model.objectives[0].loss(params, jax.random.split(jax.random.key(0), 5), batch)
    np.testing.assert_allclose(value, 4, rtol=1e-4)
    key = jax.random.key(1)
    shifted = model.log_prob(params, key, jnp.array([[5.0, 3.0]]))
    np.testing.assert_allclose(shifted, -np.log(2 * np.pi), atol=1e-4)
    with pytest.raises(ValueError, match="unconditional"):
        model.sample(params, key, 2, jnp.zeros(2, int))
    with pytest.raises(ValueError, match="unconditional"):
        model.log_prob(params, key, jnp.zeros((2, 2)), jnp.zeros(2, int))


@pytest.mark.thorough
def test_reflow_is_straighter_and_its_one_step_better():
    law, net = planar.ring(), mlp(2, widths=(48, 48), time_scale=10.0)
    data, fresh = {"x": points(law, 4096)}, points(law, 1000, 1)
    fine = grids.uniform(PATH, 50)
    first = flow_matching_model(net, (2,), Sampling(PATH, euler(PATH), ONE), data="x")

    def judge(params, key):
        start = jax.random.normal(key, (1000, 2))
        denoise = from_velocity(lambda x, t: net.apply(params, x, t), PATH)
        way = sample(euler(PATH), denoise, key, start, fine, keep=True)
        one = sample(euler(PATH), denoise, key, start, ONE)
        return straightness(way, fine).mean(), energy_distance(one, fresh)

    @jax.jit
    def solve(key):
        teacher = train(first, data, key, 400, batch=64)["net"]
        second = reflow_model(net, PATH, (2,), euler(PATH), ONE, teacher, heun(PATH), TEN, data="x")
        student = train(second, data, key, 200, batch=64)["net"]
        return judge(teacher, key), judge(student, key)

    for seed in range(2):
        (bent, far), (straight, near) = solve(jax.random.key(seed))
        assert straight < 0.3 * bent
        assert near < 0.5 * far
