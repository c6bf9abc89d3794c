import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.bijections import elementwise, rational_quadratic
from jaxgen.families import glow, masked_autoregressive_flow, vector_quantised_model
from jaxgen.nets import dcgan_discriminator, decoder, dit, encoder, rrdb_encoder
from jaxgen.nets.embedding import GaussianFourier
from jaxgen.train import decay_at, make_optimizer, make_schedule, update_ema


@pytest.mark.parametrize("warmup", [0, 1, 5, 50])
@pytest.mark.parametrize("kind", ["cosine", "constant", "linear"])
def test_schedule_rises_to_the_peak_and_ends_where_it_should(kind, warmup):
    rates = np.array([float(make_schedule(0.3, warmup, 20, kind)(step)) for step in range(21)])
    assert (rates[:-1] > 0).all()
    assert rates.max() == pytest.approx(0.3)
    assert rates[-1] == pytest.approx(0.3 if kind == "constant" else 0.0, abs=1e-7)
    if 1 < warmup < 20:
        np.testing.assert_allclose(np.diff(rates[: warmup + 1]), (0.3 - 0.3 / warmup) / warmup, rtol=1e-4)


def test_a_linear_schedule_is_constant_for_half_of_the_steps_and_then_a_line():
    rates = [float(make_schedule(0.4, 0, 8, "linear")(step)) for step in range(9)]
    np.testing.assert_allclose(rates, [0.4] * 5 + [0.3, 0.2, 0.1, 0.0], atol=1e-7)


def test_clip_bounds_the_gradient_that_the_optimizer_sees():
    params, grads = {"w": jnp.zeros((2, 2))}, {"w": jnp.full((2, 2), 50.0)}
    clipped = make_optimizer(0.1, schedule="constant", clip=1.0, name="adam")
    _, state = clipped.update(grads, clipped.init(params), params)
    moment = optax.tree.get(state, "mu")
    assert float(optax.global_norm(moment)) == pytest.approx(0.1, rel=1e-5)  # (1 - b1) times a norm of 1


def test_weight_decay_reaches_kernels_only():
    params = {"kernel": jnp.ones((3, 3)), "bias": jnp.ones(3)}
    optimizer = make_optimizer(0.1, schedule="constant", weight_decay=0.5)
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.05, rtol=1e-6)
    np.testing.assert_array_equal(updates["bias"], 0.0)


def test_muon_turns_kernels_into_orthogonal_steps_and_leaves_the_rest_to_adam():
    key = jax.random.key(0)
    params = {"conv": {"kernel": jax.random.normal(key, (3, 3, 4, 8)), "bias": jnp.zeros(8)}}
    grads = {"conv": {"kernel": jax.random.normal(jax.random.key(1), (3, 3, 4, 8)), "bias": jnp.full(8, 3.0)}}
    optimizer = make_optimizer(0.1, schedule="constant", name="muon")
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    step = np.asarray(updates["conv"]["kernel"]).reshape(36, 8)
    values = np.linalg.svd(step, compute_uv=False)
    assert values.max() < 2 * values.min()  # those of the gradient itself, 36 x 8 numbers, are further apart
    before = np.linalg.svd(np.asarray(grads["conv"]["kernel"]).reshape(36, 8), compute_uv=False)
    assert before.max() > 2 * before.min()
    assert np.sqrt(np.mean(step**2)) == pytest.approx(0.1 * 0.2, rel=0.3)
    adam = optax.nadamw(0.1, weight_decay=0.0)
    alone, _ = adam.update(grads, adam.init(params), params)
    np.testing.assert_allclose(updates["conv"]["bias"], alone["conv"]["bias"], rtol=1e-6)


BUILT = {
    "scanned transformer": lambda: dit(1, width=16, depth=2, heads=2, patch=2, classes=3).init(
        jax.random.key(0), jnp.zeros((1, 4, 4, 1)), jnp.zeros(1)
    ),
    "scanned residual groups": lambda: rrdb_encoder(4, width=8, blocks=2, growth=4).init(
        jax.random.key(0), jnp.zeros((1, 4, 4, 1))
    ),
    "glow": lambda: glow((4, 4, 1), levels=1, steps=2, width=8, classes=3).init(
        jax.random.key(0), jnp.ones((4, 4, 4, 1)), jnp.ones((4, 3))
    ),
    "learned splines": lambda: elementwise(rational_quadratic(4)).init(jax.random.key(0), jnp.ones((2, 3))),
    "autoregressive flow": lambda: masked_autoregressive_flow(3, layers=2, widths=(8,)).init(
        jax.random.key(0), jnp.ones((2, 3))
    ),
    "conditional critic": lambda: dcgan_discriminator(channels=(8,), classes=3).init(
        jax.random.key(0), jnp.zeros((1, 4, 4, 1)), jnp.zeros(1, int)
    ),
    "vector-quantised": lambda: vector_quantised_model(encoder(4, channels=(8,)), decoder(1, channels=(8,)), 5).init(
        jax.random.key(0), {"image": jnp.zeros((2, 4, 4, 1))}
    ),
    "network of diffusers": lambda: GaussianFourier().init(jax.random.key(0), jnp.ones(2), 4)["params"],
}


@pytest.mark.parametrize("name", BUILT)
def test_weight_decay_moves_the_matrices_of_layers_and_nothing_else(name):
    """Whatever their rank: a bias of stacked layers has two axes, and so have the matrices of a flow and tables."""
    params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), jax.eval_shape(BUILT[name]))
    optimizer = make_optimizer(0.1, schedule="constant", weight_decay=0.5)
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    for path, update in jax.tree_util.tree_leaves_with_path(updates):
        name = jax.tree_util.keystr(path)
        kernel = name.endswith("['kernel']") and "ClassEmbedding" not in name
        np.testing.assert_allclose(update, -0.05 if kernel else 0.0, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("wrong", [{"name": "sgdd"}, {"schedule": "cosinus"}])
def test_unknown_names_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        make_optimizer(0.1, **wrong)


def test_ema_is_the_weighted_mean_of_all_parameters_so_far():
    values = np.random.default_rng(0).normal(size=12)
    ema, weights = {"w": jnp.float32(5.0), "n": jnp.int32(0)}, np.array([1.0])
    for step, value in enumerate(values):
        ema = update_ema(ema, {"w": jnp.float32(value), "n": jnp.int32(step)}, jnp.int32(step), 0.7)
        decay = min(0.7, (1 + step) / (10 + step))
        weights = np.append(weights * decay, 1 - decay)
    assert weights.sum() == pytest.approx(1)
    assert float(ema["w"]) == pytest.approx((weights * np.append(5.0, values)).sum(), rel=1e-5)
    assert int(ema["n"]) == 11
    assert float(decay_at(10**6, 0.7)) == pytest.approx(0.7)
