import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxgen.losses import bernoulli, categorical, discretised_gaussian, discretised_logistic, gaussian

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_against_scipy(reduce):
    logits, x = RNG.normal(size=(3, 4, 5, 2)), RNG.integers(0, 2, (3, 4, 5, 2))
    probability = 1 / (1 + np.exp(-logits))
    want = getattr(-scipy.stats.bernoulli.logpmf(x, probability), reduce)((1, 2, 3))
    np.testing.assert_allclose(bernoulli(logits, x, reduce=reduce), want, rtol=1e-5)

    mean, x, scale = RNG.normal(size=(3, 4, 2)), RNG.normal(size=(3, 4, 2)), np.array([0.5, 2.0])
    want = getattr(-scipy.stats.norm.logpdf(x, mean, scale), reduce)((1, 2))
    np.testing.assert_allclose(gaussian(mean, x, scale, reduce=reduce), want, rtol=1e-5)

    logits, labels = RNG.normal(size=(3, 4, 5, 6)), RNG.integers(0, 6, (3, 4, 5))
    probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    chosen = np.take_along_axis(probability, labels[..., None], -1)[..., 0]
    want = getattr(-np.log(chosen), reduce)((1, 2))
    np.testing.assert_allclose(categorical(logits, labels, reduce=reduce), want, rtol=1e-5)


def test_extreme_logits_are_exact_and_have_gradients():
    logits, x = jnp.array([[1e4], [-1e4], [1e4], [-1e4]]), jnp.array([[1.0], [0.0], [0.0], [1.0]])
    np.testing.assert_allclose(bernoulli(logits, x), [0, 0, 1e4, 1e4])
    gradient = jax.grad(lambda z: bernoulli(z, x).sum())(logits)
    np.testing.assert_allclose(gradient[:, 0], [0, 0, 1, -1])
    np.testing.assert_allclose(categorical(jnp.array([[1e4, -1e4]]), jnp.array([1])), 2e4)


def test_soft_targets_are_least_at_their_own_logit():
    logit = jnp.log(0.3 / 0.7)
    gradient = jax.grad(lambda z: bernoulli(z[None, None], jnp.array([[0.3]])).sum())(logit)
    assert abs(float(gradient)) < 1e-6


def test_bfloat16_outputs_give_float32_losses():
    z = jnp.zeros((2, 3), jnp.bfloat16)
    for loss in (bernoulli(z, z), gaussian(z, z), categorical(z, jnp.array([0, 1]))):
        assert loss.dtype == jnp.float32
        assert loss.shape == (2,)


def test_unknown_reduction():
    with pytest.raises(ValueError, match="sum or mean"):
        bernoulli(jnp.zeros((1, 1)), jnp.zeros((1, 1)), reduce="none")


DISCRETISED = pytest.mark.parametrize(
    ("loss", "law"),
    [(discretised_gaussian, scipy.stats.norm), (discretised_logistic, scipy.stats.logistic)],
    ids=["normal", "logistic"],
)


@DISCRETISED
def test_a_discretised_law_is_a_probability(loss, law):
    """The cells' masses sum to 1 and are differences of the distribution function, also far out in the tails."""
    values = np.linspace(-1, 1, 16)
    for mean, scale in ((0.1, 0.3), (-2.0, 0.1), (0.4, 1e-3)):
        got = -np.asarray(loss(np.full((16, 1), mean), values[:, None], scale, bins=16))
        edges = np.concatenate([[-np.inf], values[:-1] + 1 / 15, [np.inf]])
        below, above = (edges[:-1] - mean) / scale, (edges[1:] - mean) / scale
        flip = below > 0
        below, above = np.where(flip, -above, below), np.where(flip, -below, above)
        log_above = law.logcdf(above)
        want = log_above + np.log1p(-np.exp(law.logcdf(below) - log_above))
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-5)
        np.testing.assert_allclose(np.exp(got).sum(), 1, rtol=1e-4)


@DISCRETISED
def test_a_discretised_law_has_gradients_everywhere(loss, law):
    def cost(mean, log_scale, x):
        return loss(mean[None, None], x[None, None], jnp.exp(log_scale))[0]

    grid = [(m, s, x) for m in (-50.0, 0.3, 50.0) for s in (-6.0, 0.0) for x in (-1.0, 1 / 255, 1.0)]
    gradients = jax.jit(jax.vmap(jax.grad(cost, (0, 1))))(*map(jnp.array, zip(*grid, strict=True)))
    assert all(bool(jnp.isfinite(g).all()) for g in gradients)
    for (mean, _, x), slope in zip(grid, gradients[0], strict=True):
        inside = abs(mean - x) < 1 / 255 or (x == -1 and mean < x) or (x == 1 and mean > x)
        assert inside or slope * (mean - x) > 0, (mean, x)  # it pulls the mean towards the data
