import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.data import planar
from jaxgen.families import Costs, cnf_model
from jaxgen.nets import mlp
from jaxgen.samplers.continuous_flow import carry
from jaxgen.train import make_train_step
from jaxgen.train.state import init_state
from jaxgen.types import Net
from tests.families.planar import points, train

# The velocity is a x + b, by label where there is one: everything is known in closed form.
LINEAR = Net(
    lambda key, x, t, label=None: {"a": jnp.float32(0.5), "b": jnp.ones(2)},
    lambda params, x, t, label=None, key=None: params["a"] * x + params["b"] * (1 if label is None else label[:, None]),
)
X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 2)), jnp.float32)


def _linear_log_prob(x, b=1.0, a=0.5):
    """x = e^a noise + b (e^a - 1) / a."""
    noise = (np.asarray(x) - b * np.expm1(a) / a) * np.exp(-a)
    return -0.5 * (noise**2).sum(1) - np.log(2 * np.pi) - 2 * a


def test_the_loss_is_the_negative_log_likelihood():
    model = cnf_model(LINEAR, (2,), data="x")
    params = jax.jit(model.init)(jax.random.key(0), {"x": X})
    value, info = model.objectives[0].loss(params, jax.random.split(jax.random.key(0), 5), {"x": X})
    np.testing.assert_allclose(value, -_linear_log_prob(X), atol=1e-5)
    assert info == {}
    np.testing.assert_allclose(model.log_prob(params, jax.random.key(0), X), _linear_log_prob(X), atol=1e-4)


def test_penalties_are_weighed_and_logged():
    model = cnf_model(LINEAR, (2,), data="x", costs=Costs(kinetic=0.3, jacobian=0.2))
    params = jax.jit(model.init)(jax.random.key(0), {"x": X})
    value, info = model.objectives[0].loss(params, jax.random.key(0), {"x": X})
    np.testing.assert_allclose(info["nats"], -_linear_log_prob(X), atol=1e-5)
    np.testing.assert_allclose(info["jacobian"], 2 * 0.25, atol=1e-5)
    # The speed at t is e^(a (t - 1)) times that at the end, a x + b.
    speed = ((0.5 * np.asarray(X) + 1) ** 2).sum(1) * (1 - np.exp(-1.0)) / 1.0
    np.testing.assert_allclose(info["kinetic"], speed, rtol=1e-4)
    np.testing.assert_allclose(value, info["nats"] + 0.3 * info["kinetic"] + 0.2 * info["jacobian"], rtol=1e-6)


def test_samples_have_the_law_of_the_density_label_by_label():
    model = cnf_model(LINEAR, (2,), data="x", classes=3)
    params = jax.jit(model.init)(jax.random.key(0), {"x": X, "label": jnp.arange(5) % 3})
    label = jnp.repeat(jnp.array([0, 2]), 2000)
    drawn = np.asarray(jax.jit(model.sample, static_argnums=2)(params, jax.random.key(1), 4000, label))
    for k in (0, 2):
        of_k = drawn[label == k]
        mean, deviation = k * np.expm1(0.5) / 0.5, np.exp(0.5)
        assert (np.abs(of_k.mean(0) - mean) < 4 * deviation / np.sqrt(2000)).all()
        assert (np.abs(of_k.std(0) - deviation) < 4 * deviation / np.sqrt(4000)).all()
    got = model.log_prob(params, jax.random.key(0), X, jnp.full(5, 2))
    np.testing.assert_allclose(got, _linear_log_prob(X, 2.0), atol=1e-4)
    with pytest.raises(ValueError, match="give cond"):
        model.sample(params, jax.random.key(0), 2)
    with pytest.raises(ValueError, match="one per image"):
        model.sample(params, jax.random.key(0), 2, jnp.zeros(3, int))


