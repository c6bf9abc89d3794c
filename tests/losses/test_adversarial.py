import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxgen.losses import adversarial

SHAPES = [(5,), (5, 3), (5, 3, 2, 4)]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


FORMULAS = {
    "minimax": (
        lambda r, g: np.log(1 - sigmoid(g)),
        lambda r, g: -np.log(sigmoid(r)) - np.log(1 - sigmoid(g)),
    ),
    "non_saturating": (
        lambda r, g: -np.log(sigmoid(g)),
        lambda r, g: -np.log(sigmoid(r)) - np.log(1 - sigmoid(g)),
    ),
    "least_squares": (
        lambda r, g: (g - 1) ** 2 / 2,
        lambda r, g: (r - 1) ** 2 / 2 + g**2 / 2,
    ),
    "hinge": (
        lambda r, g: -g,
        lambda r, g: np.maximum(0, 1 - r) + np.maximum(0, 1 + g),
    ),
    "wasserstein": (lambda r, g: -g, lambda r, g: g - r),
    "relativistic": (
        lambda r, g: np.log(1 + np.exp(-(g - r))),
        lambda r, g: np.log(1 + np.exp(-(r - g))),
    ),
}


def logits(shape):
    rng = np.random.default_rng(0)
    return 2 * rng.normal(size=shape), 2 * rng.normal(size=shape)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", FORMULAS)
def test_both_sides_in_numpy(name, shape):
    real, generated = logits(shape)
    losses = getattr(adversarial, name)()
    for side, formula in zip((losses.generator, losses.critic), FORMULAS[name], strict=True):
        value = side(jnp.asarray(real, jnp.float32), jnp.asarray(generated, jnp.float32))
        assert (value.shape, value.dtype) == ((5,), jnp.float32)
        want = formula(real, generated).reshape(5, -1).mean(-1)
        np.testing.assert_allclose(value, want, rtol=2e-5, atol=1e-6)


def test_the_labels_of_least_squares_are_the_caller_s():
    real, generated = logits((5,))
    losses = adversarial.least_squares(0.9, -1.0, 0.5)
    np.testing.assert_allclose(losses.generator(real, generated), (generated - 0.5) ** 2 / 2, rtol=1e-5)
    np.testing.assert_allclose(
        losses.critic(real, generated), (real - 0.9) ** 2 / 2 + (generated + 1) ** 2 / 2, rtol=1e-5
    )
    assert losses.boundary == pytest.approx(-0.05)


@pytest.mark.parametrize("name", FORMULAS)
def test_far_logits_of_half_precision_give_finite_values_and_gradients(name):
    real, generated = jnp.array([-300.0, 300.0], jnp.bfloat16), jnp.array([300.0, -300.0], jnp.bfloat16)
    for side in getattr(adversarial, name)()[:2]:
        value = side(real, generated)
        assert value.dtype == jnp.float32
        gradients = jax.grad(lambda a, b, side=side: side(a, b).sum(), (0, 1))(real, generated)
        assert all(bool(jnp.isfinite(x).all()) for x in (value, *gradients))


def test_where_the_critic_is_sure_minimax_has_no_gradient_and_non_saturating_has():
    def slope(losses):
        return float(jax.grad(lambda g: losses.generator(jnp.zeros(1), g).sum())(jnp.array([-20.0]))[0])

    assert abs(slope(adversarial.minimax())) < 1e-8
    assert slope(adversarial.non_saturating()) == pytest.approx(-1)
    assert slope(adversarial.relativistic()) == pytest.approx(-1)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="no pairs"):
        adversarial.hinge().critic(jnp.zeros(3), jnp.zeros((3, 1)))


MATRIX = np.random.default_rng(1).normal(size=(6, 6))
MATRIX = jnp.asarray(MATRIX + MATRIX.T, jnp.float32)


def quadratic(x):
    """Its gradient at x is the matrix times x."""
    flat = x.reshape(x.shape[0], -1)
    return 0.5 * jnp.sum((flat @ MATRIX.astype(flat.dtype)) * flat, -1)


def examples():
    rng = np.random.default_rng(2)
    return (jnp.asarray(rng.normal(size=(4, 3, 2)), jnp.float32) for _ in range(2))


def squared_norm(x):
    return (np.asarray(x.reshape(4, 6) @ MATRIX, np.float64) ** 2).sum(-1)


@pytest.mark.parametrize("penalty", [adversarial.r1, adversarial.r2])
def test_r1_and_r2_are_squared_gradient_norms(penalty):
    x, _ = examples()
    np.testing.assert_allclose(penalty(quadratic, x), squared_norm(x), rtol=1e-5)


def test_logits_come_with_the_gradient_and_patches_count_by_their_mean():
    x, _ = examples()
    value, square = adversarial.squared_gradient(lambda x: jnp.stack([quadratic(x), 3 * quadratic(x)], -1), x)
    assert value.shape == (4, 2)
    np.testing.assert_allclose(square, 4 * squared_norm(x), rtol=1e-5)


def test_the_gradient_penalty_is_taken_between_the_two_with_one_key_an_example():
    real, generated = examples()
    keys = jax.random.split(jax.random.key(0), 4)
    value = adversarial.gradient_penalty(quadratic, keys, real, generated)
    u = np.stack([np.asarray(jax.random.uniform(key, (1, 1))) for key in keys])
    between = jnp.asarray(u * real + (1 - u) * generated)
    np.testing.assert_allclose(value, (np.sqrt(squared_norm(between)) - 1) ** 2, rtol=1e-4)
    assert u.min() < 0.3 < 0.7 < u.max()


def test_a_flat_critic_is_penalised_and_its_gradient_is_a_number():
    real, generated = examples()

    def total(w):
        return adversarial.gradient_penalty(lambda x: w * x[:, 0, 0], jax.random.key(0), real, generated).sum()

    value, gradient = jax.value_and_grad(total)(0.0)
    assert (float(value), float(gradient)) == (4.0, 0.0)


def test_penalties_differentiate_in_the_critic_s_parameters():
    x, y = (0.3 * a for a in examples())

    def total(w):
        critic = lambda x: jnp.sum(jnp.tanh(x.reshape(4, 6) @ w), -1)  # noqa: E731
        key = jax.random.key(0)
        return (adversarial.r1(critic, x) + adversarial.gradient_penalty(critic, key, x, y)).sum()

    check_grads(total, (0.5 * MATRIX,), order=1, modes=["rev"], rtol=2e-2)
