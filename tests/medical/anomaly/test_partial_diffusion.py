import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import draws, paths
from jaxgen.data.phantoms import LESIONS, brain2d
from jaxgen.families import diffusion_model
from jaxgen.imaging.noise import simplex_noise
from jaxgen.medical.anomaly.partial_diffusion import (
    coarse_covariance,
    make_coarse_noise,
    make_simplex_noise,
    partial_diffusion,
)
from jaxgen.mixtures import ideal_denoiser
from jaxgen.samplers import Sampling, ddim, ddpm, grids
from jaxgen.types import Net

PATH = paths.variance_preserving()
LAWS = {"white": draws.normal, "coarse": make_coarse_noise(4)}


@functools.cache
def phantoms():
    """Six lesioned brains of 32 pixels and their healthy twins, in [-1, 1]."""
    drawn = [brain2d(7, i, 32, contrast="t2", lesion=LESIONS["L1"]) for i in range(6)]
    return tuple(np.stack([2 * e[name] - 1 for e in drawn]) for name in ("image", "healthy"))


@pytest.mark.parametrize("path", [PATH, paths.cosine(), paths.rectified()], ids=["vp", "cosine", "rectified"])
def test_a_level_of_zero_gives_the_image_back_to_the_bit(path):
    x = jnp.asarray(phantoms()[0])
    run = jax.jit(
        lambda grid: partial_diffusion(ddim(path, 1.0), path, lambda x, t: 0.3 * x, jax.random.key(0), x, grid)
    )
    np.testing.assert_array_equal(run(grids.uniform(path, 3, start=path.t_data))[0], x)
    level = path.t_data + 0.2 * (path.t_noise - path.t_data)
    assert float(jnp.abs(run(grids.uniform(path, 3, start=level))[0] - x).max()) > 0.1


@pytest.mark.parametrize(("name", "eta"), [("white", 0.0), ("white", 1.0), ("coarse", 1.0)])
def test_with_the_ideal_healthy_prior_a_lesioned_brain_becomes_its_twin(name, eta):
    ill, well = phantoms()
    law = LAWS[name]
    healthy = ideal_denoiser(PATH, well)
    run = jax.jit(
        lambda key: partial_diffusion(
            ddim(PATH, eta, noise=law),
            PATH,
            healthy,
            key,
            jnp.asarray(ill),
            grids.uniform(PATH, 10, start=0.3),
            noise=law,
        )
    )
    assert np.abs(ill - well).max() > 0.5
    np.testing.assert_allclose(run(jax.random.key(0))[0], well, atol=1e-4)


def test_repeats_are_independent_draws_and_images_have_keys_of_their_own():
    x, grid = jnp.zeros((3, 8, 8, 1)), grids.uniform(PATH, 2, start=0.5)
    shrink = lambda x, t: 0.5 * x  # noqa: E731
    keys = jax.random.split(jax.random.key(1), 3)
    run = jax.jit(functools.partial(partial_diffusion, ddim(PATH, 1.0), PATH, shrink, grid=grid, repeats=40))
    many = np.asarray(run(keys, x))
    assert many.shape == (40, 3, 8, 8, 1)
    between = np.corrcoef(many.reshape(120, -1)) - np.eye(120)
    assert np.abs(between).max() < 6 / 8, "64 numbers each: a standard error of 1 / 8"
    turned = np.array([2, 0, 1])
    np.testing.assert_allclose(run(keys[turned], x[turned]), many[:, turned], rtol=1e-6)


def power(law, n=64, count=32):
    """The mean power of noise of n x n pixels at each frequency in cycles an image."""
    noise = jax.jit(lambda key: law(key, (count, n, n, 1)))(jax.random.key(3))[..., 0]
    spectrum = np.square(np.abs(np.fft.fft2(noise))).mean(0) / n**2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(n, 1 / n), np.fft.fftfreq(n, 1 / n)))
    return np.array([spectrum[(frequency >= k - 0.5) & (frequency < k + 0.5)].mean() for k in range(1, n // 2)])


def test_coarse_noise_has_no_power_above_half_a_cycle_a_cell():
    for cells in (8, 16):
        coarse = power(make_coarse_noise(cells))
        passed, stopped = coarse[: cells // 4], coarse[cells:]
        assert passed.min() > 10 * stopped.max()
        assert passed.min() > 1


def test_the_covariance_of_coarse_noise_is_that_of_its_draws():
    n, shape = 6000, (12, 9)
    drawn = np.asarray(make_coarse_noise(4)(jax.random.key(5), (n, *shape, 1)))
    v = np.random.default_rng(0).normal(size=(1, *shape, 1)).astype(np.float32)
    want = (drawn * (drawn * v).sum((1, 2, 3), keepdims=True)).mean(0)
    error = (drawn * (drawn * v).sum((1, 2, 3), keepdims=True)).std(0) / n**0.5
    found = np.asarray(coarse_covariance(4)(jnp.asarray(v)))[0]
    assert np.mean(np.square((found - want) / error)) < 2, "standard errors"
    assert np.abs(want).max() > 20 * error.max(), "the draws resolve it"


def test_laws_have_the_deviation_they_are_given():
    noise = LAWS["coarse"](jax.random.key(0), (256, 24, 40, 1))
    by_image = np.square(noise).mean((1, 2, 3))
    assert abs(by_image.mean() - 1) < 4 * by_image.std() / 16
    shape, key = (2, 8, 8, 1), jax.random.key(0)
    half, whole = jax.jit(lambda: (make_simplex_noise(std=0.5)(key, shape), simplex_noise(key, shape)))()
    np.testing.assert_allclose(half, 0.5 * whole, rtol=1e-6)


@pytest.mark.parametrize("make", [lambda law: ddim(PATH, 1.0, noise=law), lambda law: ddpm(PATH, noise=law)])
def test_ancestral_steps_draw_from_the_law(make):
    ones = lambda key, shape: jnp.ones(shape)  # noqa: E731
    x, t, s, key = jnp.full((1, 4, 4, 1), 0.7), jnp.array(0.6), jnp.array(0.4), jax.random.key(0)
    denoise = lambda x, t: 0.2 * x  # noqa: E731

    def moved(law):
        step = make(law)
        return step.step(denoise, key, step.init(x, None), t, s).x

    mean = moved(lambda key, shape: jnp.zeros(shape))
    q = PATH.sigma(s) * PATH.alpha(t) / (PATH.sigma(t) * PATH.alpha(s))
    np.testing.assert_allclose(moved(ones) - mean, PATH.sigma(s) * jnp.sqrt(1 - q**2), rtol=1e-5)
    np.testing.assert_array_equal(
        moved(draws.normal), make(draws.normal).step(denoise, key, make(ones).init(x, None), t, s).x
    )


def test_a_model_is_trained_and_drawn_on_the_law_it_is_given():
    seen = []

    def law(key, shape):
        seen.append(shape)
        return jnp.full(shape, 2.0)

    net = Net(lambda key, x, t: {}, lambda params, x, t, key=None: 0 * x)
    grid = grids.uniform(PATH, 2)
    model = diffusion_model(net, (4, 4, 1), Sampling(PATH, ddim(PATH), grid, "noise"), noise=law)
    loss, _ = model.objectives[0].loss(
        {"net": {}}, jax.random.split(jax.random.key(0), 3), {"image": jnp.zeros((3, 4, 4, 1))}
    )
    np.testing.assert_allclose(loss, 4.0)
    assert seen == [(3, 4, 4, 1)]
    model.sample({"net": {}}, jax.random.key(0), 2)
    assert seen[-1] == (2, 4, 4, 1)
