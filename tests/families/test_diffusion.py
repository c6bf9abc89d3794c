import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.families import diffusion_model
from jaxgen.nets import mlp
from jaxgen.samplers import ddim, grids
from jaxgen.types import Net

PATH = paths.variance_preserving()
STEP, GRID = ddim(PATH), grids.uniform(PATH, 5)


def test_the_default_loss_is_ddpm_s():
    """Ho et al. 2020, eq. 14: an answer of 0 leaves the mean square of the noise, 1 on average."""
    zero = Net(lambda key, x, t: {}, lambda params, x, t, key=None: jnp.zeros_like(x))
    model = diffusion_model(zero, PATH, (50,), STEP, GRID, data="x")
    value, info = model.objectives[0].loss({"net": {}}, jax.random.key(0), {"x": jnp.full((400, 50), 9.0)})
    assert value.shape == (400,)
    assert value.dtype == jnp.float32
    assert info == {}
    np.testing.assert_allclose(value.mean(), 1.0, atol=4 * np.std(value) / 20)


def test_gradients_reach_every_parameter_and_examples_own_their_keys():
    model = diffusion_model(mlp(2, widths=(8,)), PATH, (2,), STEP, GRID, data="x", prediction="v", target="x0")
    batch = {"x": jnp.ones((6, 2))}
    params = model.init(jax.random.key(0), batch)
    keys = jax.random.split(jax.random.key(1), 6)
    loss = jax.jit(lambda params, keys, batch: model.objectives[0].loss(params, keys, batch)[0])
    whole = loss(params, keys, batch)
    np.testing.assert_allclose(whole[3:], loss(params, keys[3:], {"x": batch["x"][3:]}), rtol=1e-5)
    gradient = jax.grad(lambda params: loss(params, keys, batch).sum())(params)
    assert all(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(gradient))


def test_labels_are_dropped_with_the_probability_asked_for():
    seen = []

    def apply(params, x, t, *, label, key=None):
        seen.append(np.asarray(label))
        return x

    net = Net(lambda key, x, t, label: {}, apply)
    batch = {"x": jnp.ones((2000, 1)), "label": jnp.arange(2000) % 3}
    model = diffusion_model(net, PATH, (1,), STEP, GRID, data="x", classes=3, drop_label=0.3)
    model.objectives[0].loss({"net": {}}, jax.random.key(0), batch)
    dropped = seen[0] == 3
    assert abs(dropped.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 2000)
    np.testing.assert_array_equal(seen[0][~dropped], np.asarray(batch["label"])[~dropped])


def test_samples_are_of_the_class_asked_for_and_guidance_sees_both_sides():
    # The denoiser answers the number of its label: so does a step to sigma = 0.
    net = Net(lambda key, x, t, label: {}, lambda params, x, t, label, key=None: 0 * x + label[:, None])
    common = {"data": "x", "prediction": "x0", "classes": 3}
    model = diffusion_model(net, PATH, (1,), STEP, GRID, **common)
    params = model.init(jax.random.key(0), {"x": jnp.ones((2, 1))})
    label = jnp.array([0, 1, 2])
    np.testing.assert_allclose(model.sample(params, jax.random.key(1), 3, label)[:, 0], [0, 1, 2], atol=1e-6)
    np.testing.assert_allclose(model.sample(params, jax.random.key(1), 3)[:, 0], [3, 3, 3], atol=1e-6)

    def guide(of_class, of_all):
        return lambda x, t: of_all(x, t) + 2 * (of_class(x, t) - of_all(x, t))

    guided = diffusion_model(net, PATH, (1,), STEP, GRID, guide=guide, **common)
    np.testing.assert_allclose(guided.sample(params, jax.random.key(1), 3, label)[:, 0], [-3, -1, 1], atol=1e-5)
    np.testing.assert_allclose(guided.sample(params, jax.random.key(1), 3)[:, 0], [3, 3, 3], atol=1e-6)


def test_errors():
    model = diffusion_model(mlp(2, widths=(8,)), PATH, (2,), STEP, GRID, data="x")
    with pytest.raises(ValueError, match="unconditional"):
        model.sample({}, jax.random.key(0), 2, jnp.zeros(2, int))
    with pytest.raises(ValueError, match="number of classes"):
        diffusion_model(mlp(2), PATH, (2,), STEP, GRID, guide=lambda a, b: a)
    model = diffusion_model(mlp(2), PATH, (2,), STEP, GRID, classes=3)
    with pytest.raises(ValueError, match="one an image"):
        model.sample({}, jax.random.key(0), 2, jnp.zeros(3, int))
