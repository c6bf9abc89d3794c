import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.losses.score_matching import (
    denoising_score_matching,
    implicit_score_matching,
    likelihood_weight,
    sliced_score_matching,
)
from jaxgen.losses.times import noise_levels, uniform_log_snr
from jaxgen.nets import mlp

COVARIANCE = np.array([[1.0, 0.4], [0.4, 0.6]])
PRECISION = np.linalg.inv(COVARIANCE)


def _gaussian(n, seed=0):
    return jnp.asarray(np.random.default_rng(seed).multivariate_normal(np.zeros(2), COVARIANCE, n), jnp.float32)


def _standard_errors(values, truth):
    values = np.asarray(values, np.float64)
    return abs(values.mean() - truth) / (values.std() / np.sqrt(len(values)))


def test_denoising_in_numpy():
    """Song & Ermon 2019, eq. 5 and 6: half the squared error, times sigma^2."""
    rng = np.random.default_rng(0)
    x, noise, t = rng.normal(size=(4, 3, 2)), rng.normal(size=(4, 3, 2)), rng.uniform(0.1, 0.9, 4)
    sigma = (0.01 * 5000**t).reshape(4, 1, 1)
    x_t = x + sigma * noise
    score = -0.3 * x_t
    want = 0.5 * (score + (x_t - x) / sigma**2) ** 2

    def loss(weight=None):
        return denoising_score_matching(
            lambda x, t: -0.3 * x,
            paths.variance_exploding(),
            jax.random.key(0),
            x,
            noise=noise,
            t=t,
            weight=weight,
        )

    np.testing.assert_allclose(loss(), (want * sigma**2).sum((1, 2)), rtol=2e-5)
    np.testing.assert_allclose(loss(lambda t: t), want.sum((1, 2)) * t, rtol=2e-4)


def test_the_minimiser_is_the_score_of_the_noisy_density():
    """A linear score fitted in closed form: the loss is quadratic, so one Newton step from anywhere is its minimum."""
    sigma, repeats = 0.7, 16

    @jax.jit
    def fit(key, x):
        def mean(flat):
            matrix = flat.reshape(2, 2)
            return denoising_score_matching(lambda y, t: y @ matrix, paths.edm(), key, x, t=sigma).mean()

        start = jnp.zeros(4)
        return (start - jnp.linalg.solve(jax.hessian(mean)(start), jax.grad(mean)(start))).reshape(2, 2)

    fits = np.array([fit(jax.random.key(i), _gaussian(10_000, i)) for i in range(repeats)])
    truth = -np.linalg.inv(COVARIANCE + sigma**2 * np.eye(2))
    assert (np.abs(fits.mean(0) - truth) < 4 * fits.std(0, ddof=1) / np.sqrt(repeats)).all()


def test_implicit_and_denoising_differ_by_a_constant():
    """The same two models compared by either loss differ by the same: what score matching means."""
    sigma, n = 0.8, 20_000
    x, noise = _gaussian(n), jax.random.normal(jax.random.key(1), (n, 2))
    models = (lambda y: -0.5 * y), (lambda y: -y + 0.3 * jnp.sin(y))

    def denoising(model):
        return denoising_score_matching(
            lambda y, t: model(y), paths.edm(), jax.random.key(0), x, noise=noise, t=sigma, weight=jnp.ones_like
        )

    @jax.jit
    def differences():
        by_trace = [implicit_score_matching(model, x + sigma * noise) for model in models]
        return denoising(models[0]) - denoising(models[1]), by_trace[0] - by_trace[1]

    by_denoising, by_trace = differences()
    assert float(jnp.abs(by_trace).mean()) > 0.1
    assert _standard_errors(by_denoising - by_trace, 0) < 4


def test_implicit_score_matching_of_a_gaussian():
    """The model's score -P x on data of covariance C has the mean tr(P C P) / 2 - tr P; at P = C^-1 it is least."""
    x = _gaussian(20_000)

    @jax.jit
    def both(p):
        def mean(p):
            value = implicit_score_matching(lambda x: -x @ p, x)
            return value.mean(), value

        return jax.grad(mean, has_aux=True)(p)

    for precision in (PRECISION, 0.7 * PRECISION, np.diag([1.0, 2.0])):
        _, value = both(jnp.asarray(precision, jnp.float32))
        truth = 0.5 * np.trace(precision @ COVARIANCE @ precision) - np.trace(precision)
        assert _standard_errors(value, truth) < 4
    with jax.enable_x64(True):
        x = np.asarray(x, np.float64)
        gradient = both.__wrapped__(jnp.asarray(PRECISION))[0]
        np.testing.assert_allclose(gradient, x.T @ x / len(x) @ PRECISION - np.eye(2), atol=1e-10)