@pytest.mark.thorough
def test_gradients_reach_every_parameter_and_are_those_of_finite_differences():
    net = mlp(2, widths=(8,), time_features=4)
    model = cnf_model(net, (2,), data="x", trace="hutchinson", costs=Costs(kinetic=0.1, jacobian=0.1), steps=3)
    params = jax.jit(model.init)(jax.random.key(0), {"x": X})
    keys = jax.random.split(jax.random.key(1), 5)
    loss = jax.jit(lambda params: model.objectives[0].loss(params, keys, {"x": X})[0].sum())
    gradient = jax.jit(jax.grad(loss))(params)
    assert all(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(gradient))
    direction = jax.tree.map(lambda p: jnp.asarray(np.random.default_rng(0).normal(size=p.shape), jnp.float32), params)
    moved = [loss(jax.tree.map(lambda p, d, h=h: p + h * d, params, direction)) for h in (1e-2, -1e-2)]
    slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: jnp.sum(g * d), gradient, direction)))
    np.testing.assert_allclose((moved[0] - moved[1]) / 2e-2, slope, rtol=0.02)


def test_a_bfloat16_network_has_a_float32_loss():
    model = cnf_model(mlp(2, widths=(8,)), (2,), data="x", steps=2)
    params = jax.jit(model.init)(jax.random.key(0), {"x": X})
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    value, _ = model.objectives[0].loss(half, jax.random.key(0), {"x": X.astype(jnp.bfloat16)})
    assert value.dtype == jnp.float32
    assert np.isfinite(value).all()


def test_an_unknown_trace():
    with pytest.raises(ValueError, match="choose exact or hutchinson"):
        cnf_model(LINEAR, (2,), trace="none")


@pytest.mark.thorough
def test_learns_two_moons_better_than_a_gaussian():
    law = planar.moons()
    model = cnf_model(mlp(2, widths=(32, 32), time_scale=2.0), (2,), data="x", solver="midpoint", steps=5)
    params = jax.jit(lambda key: train(model, {"x": points(law, 4096)}, key, 300, rate=1e-2))(jax.random.key(0))
    fresh = points(law, 1000, 1)
    log_prob = jax.jit(lambda p, x: model.log_prob(p, None, x, rtol=1e-3, atol=1e-3))
    excess = law.log_prob(fresh) - np.asarray(log_prob(params, fresh))
    gaussian = 0.5 * np.linalg.slogdet(np.cov(fresh.T))[1] + np.log(2 * np.pi) + 1 + law.log_prob(fresh).mean()
    assert gaussian > 0.6
    assert excess.mean() + 4 * excess.std() / np.sqrt(1000) < 0.75 * gaussian


@pytest.mark.slow
def test_regularisation_makes_the_flow_cheaper():
    law, net = planar.ring(), mlp(2, widths=(32,), time_scale=2.0)
    costs = []
    for weight in (0.0, 0.2):
        model = cnf_model(net, (2,), data="x", solver="midpoint", steps=3, costs=Costs(kinetic=weight))
        params = jax.jit(lambda key, m=model: train(m, {"x": points(law, 2048)}, key, 150))(jax.random.key(0))
        velocity = lambda x, t, p=params: net.apply(p["net"], x, t)  # noqa: E731
        way = carry(velocity, points(law, 500, 1), 1.0, 0.0, costs=True, solver="midpoint", steps=8)
        costs.append(float(way.kinetic.mean()))
    assert costs[1] < 0.8 * costs[0]


@pytest.mark.thorough
@pytest.mark.parametrize("trace", ["exact", "hutchinson"])
def test_a_training_step_compiles_for_accelerators(trace):
    model = cnf_model(mlp(2, widths=(8,)), (2,), data="x", trace=trace, costs=Costs(kinetic=0.1, jacobian=0.1), steps=2)
    optimizers = {"net": optax.adam(1e-3)}
    state = jax.eval_shape(lambda key: init_state(model, optimizers, key, {"x": X}), jax.random.key(0))
    traced = jax.jit(make_train_step(model, optimizers, ema_decay=0.9)).trace(state, {"x": X})
    assert "callback" not in str(traced.jaxpr)
    traced.lower(lowering_platforms=("cuda", "tpu"))
