import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from jaxgen import mixtures, paths

LAW = mixtures.mixture([3, 2], [[-1.0, 0.5], [1.5, 0.0]], [[[0.3, 0.1], [0.1, 0.2]], [[0.15, -0.05], [-0.05, 0.4]]])
NORMAL = mixtures.gaussian([1.0, -0.5], [[1.0, 0.6], [0.6, 0.7]])
PATHS = [paths.rectified(), paths.variance_preserving(), paths.edm()]
POINTS = 2 * np.random.default_rng(0).normal(size=(7, 2))


def test_log_prob_is_that_of_scipy_and_integrates_to_one():
    line = np.linspace(-6, 6, 241)
    grid = np.stack(np.meshgrid(line, line), -1)
    for law in (LAW, LAW.noised(PATHS[0], 0.6)):
        total = float(jnp.exp(law.log_prob(jnp.asarray(grid))).sum()) * (line[1] - line[0]) ** 2
        assert total == pytest.approx(1, abs=1e-4)
    parts = zip(LAW.weights, LAW.means, (LAW.axes * LAW.variances[:, None]) @ LAW.axes.swapaxes(1, 2), strict=True)
    want = np.log(sum(w * multivariate_normal(m, c).pdf(POINTS) for w, m, c in parts))
    np.testing.assert_allclose(LAW.log_prob(jnp.asarray(POINTS)), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("path", PATHS)
def test_score_is_the_gradient_and_the_denoiser_obeys_tweedie(path):
    """``alpha x0_hat = x_t + sigma^2 grad log p``, by automatic differentiation in float64."""
    t = 0.4
    with jax.enable_x64(True):
        x, law = jnp.asarray(POINTS), LAW.noised(path, t)
        gradient = jax.vmap(jax.grad(law.log_prob))(x)
        np.testing.assert_allclose(law.score(x), gradient, rtol=1e-10, atol=1e-10)
        ours = path.alpha(t) * LAW.denoiser(path)(x, t)
        np.testing.assert_allclose(ours, x + path.sigma(t) ** 2 * gradient, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("law", [LAW, NORMAL, LAW.noised(PATHS[0], 0.7)], ids=["mixture", "normal", "noised"])
def test_draws_have_the_stated_moments(law):
    n = 20_000
    off = np.asarray(law.sample(jax.random.key(1), n), np.float64) - np.asarray(law.mean)
    products = off[:, :, None] * off[:, None, :]
    assert (np.abs(off.mean(0)) < 4 * off.std(0) / np.sqrt(n)).all()
    assert (np.abs(products.mean(0) - law.covariance) < 4 * products.std(0) / np.sqrt(n)).all()


def test_a_draw_by_its_own_key_does_not_depend_on_the_others():
    keys = jax.random.split(jax.random.key(0), 4)
    np.testing.assert_allclose(LAW.sample(keys, 4)[2:], LAW.sample(keys[2:], 2), rtol=1e-6)


def test_the_noised_law_is_the_law_of_noised_draws():
    path, t = PATHS[1], 0.3
    law = LAW.noised(path, t)
    np.testing.assert_allclose(law.mean, path.alpha(t) * LAW.mean, rtol=1e-5, atol=1e-6)
    want = path.alpha(t) ** 2 * LAW.covariance + path.sigma(t) ** 2 * np.eye(2)
    np.testing.assert_allclose(law.covariance, want, rtol=1e-5, atol=1e-6)


def test_the_ends_of_time_are_finite_and_types_are_kept():
    path, x = PATHS[0], jnp.array([[0.3, 2.0]])
    denoise = jax.jit(LAW.denoiser(path))
    np.testing.assert_allclose(denoise(x, 0.0)[0], LAW.mean, atol=1e-5)  # pure noise
    np.testing.assert_allclose(denoise(x, 1.0), x, rtol=1e-5)  # pure data
    assert denoise(x.astype(jnp.bfloat16), 0.5).dtype == jnp.bfloat16


def test_one_program_serves_several_laws():
    program = jax.jit(lambda law, x: law.denoiser(PATHS[1])(x, 0.5))
    x = jnp.asarray(POINTS, jnp.float32)
    other = mixtures.mixture([1, 1], -LAW.means, [np.eye(2)] * 2)
    first, second = program(LAW, x), program(other, x)
    assert program._cache_size() == 1
    np.testing.assert_allclose(second, other.denoiser(PATHS[1])(x, 0.5), rtol=1e-5, atol=1e-6)
    assert np.abs(first - second).max() > 0.1


def test_the_flow_of_a_normal_law_solves_its_equation_and_carries_the_law():
    path, h = PATHS[1], 1e-6
    with jax.enable_x64(True):
        x = jnp.asarray(POINTS)
        before, here, after = (NORMAL.flow(path, x, end=0.3 + d) for d in (-h, 0, h))
        velocity = paths.convert(path, here, 0.3, NORMAL.denoiser(path)(here, 0.3), "x0", "velocity")
        np.testing.assert_allclose((after - before) / (2 * h), velocity, rtol=1e-6, atol=1e-6)
        back = NORMAL.flow(path, here, start=0.3, end=path.t_noise)
        np.testing.assert_allclose(back, x, rtol=1e-9)
    with pytest.raises(ValueError, match="2 parts"):
        LAW.flow(path, x)


@pytest.mark.parametrize(
    ("weights", "means", "covariances", "match"),
    [
        ([1, 1], [[0.0]], [[[1.0]]], r"\[k\], \[k, d\]"),
        ([1], [[0.0]], [[[-1.0]]], "above 0"),
        ([1, 0], [[0.0], [1.0]], [[[1.0]], [[1.0]]], "above 0"),
    ],
)
def test_what_is_no_mixture_is_refused(weights, means, covariances, match):
    with pytest.raises(ValueError, match=match):
        mixtures.mixture(weights, means, covariances)


@pytest.mark.parametrize("bandwidth", [0.3, 1e-3])
@pytest.mark.parametrize("path", PATHS)
def test_the_ideal_denoiser_is_that_of_a_mixture_of_equal_parts(path, bandwidth):
    examples = np.random.default_rng(1).normal(1, 1, (5, 2, 3, 1))
    law = mixtures.mixture([1] * 5, examples.reshape(5, 6), [bandwidth**2 * np.eye(6)] * 5)
    with jax.enable_x64(True):
        times = jnp.linspace(path.t_noise, path.t_data, 6)[1:-1]
        x = path.sigma(times)[:, None] * np.random.default_rng(2).normal(size=(4, 6)) + path.alpha(times)[:, None]
        denoise = mixtures.ideal_denoiser(path, examples, bandwidth)
        ours = denoise(x.reshape(4, 2, 3, 1), times)
        want = jnp.stack([law.denoiser(path)(x[i], t) for i, t in enumerate(times)])
        np.testing.assert_allclose(ours.reshape(4, 6), want, rtol=1e-9, atol=1e-9)
        one = denoise(x.reshape(4, 2, 3, 1), times[1])[1]
        np.testing.assert_allclose(one, ours[1], rtol=1e-9, atol=1e-12)


def test_the_ideal_denoiser_of_images_is_finite_at_both_ends_and_ends_on_an_example():
    examples = np.random.default_rng(0).uniform(-1, 1, (9, 8, 8, 1)).astype(np.float32)
    for path in PATHS:
        denoise = jax.jit(mixtures.ideal_denoiser(path, examples))
        noised = path.alpha(path.t_data) * examples[:3]
        np.testing.assert_allclose(denoise(noised, jnp.float32(path.t_data)), examples[:3], atol=1e-6)
        x = path.sigma(path.t_noise) * jax.random.normal(jax.random.key(0), (3, 8, 8, 1))
        assert jnp.isfinite(denoise(x, jnp.float32(path.t_noise))).all()
    with pytest.raises(ValueError, match="must be alike"):
        mixtures.ideal_denoiser(PATHS[0], examples)(jnp.zeros((1, 8, 8, 2)), 0.5)