@pytest.mark.parametrize(("gaussian", "variance_reduction"), [(False, True), (True, True), (True, False)])
def test_sliced_is_unbiased(gaussian, variance_reduction):
    x = jnp.tile(jnp.array([[0.5, -1.0]]), (20_000, 1))

    def score(x):
        return jnp.sin(x @ jnp.array([[1.0, 0.5], [-0.3, 2.0]]))

    @jax.jit
    def both(key, x):
        sliced = sliced_score_matching(score, key, x, gaussian=gaussian, variance_reduction=variance_reduction)
        return sliced, implicit_score_matching(score, x[:1])[0]

    value, truth = both(jax.random.key(0), x)
    assert _standard_errors(value, float(truth)) < 4


def test_variance_reduction_and_projections_reduce_variance():
    x = jnp.tile(jnp.array([[0.5, -1.0, 2.0]]), (4000, 1))

    @jax.jit
    def spreads(key):
        def spread(**options):
            return sliced_score_matching(lambda x: 3 - 0.1 * x**2, key, x, gaussian=True, **options).std()

        return spread(variance_reduction=False), spread(), spread(projections=4)

    plain, reduced, several = spreads(jax.random.key(0))
    assert reduced < 0.3 * plain
    np.testing.assert_allclose(several, reduced / 2, rtol=0.1)


def test_gradients_of_every_loss_by_finite_differences():
    """Through our own network: second derivatives of the dense layers, checked along a random direction."""
    net = mlp(2, widths=(8,))
    x, keys = _gaussian(6), jax.random.split(jax.random.key(1), 6)
    t = jnp.full((6,), 0.5)
    params = jax.jit(net.init)(jax.random.key(0), x, t)

    def totals(params):
        score = lambda x, t: net.apply(params, x, t)  # noqa: E731
        return jnp.stack(
            [
                denoising_score_matching(score, paths.edm(), keys, x, t=t).sum(),
                implicit_score_matching(lambda x: score(x, t), x).sum(),
                sliced_score_matching(lambda x: score(x, t), keys, x, projections=2).sum(),
                sliced_score_matching(lambda x: score(x, t), keys, x, variance_reduction=False).sum(),
            ]
        )

    @jax.jit
    def both(params):
        return totals(params), jax.jacrev(totals)(params)

    direction = jax.tree.map(lambda p: jax.random.normal(jax.random.key(3), p.shape), params)
    _, jacobian = both(params)
    step = 3e-3
    ahead, behind = (both(jax.tree.map(lambda p, d, s=s: p + s * d, params, direction))[0] for s in (step, -step))
    pairs = zip(*map(jax.tree.leaves, (jacobian, direction)), strict=True)
    along = sum(jnp.sum(j * d, tuple(range(1, j.ndim))) for j, d in pairs)
    np.testing.assert_allclose(along, (ahead - behind) / (2 * step), rtol=2e-2)


def test_contract():
    x = _gaussian(6)
    keys = jax.random.split(jax.random.key(1), 6)

    @jax.jit
    def all_losses(keys, x):
        return jnp.stack(
            [
                denoising_score_matching(lambda x, t: -x, paths.variance_preserving(), keys, x),
                denoising_score_matching(lambda x, t: -x, paths.variance_exploding(), keys, x, time=noise_levels(10)),
                sliced_score_matching(lambda x: -jnp.tanh(x), keys, x, gaussian=True),
                implicit_score_matching(lambda x: -jnp.tanh(x), x),
            ]
        )

    whole = all_losses(keys, x)
    assert whole.shape == (4, 6)
    assert whole.dtype == jnp.float32
    np.testing.assert_allclose(whole[:, 3:], all_losses(keys[3:], x[3:]), rtol=1e-5)
    half = implicit_score_matching(lambda x: -x, x.astype(jnp.bfloat16))
    assert half.dtype == jnp.float32


def test_likelihood_weight_is_importance_sampling_in_log_snr():
    """The g^2-weighted loss at uniform times is the sigma^2-weighted one at times uniform in log SNR."""
    path, n = paths.variance_exploding(0.1, 10.0), 20_000
    x = _gaussian(n)
    score = lambda x, t: -0.5 * x  # noqa: E731
    reach = 2 * np.log(10.0 / 0.1)

    @jax.jit
    def both():
        weighted = denoising_score_matching(score, path, jax.random.key(0), x, weight=likelihood_weight(path))
        return weighted, reach * denoising_score_matching(score, path, jax.random.key(1), x, time=uniform_log_snr())

    weighted, sampled = both()
    error = np.hypot(weighted.std(), sampled.std()) / np.sqrt(n)
    assert abs(float(weighted.mean() - sampled.mean())) < 4 * error
