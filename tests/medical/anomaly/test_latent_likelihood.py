import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import draws, paths
from jaxgen.losses.variational import step_bound
from jaxgen.medical.anomaly import latent_likelihood as latent
from jaxgen.mixtures import ideal_denoiser
from jaxgen.samplers import ddim, grids
from jaxgen.schedules import linear_betas

PATH = paths.discrete(linear_betas(1000))
Z = jax.random.normal(jax.random.key(0), (3, 4, 4, 2))


def shrink(z, t):
    return 0.4 * z


def test_the_divergence_is_that_of_two_normal_laws():
    """Against the textbook's formula of KL in one dimension, from the chain's own means and variance, in float64."""
    times, key = np.array([0.4, 0.55]), jax.random.key(1)
    found = jax.jit(lambda z: latent.latent_divergence(PATH, shrink, key, z, times))(Z)
    assert found.shape == (2, 3, 4, 4)
    betas = linear_betas(1000).astype(float)
    kept = np.cumprod(1 - betas)
    for divergence, t, noise_key in zip(found, times, draws.split(key, 2), strict=True):
        i = round(t * 1000) - 1
        z, noise = np.asarray(Z, float), np.asarray(draws.normal(noise_key, Z.shape), float)
        z_t = np.sqrt(kept[i]) * z + np.sqrt(1 - kept[i]) * noise

        def mean(z0, i=i, z_t=z_t):
            a, b = np.sqrt(kept[i - 1]) * betas[i], np.sqrt(1 - betas[i]) * (1 - kept[i - 1])
            return (a * z0 + b * z_t) / (1 - kept[i])

        variance = betas[i] * (1 - kept[i - 1]) / (1 - kept[i])
        want = ((mean(z) - mean(0.4 * z_t)) ** 2 / (2 * variance)).sum(-1)
        np.testing.assert_allclose(divergence, want, rtol=2e-3)  # betas as differences of float32 alphas
    # And, on a path in continuous time where nothing cancels, the library's own bound.
    path, t = paths.cosine(), jnp.float32(0.5)
    (ours,) = latent.latent_divergence(path, shrink, key, Z, jnp.array([t]), spacing=0.125)
    z_t = paths.perturb(path, Z, draws.normal(draws.split(key, 1)[0], Z.shape), t)
    bound = step_bound(path, Z, shrink(z_t, t), t, jnp.float32(0.375), bins=None)
    np.testing.assert_allclose(ours.sum((1, 2)), bound, rtol=1e-5)


def test_times_in_parts_are_the_same():
    times, key = np.linspace(0.3, 0.7, 5), jax.random.key(1)
    run = lambda n: latent.latent_divergence(PATH, shrink, key, Z, times, at_once=n)  # noqa: E731
    np.testing.assert_allclose(jax.jit(run, static_argnums=0)(2), jax.jit(run, static_argnums=0)(None), rtol=1e-5)


def test_healthy_codes_exceed_the_threshold_as_often_as_asked():
    rng = np.random.default_rng(0)
    scale = np.array([1.0, 100.0])[:, None, None, None]
    usual, new = scale * rng.exponential(size=(2, 2, 2000, 3, 3))
    healthy = latent.calibrate(usual, percentile=90.0)
    score, mask = latent.unlikely(new, healthy)
    assert abs(mask.mean() - 0.1) < 4 * np.sqrt(2 * 0.09 / 18_000)
    # Both times count alike, whatever their scale.
    corr = [np.corrcoef(score.ravel(), part.ravel())[0, 1] for part in new]
    assert abs(corr[0] - corr[1]) < 0.05
    ill = new.copy()
    ill[:, :, 1, 1] *= 8
    assert latent.unlikely(ill, healthy)[1][:, 1, 1].mean() > 0.7


@functools.cache
def healed():
    """Codes with one place wrong, healed there, nowhere, and everywhere, by the ideal denoiser of the right codes."""
    path = paths.cosine()
    right = np.asarray(jax.random.normal(jax.random.key(2), (5, 4, 4, 2)))
    wrong = right.copy()
    wrong[:, 1, 2] += 2.0
    grid, denoise = grids.uniform(path, 20, start=0.5), ideal_denoiser(path, right)
    run = jax.jit(lambda mask: latent.heal(ddim(path, 1.0), path, denoise, jax.random.key(3), wrong, mask, grid))
    spot = np.zeros((5, 4, 4))
    spot[:, 1, 2] = 1
    return right, wrong, *(np.asarray(run(mask)) for mask in (spot, 0 * spot, 0 * spot + 1))


def test_healing_nothing_gives_the_code_back_to_the_bit():
    _, wrong, _, nothing, _ = healed()
    np.testing.assert_array_equal(nothing, wrong)


def test_healing_a_place_gives_what_the_rest_asks_for():
    right, wrong, spot, _, everything = healed()
    kept = np.ones((4, 4), bool)
    kept[1, 2] = False
    np.testing.assert_array_equal(spot[:, kept], wrong[:, kept])
    np.testing.assert_allclose(spot, right, atol=1e-4)
    np.testing.assert_allclose(everything, right, atol=1e-4)


def test_a_gate_lets_the_residual_through_where_it_was_healed():
    residual = np.ones((1, 16, 16))
    mask = np.zeros((1, 4, 4))
    assert (latent.gated_residual(residual, mask) == 0).all()
    mask[0, 1, 1] = 1
    gated = latent.gated_residual(residual, mask, std=1.0)
    assert np.unravel_index(gated.argmax(), gated.shape)[1:] in {(i, j) for i in (5, 6) for j in (5, 6)}
    assert gated[0, 12:].max() < 1e-3
    assert gated.sum() == pytest.approx(16, rel=1e-3), "linear enlargement keeps the area"
