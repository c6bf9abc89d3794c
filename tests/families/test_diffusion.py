import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.families import Labels, LearnedVariance, diffusion_model
from jaxgen.guidance import classifier_free_batched
from jaxgen.nets import mlp
from jaxgen.samplers import Sampling, ddim, ddpm, grids
from jaxgen.types import Net

PATH = paths.variance_preserving()
SAMPLING = Sampling(PATH, ddim(PATH), grids.uniform(PATH, 5), "noise")


def test_the_default_loss_is_ddpm_s():
    """Ho et al. 2020, eq. 14: an answer of 0 leaves the mean square of the noise, 1 on average."""
    zero = Net(lambda key, x, t: {}, lambda params, x, t, key=None: jnp.zeros_like(x))
    model = diffusion_model(zero, (50,), SAMPLING, data="x")
    value, info = model.objectives[0].loss({"net": {}}, jax.random.key(0), {"x": jnp.full((400, 50), 9.0)})
    assert value.shape == (400,)
    assert value.dtype == jnp.float32
    assert info == {}
    np.testing.assert_allclose(value.mean(), 1.0, atol=4 * np.std(value) / 20)


def test_gradients_reach_every_parameter_and_examples_own_their_keys():
    model = diffusion_model(mlp(2, widths=(8,)), (2,), SAMPLING._replace(prediction="v"), data="x", target="x0")
    batch = {"x": jnp.ones((6, 2))}
    params = jax.jit(model.init)(jax.random.key(0), batch)
    keys = jax.random.split(jax.random.key(1), 6)
    loss = jax.jit(lambda params, keys, batch: model.objectives[0].loss(params, keys, batch)[0])
    whole = loss(params, keys, batch)
    np.testing.assert_allclose(whole[3:], loss(params, keys[3:], {"x": batch["x"][3:]}), rtol=1e-5)
    gradient = jax.jit(jax.grad(lambda params: loss(params, keys, batch).sum()))(params)
    assert all(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(gradient))


def test_labels_are_dropped_with_the_probability_asked_for():
    seen = []

    def apply(params, x, t, *, label, key=None):
        seen.append(np.asarray(label))
        return x

    net = Net(lambda key, x, t, label: {}, apply)
    batch = {"x": jnp.ones((2000, 1)), "label": jnp.arange(2000) % 3}
    model = diffusion_model(net, (1,), SAMPLING, data="x", labels=Labels(3, drop=0.3))
    model.objectives[0].loss({"net": {}}, jax.random.key(0), batch)
    dropped = seen[0] == 3
    assert abs(dropped.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 2000)
    np.testing.assert_array_equal(seen[0][~dropped], np.asarray(batch["label"])[~dropped])


def test_samples_are_of_the_class_asked_for_and_guidance_sees_both_sides():
    # The denoiser answers the number of its label: so does a step to sigma = 0.
    net = Net(lambda key, x, t, label: {}, lambda params, x, t, label, key=None: 0 * x + label[:, None])
    sampling = SAMPLING._replace(prediction="x0")
    model = diffusion_model(net, (1,), sampling, data="x", labels=Labels(3))
    params = jax.jit(model.init)(jax.random.key(0), {"x": jnp.ones((2, 1))})
    label = jnp.array([0, 1, 2])
    np.testing.assert_allclose(model.sample(params, jax.random.key(1), 3, label)[:, 0], [0, 1, 2], atol=1e-6)
    np.testing.assert_allclose(model.sample(params, jax.random.key(1), 3)[:, 0], [3, 3, 3], atol=1e-6)

    def guide(denoise, label, null):
        return classifier_free_batched(denoise, label, null, 2.0)

    guided = diffusion_model(net, (1,), sampling, data="x", labels=Labels(3, guide=guide))
    np.testing.assert_allclose(guided.sample(params, jax.random.key(1), 3, label)[:, 0], [-3, -1, 1], atol=1e-5)
    np.testing.assert_allclose(guided.sample(params, jax.random.key(1), 3)[:, 0], [3, 3, 3], atol=1e-6)


def test_a_learned_variance_is_trained_and_sampled_with():
    """The network's second half decides the noise of a step: v = 1 is the large variance, v = -1 the small."""

    def answers(v):
        apply = lambda params, x, t, key=None: jnp.concatenate([0 * x, 0 * x + v], -1)  # noqa: E731
        return Net(lambda key, x, t: {}, apply)

    learned = LearnedVariance(grids.uniform(PATH, 10), bins=None)
    coarse = grids.uniform(PATH, 2)

    def model(net, step, **options):
        return diffusion_model(net, (1,), Sampling(PATH, step, coarse, "x0"), data="x", **options)

    for v, name in ((1.0, "large"), (-1.0, "small")):
        ours = model(answers(v), functools.partial(ddpm, PATH), variance=learned)
        zero = Net(lambda key, x, t: {}, lambda params, x, t, key=None: 0 * x)
        want = model(zero, ddpm(PATH, name)).sample({"net": {}}, jax.random.key(0), 4)
        np.testing.assert_allclose(ours.sample({"net": {}}, jax.random.key(0), 4), want, atol=1e-6)
        value, _ = ours.objectives[0].loss({"net": {}}, jax.random.key(1), {"x": jnp.ones((4, 1))})
        plain, _ = model(zero, ddpm(PATH)).objectives[0].loss({"net": {}}, jax.random.key(1), {"x": jnp.ones((4, 1))})
        assert value.shape == (4,)
        assert (np.asarray(value) > np.asarray(plain)).all()


def test_log_prob_is_that_of_the_probability_flow():
    """For standard normal data and its exact denoiser, at the label that is asked for."""
    net = Net(
        lambda key, x, t, label: {},
        lambda params, x, t, label, key=None: PATH.alpha(t) * x + 0 * label[:, None],
    )
    model = diffusion_model(net, (2,), SAMPLING._replace(prediction="x0"), data="x", labels=Labels(3))
    x = jax.random.normal(jax.random.key(0), (5, 2))
    value = jax.jit(lambda x: model.log_prob({"net": {}}, jax.random.key(0), x, jnp.arange(5) % 3))(x)
    np.testing.assert_allclose(value, -0.5 * (x**2).sum(1) - np.log(2 * np.pi), atol=1e-3)
    with pytest.raises(ValueError, match="one per image"):
        model.log_prob({"net": {}}, jax.random.key(0), x, jnp.zeros(3, int))


def test_errors():
    model = diffusion_model(mlp(2, widths=(8,)), (2,), SAMPLING, data="x")
    with pytest.raises(ValueError, match="unconditional"):
        model.sample({}, jax.random.key(0), 2, jnp.zeros(2, int))
    with pytest.raises(ValueError, match="number of classes"):
        diffusion_model(mlp(2), (2,), SAMPLING, labels=Labels(guide=lambda denoise, label, null: denoise))
    model = diffusion_model(mlp(2), (2,), SAMPLING, labels=Labels(3))
    with pytest.raises(ValueError, match="one per image"):
        model.sample({}, jax.random.key(0), 2, jnp.zeros(3, int))
