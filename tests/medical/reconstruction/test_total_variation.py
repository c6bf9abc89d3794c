"""Total variation and CG-SENSE against closed forms, optimality conditions and simulated scans."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.data.phantoms.brain import brain2d
from jaxgen.imaging.coils import simulated_coils
from jaxgen.imaging.fourier import from_complex, to_complex
from jaxgen.imaging.mri import mri_operator
from jaxgen.imaging.operators import LinearOperator
from jaxgen.imaging.sampling_masks import equispaced_mask
from jaxgen.medical.reconstruction.sense import cg_sense
from jaxgen.medical.reconstruction.total_variation import (
    _gradient,
    _gradient_adjoint,
    total_variation,
    total_variation_norm,
)
from jaxgen.metrics.image_quality import psnr

IDENTITY = LinearOperator(lambda x: x, lambda y: y)


def test_the_gradient_and_its_adjoint():
    rng = np.random.default_rng(0)
    for shape in ((2, 5, 4, 2), (1, 3, 4, 5, 1)):
        x = jnp.asarray(rng.normal(size=shape), jnp.float32)
        p = jnp.asarray(rng.normal(size=_gradient(x).shape), jnp.float32)
        np.testing.assert_allclose(jnp.vdot(_gradient(x), p), jnp.vdot(x, _gradient_adjoint(p)), rtol=1e-5)
        assert float(jnp.vdot(_gradient(x), _gradient(x)) / jnp.vdot(x, x)) < 4 * (len(shape) - 2)


def test_the_norm_is_isotropic_over_channels():
    """A ramp of slope (3, 4) has length 5 a pixel, and a turn of the phase changes nothing."""
    ramp = 3.0 * jnp.arange(6)[:, None] + 4.0 * jnp.arange(6)
    inner = jnp.sqrt(jnp.sum(_gradient(ramp[None, ..., None])[:, :, :-1, :-1] ** 2, (0, -1)))
    np.testing.assert_allclose(inner, 5, rtol=1e-5)
    z = to_complex(jax.random.normal(jax.random.key(0), (2, 6, 5, 2)))
    turned = from_complex(z * jnp.exp(0.7j))
    np.testing.assert_allclose(total_variation_norm(turned), total_variation_norm(from_complex(z)), rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_a_step_in_closed_form(scale):
    """Of two halves of height h each end moves by the weight over the half's width in pixels, in any units."""
    step = jnp.zeros((1, 6, 8, 1)).at[:, :, 3:].set(scale)
    found = total_variation(IDENTITY, step, 0.15 * scale, iterations=2000, squared_norm=1.0)[0, 0, :, 0]
    expected = scale * np.where(np.arange(8) < 3, 0.15 / 3, 1 - 0.15 / 5)
    np.testing.assert_allclose(found, expected, atol=1e-3 * scale)
    flat = total_variation(IDENTITY, step, 100.0 * scale, iterations=2000, squared_norm=1.0)
    np.testing.assert_allclose(flat, jnp.mean(step), atol=2e-3 * scale)


def test_denoising_agrees_with_scikit_image():
    restoration = pytest.importorskip("skimage.restoration")
    noisy = brain2d(0, 0, 32)["image"] + 0.1 * np.random.default_rng(0).normal(size=(32, 32, 1)).astype(np.float32)
    theirs = restoration.denoise_tv_chambolle(noisy[..., 0].astype(float), weight=0.1, eps=1e-12, max_num_iter=2000)
    ours = total_variation(IDENTITY, jnp.asarray(noisy)[None], 0.1, iterations=5000, squared_norm=1.0)
    np.testing.assert_allclose(ours[0, ..., 0], theirs, atol=2e-3)


def test_volumes_bounds_and_a_weight_an_example():
    volume = jnp.zeros((2, 4, 4, 4, 1)).at[:, :2].set(1.0) - 0.5
    weight = jnp.array([0.0, 0.2])
    found = total_variation(IDENTITY, volume, weight, iterations=1000, squared_norm=1.0)
    np.testing.assert_allclose(found[0], volume[0], atol=1e-4)
    np.testing.assert_allclose(found[1, :2], 0.5 - 0.2 / 2, atol=1e-3)
    bounded = total_variation(IDENTITY, volume, weight, iterations=1000, squared_norm=1.0, minimum=0.0)
    np.testing.assert_allclose(bounded[0], jnp.maximum(volume[0], 0), atol=1e-4)
    with pytest.raises(ValueError, match="iteration"):
        total_variation(IDENTITY, volume, 0.1, iterations=0)


def test_the_norm_of_the_operator_is_found_and_does_not_matter():
    x = jax.random.uniform(jax.random.key(0), (1, 8, 8, 1))
    loud = LinearOperator(lambda x: 30 * x, lambda y: 30 * y)
    solve = functools.partial(total_variation, iterations=1000)
    plain = solve(IDENTITY, x, 0.1, squared_norm=1.0)
    np.testing.assert_allclose(solve(loud, 30 * x, 900 * 0.1), plain, atol=1e-3)


@pytest.fixture(scope="module")
def scan():
    """Two heads at 3x, seen by one coil and by six; complex, in two channels."""
    heads = np.stack([brain2d(1, i, 48)["t1"] for i in range(2)])
    phase = jnp.exp(1j * (0.04 * jnp.arange(48)[:, None] + 0.03 * jnp.arange(48)))
    x = from_complex(heads[..., 0] * phase)
    mask = equispaced_mask(jax.random.key(0), (48, 48), 3)
    maps = simulated_coils(jax.random.key(1), (48, 48), 6, radius=1.2)
    return x, mri_operator(mask, channels=2), mri_operator(mask, maps, channels=2)


def quality(found, x):
    sizes = (jnp.abs(to_complex(z))[..., None] for z in (found, x))
    return float(jnp.mean(psnr(*sizes, data_range=1.0)))


def test_it_beats_the_zero_filled_image_and_solves_its_problem(scan):
    x, single, _ = scan
    y, weight = single.forward(x), 0.004

    def objective(z):
        left = single.forward(z) - y
        return float(jnp.sum(jnp.abs(left) ** 2) / 2 + weight * jnp.sum(total_variation_norm(z)))

    found = jax.jit(lambda y: total_variation(single, y, weight, squared_norm=1.0))(y)
    assert quality(found, x) > quality(single.adjoint(y), x) + 2
    # Near the least value: neither towards the truth nor towards the start does it get lower by much.
    least = objective(found)
    for number, way in enumerate([x - found, single.adjoint(y) - found]):
        for length in (1e-2, 1e-3):
            assert objective(found + length * way) > least * (1 - 1e-4), number


def test_cg_sense_unfolds_coils_and_only_those(scan):
    x, single, coils = scan
    y = coils.forward(x)
    found = jax.jit(functools.partial(cg_sense, coils, iterations=40))(y)
    assert quality(found, x) > quality(coils.adjoint(y), x) + 10
    np.testing.assert_allclose(coils.forward(found), y, atol=2e-3)
    alone = cg_sense(single, single.forward(x), iterations=10)
    np.testing.assert_allclose(alone, single.adjoint(single.forward(x)), atol=1e-5)


def test_the_weight_of_cg_sense_is_that_of_tikhonov(scan):
    _, single, _ = scan
    y = single.forward(scan[0])
    np.testing.assert_allclose(cg_sense(single, y, 0.25), single.adjoint(y) / 1.25, atol=1e-5)
