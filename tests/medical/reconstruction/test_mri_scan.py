"""Scans of MRI: what they say of images in [-1, 1], and what of k-space is found out without being told."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.data import phantoms
from jaxgen.imaging.coils import calibration_size, combine_coils, low_resolution_coils, simulated_coils
from jaxgen.imaging.fourier import centred_fft2, centred_ifft2
from jaxgen.imaging.mri import zero_filled
from jaxgen.imaging.sampling_masks import random_mask
from jaxgen.medical.reconstruction.mri_scan import (
    magnitude,
    mri_system,
    receive,
    simulate_coils,
    simulate_real,
)


def scan_of(height, width, coils):
    """A blob with a smooth phase, seen by coils: its k-space ``[h, w, coils]``."""
    rows, columns = np.indices((height, width))
    image = np.exp(-(((rows - height // 2) / 4) ** 2) - ((columns - width // 2) / 3) ** 2 + 0.1j * rows)
    maps = simulated_coils(jax.random.key(0), (height, width), coils)
    return np.asarray(centred_fft2(maps[None] * image[None, ..., None]))[0]


def test_what_the_prior_is_asked_for_is_what_was_measured():
    """A x = 2 y - A 1 holds for the truth itself; and what stays imaginary is small."""
    x = np.linspace(-1, 1, 16 * 16, dtype=np.float32).reshape(1, 16, 16, 1)
    keys = jax.random.split(jax.random.key(0), 1)
    real = simulate_real(keys, x, "random", 4)
    operator, target = mri_system(real)
    np.testing.assert_allclose(operator.forward(x), target, atol=1e-4)
    scan = simulate_coils(keys, x, "random", 1, 3, 0.5)
    z = combine_coils(centred_ifft2(scan.y), scan.maps)
    found = jnp.stack([2 * jnp.real(z) - 1, 2 * jnp.imag(z)], -1)
    operator, target = mri_system(scan)
    np.testing.assert_allclose(operator.forward(found), target, atol=1e-4)
    np.testing.assert_allclose(magnitude(found), (x + 1) / 2, atol=1e-5)
    np.testing.assert_allclose(zero_filled(scan.y, scan.maps), (x + 1) / 2, atol=1e-5)
    assert jnp.mean(jnp.abs(jnp.imag(z))) < 0.02 * jnp.mean(jnp.abs(z)), "what stays imaginary is small"


@pytest.mark.parametrize(("kind", "columns"), [("random", True), ("equispaced", True), ("poisson", False)])
def test_a_scan_knows_whether_its_columns_are_whole(kind, columns):
    x = np.zeros((2, 16, 16, 1), np.float32)
    assert simulate_real(jax.random.split(jax.random.key(0), 2), x, kind, 2).columns == columns


def test_k_space_of_a_person_comes_with_its_range_and_its_noise():
    rng = np.random.default_rng(0)
    clean = 50 * scan_of(64, 48, 4)
    spread = 0.02 * np.abs(clean).max()
    noisy = clean + spread * (rng.normal(size=clean.shape) + 1j * rng.normal(size=clean.shape))
    brightest = np.abs(combine_coils(centred_ifft2(clean[None]), simulated_coils(jax.random.key(0), (64, 48), 4))).max()
    received = receive(noisy.astype(np.complex64))
    assert 0.8 < received.scale / brightest < 1.25
    assert received.noise * received.scale == pytest.approx(spread, rel=0.15)
    assert receive(clean.astype(np.complex64)).noise < 0.01 * received.noise


def agreement(maps, others, image):
    """``|sum_c conj(S_c) T_c|``, the mean where the image is bright: 1 if they differ in a phase alone."""
    return float(np.abs(np.sum(np.conj(maps) * others, -1))[image > 0.1].mean())


@pytest.mark.thorough
def test_coils_from_few_lines_are_nearer_than_images_of_low_resolution():
    wrong = {"received": 0.0, "low resolution": 0.0}
    for n in range(2):
        image = phantoms.brain2d(5, n, 64)["image"].reshape(64, 64)
        maps = np.asarray(simulated_coils(jax.random.key(n), (64, 64), 8))
        mask = np.asarray(random_mask(jax.random.key(n), (64, 64), 4))
        kspace = np.asarray(centred_fft2((maps * image[..., None])[None]))[0] * mask[..., None]
        height, width = calibration_size(mask)
        low = np.asarray(low_resolution_coils(kspace[None], (min(height, 32), width)))[0]
        wrong["received"] += 1 - agreement(maps, receive(kspace).scan.maps[0], image)
        wrong["low resolution"] += 1 - agreement(maps, low, image)
    assert wrong["received"] < 0.8 * wrong["low resolution"]


@pytest.mark.thorough
def test_settings_for_a_scanner_are_chosen_with_estimated_coils():
    x = 2 * phantoms.brain2d(5, 0, 64)["image"].reshape(1, 64, 64, 1) - 1
    measure = functools.partial(simulate_coils, jax.random.split(jax.random.key(0), 1), x, "random", 4, 8, 1.0)
    known, estimated = measure(), measure(0.0)
    np.testing.assert_array_equal(known.y, estimated.y)
    assert 0.98 < agreement(known.maps[0], estimated.maps[0], (x[0, ..., 0] + 1) / 2) < 0.9999
    assert np.abs(measure(0.01).y - known.y)[known.y != 0].std() == pytest.approx(
        0.01 * np.sqrt(2 - np.pi / 2), rel=0.1
    )
