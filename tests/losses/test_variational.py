import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from jaxgen import paths
from jaxgen.losses.variational import continuous_bound, discrete_bound, step_bound
from jaxgen.samplers import grids

VARIANCE_PRESERVING = paths.variance_preserving()


def _standard_errors(values, truth):
    values = np.asarray(values, np.float64)
    return (values.mean() - truth) / (values.std() / np.sqrt(len(values)))


def _shrink(variances, path):
    """The exact denoiser of independent normals."""
    return lambda x, t: x * path.alpha(t) * variances / (path.alpha(t) ** 2 * variances + path.sigma(t) ** 2)


ATOMS, SHARES = np.linspace(-1, 1, 4), np.array([0.4, 0.1, 0.2, 0.3])


def _denoise_atoms(path):
    """The exact denoiser of one of four values with known probabilities."""

    def denoise(x, t):
        off = (x[..., None] - path.alpha(t) * ATOMS) / path.sigma(t)
        return jnp.sum(jax.nn.softmax(jnp.log(SHARES) - 0.5 * off**2) * ATOMS, -1)

    return denoise


def _atoms(n):
    return jnp.asarray(ATOMS[np.random.default_rng(0).choice(4, (n, 3), p=SHARES)], jnp.float32)


ENTROPY = -3 * np.sum(SHARES * np.log(SHARES))


@pytest.mark.parametrize("path", [VARIANCE_PRESERVING, paths.rectified(), paths.edm()])
@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_a_step_is_the_divergence_of_two_normals(path, fraction):
    """From the posterior of the chain by Bayes' rule, in NumPy."""
    rng = np.random.default_rng(0)
    x, x0_hat, x_t = rng.normal(size=(3, 2, 5))
    t, s = (np.float64(path.t_noise + (path.t_data - path.t_noise) * f) for f in (0.4, 0.7))
    a, sigma, b, r = (np.float64(f) for f in (path.alpha(t), path.sigma(t), path.alpha(s), path.sigma(s)))
    forward = a / b, sigma**2 - (a / b * r) ** 2  # x_t given x_s: factor, variance
    variance = 1 / (1 / r**2 + forward[0] ** 2 / forward[1])
    means = [variance * (b * clean / r**2 + forward[0] * x_t / forward[1]) for clean in (x, x0_hat)]
    model = np.exp(fraction * np.log(forward[1]) + (1 - fraction) * np.log(variance))
    want = 0.5 * (variance / model - 1 - np.log(variance / model) + (means[0] - means[1]) ** 2 / model)
    with jax.enable_x64(True):
        got = step_bound(path, jnp.asarray(x), jnp.asarray(x0_hat), jnp.asarray(t), jnp.asarray(s), fraction=fraction)
    np.testing.assert_allclose(got, want.sum(1), rtol=1e-6)


def test_the_discrete_bound_is_tight_where_the_reverse_step_is_normal():
    """Standard normal data on a variance-preserving path: with the large variance nothing is lost, at any grid."""
    x = jax.random.normal(jax.random.key(0), (4000, 3))
    grid = grids.uniform(VARIANCE_PRESERVING, 5)
    denoise = _shrink(1.0, VARIANCE_PRESERVING)

    @jax.jit
    def bounds(key):
        return [
            discrete_bound(denoise, VARIANCE_PRESERVING, key, x, grid, variance=variance, bins=None)
            for variance in ("large", "small", lambda x, t: 0.5 + 0 * x)
        ]

    large, small, half = bounds(jax.random.key(1))
    entropy = 1.5 * np.log(2 * np.pi * np.e)
    assert abs(_standard_errors(large.total, entropy)) < 4
    assert _standard_errors(small.total, entropy) > 20
    assert float(large.total.mean()) < float(half.total.mean()) < float(small.total.mean())


def test_the_discrete_bound_of_whole_numbers():
    """Never below the entropy, and nearer with more steps."""
    path = paths.cosine()
    x = _atoms(1000)

    @jax.jit
    def bounds(key):
        return [
            discrete_bound(_denoise_atoms(path), path, key, x, grids.uniform(path, steps), bins=4)
            for steps in (10, 200)
        ]

    coarse, fine = bounds(jax.random.key(0))
    assert _standard_errors(coarse.total, ENTROPY) > 0
    assert _standard_errors(fine.total, ENTROPY) > -4
    assert float(fine.total.mean()) - ENTROPY < 0.5 * (float(coarse.total.mean()) - ENTROPY)


