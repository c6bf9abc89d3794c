"""Normalizing flows as models: exact densities, sampling, conditions, dequantisation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from jaxgen import bijections as bj
from jaxgen.families import (
    flow_model,
    glow,
    masked_autoregressive_flow,
    neural_spline_flow,
    real_nvp,
    uniform_dequantiser,
    variational_dequantiser,
)
from jaxgen.nets import conditioner, mlp
from jaxgen.train.state import init_state, run_once
from jaxgen.train.step import make_many_steps, make_train_step

VECTORS = {
    "real_nvp": real_nvp(2, layers=4, widths=(8,)),
    "neural_spline_flow": neural_spline_flow(2, layers=4, widths=(8,), bins=5),
    "masked_autoregressive_flow": masked_autoregressive_flow(2, layers=3, widths=(8,)),
    "autoregressive spline": masked_autoregressive_flow(
        2, layers=2, widths=(8,), transform=bj.rational_quadratic(5, bound=4.0)
    ),
}


def quick(function):
    return jax.jit(function, compiler_options=run_once())


def stirred(params, scale=0.3):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(x + scale * rng.standard_normal(x.shape), jnp.float32), params)


@pytest.mark.parametrize("name", VECTORS)
def test_the_density_integrates_to_one_and_is_that_of_the_samples(name):
    model = flow_model(VECTORS[name], (2,), data="x")
    data = jax.random.normal(jax.random.key(0), (32, 2))
    params = stirred(quick(model.init)(jax.random.key(1), {"x": data}), 0.1)
    line = np.linspace(-9, 9, 721)
    width = line[1] - line[0]
    grid = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2).astype(np.float32)
    density = np.exp(quick(lambda p, x: model.log_prob(p, None, x))(params, grid)).astype(np.float64)
    assert np.sum(density) * width**2 == pytest.approx(1, abs=5e-3)

    n = 20_000
    samples = np.asarray(quick(lambda p, k: model.sample(p, k, n))(params, jax.random.key(2)))
    mean = (density[:, None] * grid).sum(0) * width**2
    assert np.all(np.abs(samples.mean(0) - mean) < 4 * samples.std(0) / np.sqrt(n) + 0.01)


def test_an_affine_flow_has_the_density_of_its_gaussian():
    """A shift, a scale and a shear of normal numbers: the multivariate normal of that covariance."""
    shift, scale, slope = jnp.array([1.0, -2.0]), jnp.array([0.5, 2.0]), 0.7
    params = {"shift": shift, "log_scale": jnp.log(scale)}

    def shear(sign):
        def way(params, x, condition=None):
            moved = jnp.stack([x[:, 0], x[:, 1] + sign * slope * x[:, 0]], axis=-1)
            return moved, jnp.zeros(len(x))

        return way

    bijection = bj.chain(bj.actnorm(), bj.Bijection(lambda key, x, condition=None: {}, shear(-1), shear(1)))
    model = flow_model(bijection, (2,), data="x")
    whole = {"net": {"flow": {"0": params, "1": {}}}}
    matrix = np.diag(scale) @ np.array([[1, 0], [slope, 1]])
    expected = scipy.stats.multivariate_normal(np.asarray(shift), matrix @ matrix.T)
    x = np.random.default_rng(0).normal(size=(10, 2)).astype(np.float32)
    np.testing.assert_allclose(model.log_prob(whole, None, jnp.asarray(x)), expected.logpdf(x), rtol=1e-5, atol=1e-5)
    loss, info = model.objectives[0].loss(whole, jax.random.key(0), {"x": jnp.asarray(x)})
    np.testing.assert_allclose(loss, -expected.logpdf(x), rtol=1e-5, atol=1e-5)
    assert info == {}
    samples = np.asarray(model.sample(whole, jax.random.key(0), 50_000))
    np.testing.assert_allclose(samples.mean(0), shift, atol=4 * samples.std(0).max() / np.sqrt(50_000))
    np.testing.assert_allclose(np.cov(samples.T), matrix @ matrix.T, atol=0.1)
    cold = np.asarray(model.sample(whole, jax.random.key(0), 1000, temperature=0.0))
    np.testing.assert_allclose(cold, np.broadcast_to(shift, cold.shape), atol=1e-6)


def test_training_recovers_a_gaussian():
    target = scipy.stats.multivariate_normal([1.0, -1.0], [[1.0, 0.8], [0.8, 2.0]])
    x = target.rvs(4096, random_state=0).astype(np.float32)
    model = flow_model(real_nvp(2, layers=2, widths=(16,)), (2,), data="x")
    optimizers = {"net": optax.adam(1e-2)}
    state = init_state(model, optimizers, jax.random.key(0), {"x": jnp.asarray(x[:256])})
    many = jax.jit(make_many_steps(make_train_step(model, optimizers, ema_decay=0.98)))
    index = np.random.default_rng(1).integers(0, len(x), (300, 128))
    state, _ = many(state, {"x": jnp.asarray(x)}, index)
    fresh = target.rvs(4000, random_state=2)
    found = np.asarray(model.log_prob(state.ema, None, jnp.asarray(fresh, jnp.float32)))
    gap = target.logpdf(fresh) - found
    assert abs(gap.mean()) < 0.03 + 4 * gap.std() / np.sqrt(len(gap))


def test_conditions_by_label_and_by_vector():
    batch = {"x": jax.random.normal(jax.random.key(0), (6, 2)), "label": jnp.arange(6) % 3}
    model = flow_model(VECTORS["neural_spline_flow"], (2,), data="x", condition="label", classes=3)
    params = stirred(quick(model.init)(jax.random.key(1), batch))
    log_prob = quick(lambda p, x, c: model.log_prob(p, None, x, c))
    found = log_prob(params, batch["x"], batch["label"])
    assert not np.allclose(found, log_prob(params, batch["x"], (batch["label"] + 1) % 3))
    np.testing.assert_allclose(-quick(model.objectives[0].loss)(params, None, batch)[0], found, rtol=1e-5)
    sample = quick(lambda p, c: model.sample(p, jax.random.key(0), 6, c))
    assert not np.allclose(sample(params, batch["label"]), sample(params, (batch["label"] + 1) % 3))
    by_vector = flow_model(VECTORS["neural_spline_flow"], (2,), data="x", condition="covariates")
    same = by_vector.log_prob(params, None, batch["x"], jax.nn.one_hot(batch["label"], 3))
    np.testing.assert_allclose(same, found, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="give cond"):
        model.log_prob(params, None, batch["x"])
    with pytest.raises(ValueError, match="unconditional"):
        flow_model(VECTORS["real_nvp"], (2,), data="x").sample(params, jax.random.key(0), 2, batch["label"][:2])
    with pytest.raises(ValueError, match="name their entry"):
        flow_model(VECTORS["real_nvp"], (2,), classes=3)


SHAPE = (4, 4, 1)


@pytest.fixture(scope="module")
def images():
    whole = jax.random.randint(jax.random.key(0), (8, *SHAPE), 0, 256)
    return {"image": whole / 127.5 - 1, "label": jnp.arange(8) % 2}


@pytest.mark.thorough
def test_glow_of_whole_numbers(images):
    bijection = glow(SHAPE, levels=2, steps=2, width=8, classes=2)
    learned = bj.chain(
        *(
            bj.coupling(conditioner(2, width=4), bj.affine(), mask=bj.masks.checkerboard((4, 4), flip=f))
            for f in (False, True)
        )
    )
    model = flow_model(bijection, SHAPE, condition="label", classes=2, dequantiser=variational_dequantiser(learned))
    params = stirred(quick(model.init)(jax.random.key(1), images), 0.05)
    keys = jax.random.split(jax.random.key(2), 8)
    grads, (value, info) = quick(
        jax.grad(
            lambda p: (lambda out: (jnp.mean(out[0]), out))(model.objectives[0].loss(p, keys, images)), has_aux=True
        )
    )(params)
    assert value.shape == (8,)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(info["bits"], value / (16 * np.log(2)), rtol=1e-6)
    for path, gradient in jax.tree_util.tree_leaves_with_path(grads):
        assert np.abs(gradient).max() > 0, jax.tree_util.keystr(path)
    samples = quick(lambda p, k: model.sample(p, k, 8, images["label"]))(params, jax.random.key(3))
    assert samples.shape == (8, *SHAPE)
    whole = (np.asarray(samples) + 1) * 127.5
    np.testing.assert_allclose(whole, np.round(whole), atol=1e-3)
    # In bfloat16 the pixels keep their whole numbers, so the loss is nearly that of float32.
    cast = jax.tree.map(lambda x: x.astype(jnp.bfloat16), (params, images["image"]))
    low, _ = quick(model.objectives[0].loss)(cast[0], keys, {**images, "image": cast[1]})
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(low, value, rtol=0.1)


def test_dequantised_images_lie_in_their_cells_and_their_bound_is_one(images):
    """Of a model that knows the law of the noise the bound is exact: a flow that is uniform on the cells of x."""
    x = jnp.round((images["image"] + 1) * 1.5) / 1.5 - 1  # four values
    y, log_q = uniform_dequantiser(4).draw({}, jax.random.key(0), x)
    np.testing.assert_allclose(log_q, 16 * np.log(2), rtol=1e-6)
    np.testing.assert_array_equal(np.floor((y + 1) * 2), np.round((x + 1) * 1.5))
    np.testing.assert_allclose(uniform_dequantiser(4).restore(y), x, atol=1e-6)


def test_the_learned_noise_has_the_density_it_says():
    """For one pixel: the density of u that `draw` reports, averaged as weights, integrates to one over the cell."""
    learned = bj.elementwise(bj.affine(), mlp(2, widths=(4,)))
    dequantiser = variational_dequantiser(learned, bins=4)
    x = jnp.broadcast_to(jnp.array([[-1.0], [1 / 3]]), (2, 1)).repeat(50_000, 0)
    params = stirred(jax.jit(dequantiser.init)(jax.random.key(0), x))
    y, log_q = quick(dequantiser.draw)(params, jax.random.key(1), x)
    u = np.asarray((y + 1) * 2 - jnp.round((x + 1) * 1.5))[:, 0]
    assert u.min() >= 0
    assert u.max() <= 1
    # E[1 / q] is the length of the support of y, half a unit; trimmed to where the noise is not vanishingly rare.
    inside = (u > 0.1) & (u < 0.9)
    weight = np.where(inside, np.exp(-np.asarray(log_q)), 0)
    for part in (weight[:50_000], weight[50_000:]):
        assert abs(part.mean() - 0.8 * 0.5) < 4 * part.std() / np.sqrt(len(part))
