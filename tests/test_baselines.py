"""The Gaussian that generated images are compared with: its draws and its density."""

import numpy as np
import scipy.stats

from jaxgen import baselines


def test_the_gaussian_baseline_has_the_mean_and_the_covariance_of_the_images():
    rng = np.random.default_rng(0)
    train = 0.2 * rng.normal(size=(50, 2, 2, 1)) @ np.ones((1, 1)) + 0.1
    drawn = baselines.gaussian_images(train, 20_000, 0).reshape(-1, 4)
    flat = train.reshape(-1, 4)
    np.testing.assert_allclose(drawn.mean(0), flat.mean(0), atol=4 * 0.25 / np.sqrt(20_000))
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(flat.T), atol=0.003)


def test_the_gaussian_s_log_density_is_that_of_its_directions():
    """Three directions and noise: the density of the fitted Gaussian, by its whole covariance."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(3, 8))
    draw = lambda n: (rng.normal(size=(n, 3)) @ mixing + 0.1 * rng.normal(size=(n, 8))).reshape(n, 2, 4, 1)  # noqa: E731
    train, validation, x = draw(4000), draw(500), draw(5)
    found = baselines.gaussian_log_prob(train, validation, x)
    flat = train.reshape(-1, 8)
    fitted = scipy.stats.multivariate_normal(flat.mean(0), np.cov(flat.T, bias=True))
    np.testing.assert_allclose(found, fitted.logpdf(x.reshape(-1, 8)), atol=0.2)


def test_a_gaussian_s_log_density_and_draws():
    gaussian = baselines.Gaussian(np.array([0.5, -1.0]), np.array([[2.0, 0.3], [0.3, 0.5]]))
    x = np.random.default_rng(0).normal(size=(5, 2))
    want = scipy.stats.multivariate_normal(gaussian.mean, gaussian.covariance).logpdf(x)
    np.testing.assert_allclose(gaussian.log_prob(x), want, rtol=1e-10)
    drawn = gaussian.draw(100_000, seed=0)
    np.testing.assert_allclose(drawn.mean(0), gaussian.mean, atol=0.02)
    np.testing.assert_allclose(np.cov(drawn.T), gaussian.covariance, atol=0.03)
