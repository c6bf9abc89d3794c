import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.data.phantoms.brain import brain2d
from jaxgen.imaging.coils import (
    calibration_region,
    calibration_size,
    combine_coils,
    espirit,
    low_resolution_coils,
    normalise_coils,
    root_sum_of_squares,
    simulated_coils,
)
from jaxgen.imaging.fourier import centred_fft2, centred_ifft2

HEIGHT, WIDTH, COILS = 45, 40, 6


@pytest.fixture(scope="module")
def scan():
    """Two heads under simulated coils, with a smooth phase: images, sensitivities and k-space, of odd height."""
    heads = np.stack([brain2d(0, i, 48)["t1"][..., 0][1:46, 4:44] for i in range(2)])
    heads = heads - heads.min()
    phase = np.exp(1j * (0.05 * np.arange(HEIGHT)[:, None] - 0.03 * np.arange(WIDTH)))
    images = jnp.asarray(heads * phase, jnp.complex64)
    maps = simulated_coils(jax.random.key(1), (HEIGHT, WIDTH), COILS)
    return images, maps, centred_fft2(maps * images[..., None])


def test_simulated_coils_are_normalised_and_smooth(scan):
    images, maps, _ = scan
    assert maps.dtype == jnp.complex64
    np.testing.assert_allclose(root_sum_of_squares(maps), 1, rtol=1e-5)
    seen = np.asarray(jnp.abs(images[0])) > 0.15
    assert np.abs(np.diff(np.asarray(maps), axis=0))[seen[1:]].max() < 0.1
    peaks = {np.unravel_index(np.abs(maps[..., c]).argmax(), (HEIGHT, WIDTH)) for c in range(COILS)}
    assert len(peaks) == COILS, "each coil sees another place best"


def agreement(found, maps):
    """``|<S_found, S>|`` at each pixel: 1 where they are equal up to phase."""
    return np.abs(np.sum(np.conj(found) * np.asarray(maps), -1))


@pytest.mark.parametrize("size", [(20, 20), (HEIGHT, 14)])
def test_espirit_recovers_the_coils_up_to_phase(scan, size):
    images, maps, kspace = scan
    program = jax.jit(functools.partial(espirit, size=size, kernel=5))
    found = np.asarray(program(kspace))
    assert found.shape == kspace.shape
    seen = np.asarray(jnp.abs(images)) > 0.15
    match = agreement(found, maps)
    assert match[seen].min() > 0.99
    assert match[seen].mean() > 0.9995
    strength = np.asarray(root_sum_of_squares(jnp.asarray(found)))
    np.testing.assert_allclose(strength[strength > 0], 1, rtol=1e-4)
    assert (strength[~seen] == 0).mean() > 0.5, "far from the head there is no sensitivity"


def test_only_the_calibration_region_counts(scan):
    _, _, kspace = scan
    size = (16, 16)
    alone = jnp.zeros_like(kspace).at[:, 22 - 8 : 22 + 8, 20 - 8 : 20 + 8].set(calibration_region(kspace, size))
    for estimate in (functools.partial(espirit, kernel=4), low_resolution_coils):
        np.testing.assert_array_equal(estimate(kspace, size=size), estimate(alone, size=size))


def test_low_resolution_coils(scan):
    images, maps, kspace = scan
    found = np.asarray(low_resolution_coils(kspace, (20, 20)))
    seen = np.asarray(jnp.abs(images)) > 0.15
    assert agreement(found, maps)[seen].mean() > 0.998
    # They carry the phase of the image: what is left is nearly real and positive.
    left = np.asarray(combine_coils(centred_ifft2(kspace), jnp.asarray(found)))[seen]
    assert np.abs(np.angle(left)).max() < 0.2


def test_combining_undoes_the_coils(scan):
    images, maps, kspace = scan
    np.testing.assert_allclose(combine_coils(centred_ifft2(kspace), maps), images, atol=1e-5)
    np.testing.assert_allclose(root_sum_of_squares(centred_ifft2(kspace)), jnp.abs(images), atol=1e-5)
    assert not np.isnan(normalise_coils(jnp.zeros((2, 3)))).any()
    slope = jax.grad(lambda s: jnp.sum(normalise_coils(s)))(jnp.ones((2, 3)))
    assert np.isfinite(slope).all()


@pytest.mark.parametrize(("lines", "expected"), [((16, 25), (30, 9)), ((20, 21), (30, 1)), ((0, 8), (0, 0))])
def test_the_size_of_the_calibration_region(lines, expected):
    mask = np.zeros((30, 41))
    mask[:, slice(*lines)] = 1
    mask[:, ::7] = np.maximum(mask[:, ::7], 0)
    assert calibration_size(mask) == expected
    height, width = calibration_size(mask.T)
    assert (width, height) == expected


def test_the_calibration_region_of_an_odd_square():
    mask = np.zeros((31, 30))
    mask[15 - 3 : 15 + 4, 15 - 3 : 15 + 4] = 1
    assert calibration_size(mask) == (7, 7)
    part = calibration_region(jnp.asarray(mask)[None, ..., None], (7, 7))
    assert part.shape == (1, 7, 7, 1)
    assert float(part.min()) == 1


def test_what_does_not_fit_is_refused(scan):
    kspace = scan[2]
    with pytest.raises(ValueError, match="does not fit"):
        calibration_region(kspace, (50, 10))
    with pytest.raises(ValueError, match="kernel"):
        espirit(kspace, (4, 20))
    with pytest.raises(ValueError, match="at least one coil"):
        simulated_coils(jax.random.key(0), (8, 8), 0)
    with pytest.raises(ValueError, match="mask"):
        calibration_size(np.ones((2, 3, 4)))
