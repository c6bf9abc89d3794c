import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.metrics.diversity import pairwise_similarity
from jaxgen.metrics.image_quality import WEIGHTS, clipped_psnr, ms_ssim, psnr, slice_jumps, ssim

metrics = pytest.importorskip("skimage.metrics")
RNG = np.random.default_rng(0)


def pair(*shape):
    """A smooth image and a noisy version of it, about 0 to 1."""
    waves = sum(np.sin(g / 3 + i) for i, g in enumerate(np.indices(shape[:-1])))
    x = (waves[..., None] / (2 * (len(shape) - 1)) + 0.5) * np.linspace(0.5, 1, shape[-1])
    return x.astype(np.float32), (x + 0.1 * RNG.normal(size=shape)).astype(np.float32)


@pytest.mark.parametrize("shape", [(24, 31, 1), (20, 20, 3), (14, 13, 15, 1)])
def test_against_scikit_image(shape):
    x, y = pair(*shape)
    theirs = metrics.structural_similarity(
        x, y, data_range=1.5, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    np.testing.assert_allclose(ssim(x[None], y[None], data_range=1.5), [theirs], rtol=1e-5)
    theirs = metrics.peak_signal_noise_ratio(x, y, data_range=1.5)
    np.testing.assert_allclose(psnr(x[None], y[None], data_range=1.5), [theirs], rtol=1e-5)


def test_far_from_zero_no_digits_are_lost():
    x, y = pair(24, 24, 1)
    theirs = metrics.structural_similarity(
        x[..., 0].astype(np.float64) + 1000,
        y[..., 0].astype(np.float64) + 1000,
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    np.testing.assert_allclose(ssim(x[None] + 1000, y[None] + 1000, data_range=1), [theirs], rtol=2e-3)


def test_one_scale_of_ms_ssim_is_ssim():
    x, y = (a[None] for a in pair(20, 20, 1))
    one = ms_ssim(x, y, data_range=1, weights=(1.0,))
    np.testing.assert_allclose(one, ssim(x, y, data_range=1), rtol=1e-6)


def test_the_scales_are_means_of_blocks():
    """A constant offset leaves contrast and structure alone: only luminance at the coarsest scale speaks."""
    x = np.full((1, 48, 48, 1), 0.6, np.float32)
    c1 = 0.01**2
    luminance = (2 * 0.6 * 0.3 + c1) / (0.6**2 + 0.3**2 + c1)
    weight = WEIGHTS[2] / sum(WEIGHTS[:3])
    np.testing.assert_allclose(ms_ssim(x, x / 2, data_range=1), [luminance**weight], rtol=1e-5)
    np.testing.assert_allclose(ms_ssim(x, x / 2, data_range=1, weights=(0.2, 0.8)), [luminance**0.8], rtol=1e-5)
    # a chessboard vanishes after halving, so only the finest scale sees that it was turned round
    board = 0.2 * (-1.0) ** np.indices((24, 24)).sum(0)[None, ..., None]
    structure = (-2 * 0.2**2 + 0.03**2) / (2 * 0.2**2 + 0.03**2)
    assert structure < 0
    np.testing.assert_allclose(ms_ssim(0.5 + board, 0.5 - board, data_range=1, weights=(0.5, 0.5)), [0], atol=1e-6)
    faint = 0.001 * board
    structure = (-2 * 0.0002**2 + 0.03**2) / (2 * 0.0002**2 + 0.03**2)
    found = ms_ssim(0.5 + faint, 0.5 - faint, data_range=1, weights=(0.5, 0.5))
    np.testing.assert_allclose(found, [structure**0.5], rtol=1e-5)


def test_jit_examples_apart_and_bfloat16():
    x, y = pair(28, 24, 2)
    both, other = np.stack([x, y]), np.stack([y, y])
    for metric in (psnr, functools.partial(ms_ssim, weights=(1.0,))):
        found = jax.jit(functools.partial(metric, data_range=1.0))(both, other)
        assert found.shape == (2,)
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found[0], metric(x[None], y[None], data_range=1.0)[0], rtol=1e-5)
        low = metric(jnp.asarray(both, jnp.bfloat16), jnp.asarray(other, jnp.bfloat16), data_range=1.0)
        assert low.dtype == jnp.float32
        np.testing.assert_allclose(low[0], found[0], rtol=0.05)
    assert np.isinf(psnr(y[None], y[None], data_range=1.0)).all()


def test_bad_shapes():
    x = jnp.zeros((1, 10, 20, 1))
    with pytest.raises(ValueError, match="window of 11"):
        ssim(x, x, data_range=1)
    with pytest.raises(ValueError, match="one shape"):
        psnr(x, x[:, :9], data_range=1)


def test_diversity_of_noise_and_of_copies():
    copies = np.repeat(pair(16, 16, 1)[0][None], 9, axis=0)
    assert pairwise_similarity(copies, data_range=1.0) == (1.0, 0.0)
    noise = RNG.normal(size=(60, 16, 16, 1)).astype(np.float32)
    found = pairwise_similarity(noise, data_range=1.0, batch=7)
    assert found.value < 0.2
    whole = pairwise_similarity(noise, data_range=1.0, batch=100)
    np.testing.assert_allclose(found, whole, rtol=1e-5)
    assert pairwise_similarity(noise, data_range=1.0, most=5).standard_error > whole.standard_error
    mixed = np.concatenate([np.repeat(copies[:1], 20, axis=0), noise[:20]])
    assert found.value < pairwise_similarity(mixed, data_range=1.0).value < 1
    with pytest.raises(ValueError, match="four images"):
        pairwise_similarity(noise[:3], data_range=1.0)


def test_psnr_by_hand_and_where_pixels_count():
    truth = np.zeros((2, 4, 4, 1))
    x = truth + 0.2
    assert clipped_psnr(x, truth) == pytest.approx(20)
    x[:, :2] = 0.02
    half = np.zeros((4, 4, 1))
    half[:2] = 1
    assert clipped_psnr(x, truth, half) == pytest.approx(40)
    assert clipped_psnr(truth + 5, truth + 1) == pytest.approx(10 * np.log10(4e10)), "values are cut to [-1, 1]"
    x[0, 0, 0] = np.nan
    assert np.isnan(clipped_psnr(x, truth))


def test_jumps_between_slices_are_relative_to_the_reference_and_of_one_axis():
    reference = RNG.normal(size=(2, 6, 5, 4, 1)).astype(np.float32)
    x = 2 * reference + np.arange(6, dtype=np.float32)[:, None, None, None]
    np.testing.assert_allclose(slice_jumps(x, reference, 1), 2, rtol=1e-5)
    np.testing.assert_allclose(slice_jumps(x, reference, 2), 2, rtol=1e-5)
    own = np.abs(np.diff(x, axis=1)).sum((1, 2, 3, 4)) / np.abs(np.diff(reference, axis=1)).sum((1, 2, 3, 4))
    np.testing.assert_allclose(slice_jumps(x, reference, 0), own, rtol=1e-5)
    assert np.all(slice_jumps(reference[:, ::2].repeat(2, 1), reference, 0) < 1), "repeated slices jump less"
