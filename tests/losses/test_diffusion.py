import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.losses import weights
from jaxgen.losses.diffusion import denoising, hybrid, split_variance
from jaxgen.losses.matching import flow_matching
from jaxgen.losses.times import spread_time
from jaxgen.losses.variational import discrete_bound
from jaxgen.samplers import grids

PATH = paths.variance_preserving()
GRID = grids.uniform(PATH, 8)


@pytest.mark.parametrize("prediction", paths.PREDICTIONS)
def test_every_prediction_and_weight(prediction):
    """The contract in one table: shape, dtype, purity, own keys, and the space that a weight is made for."""
    x = jax.random.normal(jax.random.key(0), (6, 2, 3))
    noise, t = jax.random.normal(jax.random.key(2), x.shape), jnp.linspace(0.1, 0.9, 6)
    keys = jax.random.split(jax.random.key(1), 6)
    schemes = (weights.simple, weights.snr, weights.min_snr, weights.p2, weights.edm, weights.sigmoid, weights.elbo)

    @jax.jit
    def table(keys, x, noise, t):
        def loss(scheme, **given):
            weight = scheme and scheme(PATH, prediction)
            return denoising(lambda x_t, t: 0.2 * x_t, PATH, keys, x, prediction=prediction, weight=weight, **given)

        return jnp.stack([loss(None), *(loss(scheme, noise=noise, t=t) for scheme in schemes)])

    whole = table(keys, x, noise, t)
    assert whole.shape == (1 + len(schemes), 6)
    assert whole.dtype == jnp.float32
    assert bool((whole > 0).all())
    np.testing.assert_array_equal(whole, table(keys, x, noise, t))
    np.testing.assert_allclose(whole[:, 4:], table(keys[4:], x[4:], noise[4:], t[4:]), rtol=1e-5)
    for scheme, value in zip(schemes, whole[1:], strict=True):
        np.testing.assert_allclose(value / whole[1], scheme(PATH, prediction)(t), rtol=1e-5)


def test_times_and_targets_pass_through():
    x = jnp.ones((4, 3))
    for options in ({"time": spread_time}, {"t": 0.3, "noise": 2 * x}, {"target": "x0"}):
        ours = denoising(lambda x_t, t: x_t, PATH, jax.random.key(0), x, prediction="v", **options)
        want = flow_matching(
            lambda x_t, t: x_t, PATH, jax.random.key(0), x, prediction="v", **{"target": "v", **options}
        )
        np.testing.assert_array_equal(ours, want)


def _answer(scale, fraction):
    """The exact noise of standard normal data, scaled, and a fraction of the way to the large variance."""

    def predict(x_t, t):
        noise = scale * PATH.sigma(t)[:, None] * x_t
        return jnp.concatenate([noise, 0 * noise + 2 * fraction - 1], -1)

    return predict


def test_the_hybrid_loss_trains_the_variance_alone():
    """For standard normal data the large variance is right; and the mean's gradient is that of the simple loss."""
    x = jax.random.normal(jax.random.key(0), (4000, 2))

    @jax.jit
    def gradients(scale, fraction):
        def loss(scale, fraction, weight):
            return hybrid(_answer(scale, fraction), PATH, jax.random.key(1), x, GRID, scale=weight, bins=None)

        with_bound, without = (jax.jacfwd(loss, (0, 1))(scale, fraction, weight) for weight in (1.0, 0.0))
        return with_bound, without

    (mean, _), (simple, none) = gradients(0.9, 1.0)
    np.testing.assert_array_equal(none, 0)
    np.testing.assert_allclose(mean, simple, rtol=1e-6)
    assert float(jnp.abs(simple).mean()) > 0.1
    (_, right), _ = gradients(1.0, 1.0)
    assert abs(float(right.mean())) < 4 * float(right.std()) / np.sqrt(len(x))
    (_, small), _ = gradients(1.0, 0.5)
    assert float(small.mean()) < -10 * float(small.std()) / np.sqrt(len(x))


def test_the_hybrid_loss_is_the_sum_of_its_parts():
    """The mean over all steps of the bound's share is the bound: Monte Carlo against the whole chain."""
    x = jnp.tile(jnp.array([[0.5, -1.0]]), (20_000, 1))

    @jax.jit
    def both(key):
        with_bound, without = (
            hybrid(_answer(0.9, 0.5), PATH, key, x, GRID, scale=scale, bins=None) for scale in (1.0, 0.0)
        )
        denoise = lambda y, t: paths.convert(PATH, y, t, 0.9 * PATH.sigma(t) * y, "noise", "x0")  # noqa: E731
        bound = discrete_bound(denoise, PATH, key, x[:2000], GRID, variance=lambda x, t: jnp.array(0.5), bins=None)
        return with_bound - without, bound.diffusion + bound.reconstruction

    share, bound = both(jax.random.key(0))
    error = np.hypot(share.std() / np.sqrt(len(share)), bound.std() / 2 / np.sqrt(len(bound)))
    assert abs(float(share.mean() - bound.mean() / 2)) < 4 * error


def test_hybrid_contract():
    x, keys = jnp.zeros((6, 4, 4, 1)), jax.random.split(jax.random.key(0), 6)
    loss = jax.jit(lambda keys, x: hybrid(lambda x_t, t: jnp.concatenate([x_t, x_t], -1), PATH, keys, x, GRID))
    whole = loss(keys, x)
    assert whole.dtype == jnp.float32
    assert bool(jnp.isfinite(whole).all())
    np.testing.assert_allclose(whole[3:], loss(keys[3:], x[3:]), rtol=1e-5)
    prediction, fraction = split_variance(jnp.arange(4.0)[None])
    assert (prediction.tolist(), fraction.tolist()) == ([[0.0, 1.0]], [[1.5, 2.0]])
    with pytest.raises(ValueError, match="channels doubled"):
        hybrid(lambda x_t, t: x_t, PATH, keys, x, GRID)