@pytest.mark.parametrize("path", [VARIANCE_PRESERVING, paths.rectified(), paths.edm()])
def test_the_continuous_bound_is_tight_for_the_exact_denoiser(path):
    """On values of known entropy and on independent normals; a wrong denoiser pays."""
    n = 20_000
    x, variances = _atoms(n), jnp.array([0.5, 1.0, 2.0])
    normals = jnp.sqrt(variances) * jax.random.normal(jax.random.key(0), (n, 3))

    def each(denoise):
        return jax.vmap(lambda x, t: denoise(x[None], t)[0])

    @jax.jit
    def bounds(key):
        def bound(denoise, x, bins=None):
            return continuous_bound(each(denoise), path, key, x, prediction="x0", bins=bins).total

        exact = _shrink(variances, path)
        return (
            bound(_denoise_atoms(path), x, 4),
            bound(exact, normals),
            bound(lambda x, t: 0.9 * exact(x, t), normals),
        )

    atoms, exact, wrong = bounds(jax.random.key(1))
    assert abs(_standard_errors(atoms, ENTROPY)) < 4
    entropy = 0.5 * np.log(2 * np.pi * np.e * np.asarray(variances)).sum()
    assert abs(_standard_errors(exact, entropy)) < 4
    assert _standard_errors(wrong, entropy) > 10


def test_spread_times_make_the_mean_sharper():
    x = jax.random.normal(jax.random.key(0), (64, 100))
    denoise = _shrink(1.0, VARIANCE_PRESERVING)

    def mean(key, spread):
        def predict(x, t):
            return denoise(x, t[:, None])

        return continuous_bound(predict, VARIANCE_PRESERVING, key, x, prediction="x0", spread=spread).total.mean()

    keys = jax.random.split(jax.random.key(1), 200)
    spread, independent = (np.std(jax.jit(jax.vmap(lambda k, s=s: mean(k, s)))(keys)) for s in (True, False))
    assert spread < 0.5 * independent


def test_the_cost_of_the_nearest_of_256_values():
    """Against all values at once in NumPy, at a ratio that confuses neighbours."""
    rng = np.random.default_rng(0)
    values = np.linspace(-1, 1, 256)
    x = values[rng.integers(0, 256, (2000, 2))]
    bound = jax.jit(
        lambda key, x: continuous_bound(lambda x, t: x, paths.edm(), key, x, ratios=(0.01, 80.0), bins=256)
    )(jax.random.key(0), jnp.asarray(x, jnp.float32))
    noise = rng.normal(size=x.shape)
    off = ((x + 0.01 * noise)[..., None] - values) / 0.01
    want = (logsumexp(-0.5 * off**2, axis=-1) + 0.5 * noise**2).sum(1)
    error = np.hypot(want.std(), np.std(bound.reconstruction)) / np.sqrt(2000)
    assert abs(float(bound.reconstruction.mean()) - want.mean()) < 4 * error
    assert want.mean() > 1


def test_contract_and_keys():
    x, keys = _atoms(6), jax.random.split(jax.random.key(0), 6)
    grid = grids.uniform(VARIANCE_PRESERVING, 3)

    @jax.jit
    def both(keys, x):
        denoise = lambda x, t: 0.5 * x  # noqa: E731
        discrete = discrete_bound(denoise, VARIANCE_PRESERVING, keys, x, grid, bins=4)
        continuous = continuous_bound(denoise, VARIANCE_PRESERVING, keys, x, spread=False, bins=4)
        return jnp.stack([*discrete, *continuous])

    whole = both(keys, x)
    assert whole.shape == (6, 6)
    assert whole.dtype == jnp.float32
    assert bool(jnp.isfinite(whole).all())
    np.testing.assert_allclose(whole[:, 3:], both(keys[3:], x[3:]), rtol=1e-5, atol=1e-5)
    half = both(keys, x.astype(jnp.bfloat16))
    assert half.dtype == jnp.float32
    with pytest.raises(ValueError, match="choose from small, large"):
        discrete_bound(lambda x, t: x, VARIANCE_PRESERVING, keys, x, grid, variance="tiny")
