"""Translation between laws known in closed form, where every denoiser is exact and the right answer is a formula."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.data.phantoms import LESIONS, brain2d
from jaxgen.guidance import classifier, classifier_free
from jaxgen.medical.anomaly.counterfactual import classifier_free_pair, dynamic_normalisation, translate
from jaxgen.mixtures import gaussian, ideal_denoiser
from jaxgen.samplers import clip, grids
from jaxgen.schedules import linear_betas

D = 32
PATH = paths.discrete(linear_betas(1000))
COVARIANCE = 0.25 * 0.9 ** np.abs(np.subtract.outer(np.arange(D), np.arange(D)))
RNG = np.random.default_rng(0)
SHIFT = RNG.normal(size=D)
SOURCE, TARGET = gaussian(np.zeros(D), COVARIANCE), gaussian(SHIFT, COVARIANCE)
X = np.asarray(RNG.multivariate_normal(np.zeros(D), COVARIANCE, 64), np.float32)


@functools.cache
def carried(pair, steps):
    denoisers = {
        "same": (SOURCE.denoiser(PATH), SOURCE.denoiser(PATH)),
        "bridge": (SOURCE.denoiser(PATH), TARGET.denoiser(PATH)),
    }[pair]
    return np.asarray(jax.jit(lambda x: translate(PATH, *denoisers, x, grids.uniform(PATH, steps)))(X))


def rmse(a, b):
    return float(np.sqrt(np.mean(np.square(a - b))))


def test_encoding_and_decoding_alike_is_nearly_the_identity_and_of_order_one():
    errors = {steps: rmse(carried("same", steps), X) for steps in (125, 250, 500)}
    assert errors[250] < 1.5e-2
    slopes = -np.diff(np.log2(list(errors.values())))
    assert ((slopes > 0.8) & (slopes < 1.2)).all(), errors


@pytest.mark.parametrize(("steps", "most"), [(250, 0.06), (1000, 0.02)])
def test_a_bridge_of_two_normal_laws_moves_by_the_difference_of_their_means(steps, most):
    off = carried("bridge", steps) - (X + SHIFT)
    assert rmse(off, 0) / rmse(SHIFT, 0) < most


def test_iterations_make_the_round_trip_exact():
    denoise = SOURCE.denoiser(PATH)
    run = jax.jit(lambda x: translate(PATH, denoise, denoise, x, grids.uniform(PATH, 100), iterations=3))
    assert rmse(run(X), X) < 0.1 * rmse(carried("same", 125), X)


def test_guidance_without_a_classifier_moves_the_mean_by_its_scale():
    """With one covariance, u + w (c - u) is the exact denoiser of the mean m_u + w (m_c - m_u)."""
    scale = 3.0
    guided = classifier_free(TARGET.denoiser(PATH), SOURCE.denoiser(PATH), scale)
    shifted = gaussian(scale * SHIFT, COVARIANCE).denoiser(PATH)
    both = jax.jit(lambda x, t: (guided(x, t), shifted(x, t)))
    for t in (0.1, 0.5, 0.9):
        np.testing.assert_allclose(*both(X, jnp.float32(t)), atol=1e-3)
    run = jax.jit(lambda x: translate(PATH, SOURCE.denoiser(PATH), guided, x, grids.uniform(PATH, 250)))
    assert rmse(run(X), X + scale * SHIFT) / rmse(scale * SHIFT, 0) < 0.06


def test_a_classifier_of_the_two_laws_moves_the_mean_as_well():
    def log_ratio(x, t):
        return TARGET.noised(PATH, t).log_prob(x) - SOURCE.noised(PATH, t).log_prob(x)

    guided = classifier(SOURCE.denoiser(PATH), log_ratio, PATH, 1.0)
    run = jax.jit(lambda x: translate(PATH, SOURCE.denoiser(PATH), guided, x, grids.uniform(PATH, 250)))
    assert rmse(run(X), X + SHIFT) / rmse(SHIFT, 0) < 0.06


def test_the_pair_without_a_classifier_encodes_under_null_and_decodes_under_guidance():
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 1))

    def denoise(x, t, label):
        return 0.1 * x + label.reshape(-1, 1, 1, 1)

    target, null = jnp.zeros(2), jnp.full(2, 0.5)
    plain = classifier_free_pair(denoise, target, null, 3.0, normalise=lambda d: d)
    np.testing.assert_allclose(plain.encode(x, 0.5), 0.1 * x + 0.5, atol=1e-6)
    np.testing.assert_allclose(plain.decode(x, 0.5), 0.1 * x - 1.0, atol=1e-6)
    held = classifier_free_pair(denoise, target, null, 3.0)
    np.testing.assert_allclose(held.decode(x, 0.5), dynamic_normalisation(plain.decode)(x, 0.5), atol=1e-6)


def test_dynamic_normalisation_scales_where_clipping_saturates():
    x = jnp.linspace(-2, 2, 400).reshape(1, 20, 20, 1) * jnp.array([1.0, 0.3])
    got = dynamic_normalisation(lambda x, t: x)(x, 0.5)
    q = np.quantile(np.abs(x[..., 0]), 0.99)
    np.testing.assert_allclose(got[..., 0], np.clip(x[..., 0], -q, q) / q, rtol=1e-5)
    np.testing.assert_array_equal(got[..., 1], x[..., 1])
    saturated = clip(lambda x, t: x)(x, 0.5)
    assert (np.abs(got) == 1).mean() < 0.1 * (np.abs(saturated) == 1).mean()


def test_with_ideal_priors_the_counterfactual_of_a_lesioned_brain_is_its_twin():
    drawn = [brain2d(7, i, 32, contrast="t2", lesion=LESIONS["L4"]) for i in range(6)]
    ill, well = (np.stack([2 * e[name] - 1 for e in drawn]) for name in ("image", "healthy"))
    path = paths.variance_preserving()
    either, healthy = ideal_denoiser(path, np.concatenate([ill, well])), ideal_denoiser(path, well)
    grid = grids.uniform(path, 40, start=0.5)
    run = jax.jit(lambda x: translate(path, either, healthy, x, grid))
    np.testing.assert_allclose(run(ill), well, atol=1e-4)
    np.testing.assert_allclose(run(well), well, atol=1e-4)
    assert np.abs(ill - well).max() > 0.1
