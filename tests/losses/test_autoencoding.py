import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxgen.losses import (
    codebook_loss,
    free_bits,
    gaussian_divergence,
    gaussian_kl,
    importance_weighted_bound,
    negative_elbo,
    perceptual_distance,
    straight_through,
)

RNG = np.random.default_rng(0)


def test_divergence_of_normal_laws_is_its_integral():
    m, log_v, n, log_w = RNG.normal(size=(4, 3, 5))
    found = gaussian_divergence(m, log_v, n, log_w)
    assert found.dtype == jnp.float32
    grid = np.linspace(-20, 20, 40_001)[:, None, None]
    p = scipy.stats.norm(m, np.exp(log_v / 2))
    q = scipy.stats.norm(n, np.exp(log_w / 2))
    integral = np.sum(p.pdf(grid) * (p.logpdf(grid) - q.logpdf(grid)), 0) * (grid[1] - grid[0])
    np.testing.assert_allclose(found, integral, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(gaussian_kl(m, log_v, n, log_w), integral.sum(1), rtol=1e-4)
    standard = 0.5 * (np.exp(log_v) + m**2 - 1 - log_v)
    np.testing.assert_allclose(gaussian_kl(m, log_v), standard.sum(1), rtol=1e-5)


def test_divergence_keeps_its_digits_where_the_laws_are_almost_the_same():
    log_v = np.array([[1e-3, -1e-3]])
    want = 0.5 * (np.expm1(log_v) - log_v)
    np.testing.assert_allclose(gaussian_divergence(np.zeros((1, 2)), log_v), want, rtol=1e-3)


def test_free_bits_put_a_floor_under_each_dimension_and_stop_its_gradient():
    divergence = jnp.array([[0.1, 2.0, 0.4], [0.6, 0.0, 1.0]])
    np.testing.assert_allclose(free_bits(divergence, 0.5), [3.0, 2.1], rtol=1e-6)
    np.testing.assert_allclose(free_bits(divergence, 0.0), divergence.sum(1), rtol=1e-6)
    slope = jax.grad(lambda d: free_bits(d, 0.5).sum())(divergence)
    np.testing.assert_array_equal(slope, [[0, 1, 0], [1, 0, 1]])


def test_negative_elbo():
    np.testing.assert_allclose(negative_elbo(jnp.array([3.0, 4.0]), jnp.array([1.0, 2.0]), 0.5), [3.5, 5.0])
    with pytest.raises(ValueError, match="one value per example"):
        negative_elbo(jnp.zeros((2, 1)), jnp.zeros(2))


def test_importance_weighted_bound():
    log_weights = RNG.normal(size=(7, 3)) - 200  # far below what exp can hold in float32
    want = np.log(np.mean(np.exp(log_weights + 200), 0)) - 200
    np.testing.assert_allclose(importance_weighted_bound(log_weights), want, rtol=1e-6)
    np.testing.assert_allclose(importance_weighted_bound(log_weights[:1]), log_weights[0], rtol=1e-6)


def test_codebook_loss_moves_codes_by_one_term_and_the_encoder_by_the_other():
    encoded, codes = (jnp.asarray(RNG.normal(size=(2, 3, 4)), jnp.float32) for _ in range(2))
    square = np.square(np.asarray(encoded) - np.asarray(codes))
    np.testing.assert_allclose(codebook_loss(encoded, codes, commitment=0.5), 1.5 * square.mean((1, 2)), rtol=1e-5)
    by_encoded, by_codes = jax.grad(lambda e, c: codebook_loss(e, c, commitment=0.5).sum(), (0, 1))(encoded, codes)
    slope = 2 * (np.asarray(encoded) - np.asarray(codes)) / 12
    np.testing.assert_allclose(by_encoded, 0.5 * slope, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(by_codes, -slope, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="one shape"):
        codebook_loss(encoded, codes[:, :2])


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other():
    x = jnp.array([0.2, 0.8])
    value, pull = jax.vjp(lambda x: straight_through(x, jnp.round(x)), x)
    np.testing.assert_allclose(value, [0, 1], atol=1e-7)
    np.testing.assert_array_equal(pull(jnp.array([3.0, 4.0]))[0], [3, 4])


def test_perceptual_distance_is_its_formula():
    x, y = RNG.normal(size=(2, 3, 6, 6, 4))
    weights = [RNG.uniform(size=4), RNG.uniform(size=2)]
    features = lambda a: (a, a[:, ::2, ::3, :2] ** 3)  # noqa: E731

    def unit(a):
        return a / np.linalg.norm(a, axis=-1, keepdims=True)

    want = sum(
        np.mean(np.sum(w * (unit(a) - unit(b)) ** 2, -1), (1, 2))
        for a, b, w in zip(features(x), features(y), weights, strict=True)
    )
    found = perceptual_distance(features, jnp.asarray(x), jnp.asarray(y), weights=weights)
    np.testing.assert_allclose(found, want, rtol=1e-4)
    assert found.dtype == jnp.float32
    with pytest.raises(ValueError, match="2 layers"):
        perceptual_distance(features, jnp.asarray(x), jnp.asarray(y), weights=weights[:1])


def test_perceptual_distance_has_a_gradient_where_features_are_zero():
    slope = jax.grad(lambda x: perceptual_distance(lambda a: (jax.nn.relu(a),), x, jnp.ones((1, 2, 3)))[0])
    assert np.isfinite(slope(-jnp.ones((1, 2, 3)))).all()
