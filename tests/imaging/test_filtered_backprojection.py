import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.imaging.fan_beam import fan_beam_geometry, fan_beam_operator
from jaxgen.imaging.filtered_backprojection import (
    cosine,
    filter_projections,
    filtered_backprojection,
    hann,
    ramp,
    shepp_logan,
)
from jaxgen.imaging.projection import Geometry, projection_operator
from jaxgen.imaging.radon import radon_operator
from jaxgen.imaging.views import angular_steps, ray_weights
from jaxgen.metrics import psnr
from tests.imaging.ellipses import Disc, draw

pytestmark = pytest.mark.thorough

SIZE = 64


def smooth(size=SIZE):
    """Three blurred blobs within the inscribed circle, largest value 1."""
    x, y = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
    blobs = [(0.0, 0.0, 0.35, 1.0), (0.35, -0.2, 0.12, 0.8), (-0.3, 0.3, 0.1, -0.5)]
    image = sum(w * np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * s**2)) for a, b, s, w in blobs)
    return jnp.asarray(image / image.max(), jnp.float32)[None, ..., None]


@pytest.mark.parametrize(
    ("size", "window", "least"),
    [(SIZE, ramp, 40), (65, ramp, 40), (SIZE, shepp_logan, 40), (SIZE, cosine, 35), (SIZE, hann, 35)],
)
def test_180_views_of_a_smooth_image(size, window, least):
    x, angles = smooth(size), np.arange(180) * np.pi / 180
    found = filtered_backprojection(radon_operator(size, angles).forward(x), angles, size, window=window)
    assert float(psnr(found, x, data_range=1.0)[0]) > least
    assert abs(float(jnp.mean(found - x))) < 2e-3, "a ramp sampled in frequency darkens the whole image"


def test_a_fan_over_a_full_circle():
    discs = sum(draw(Disc(20 * np.cos(a), 20 * np.sin(a), 6, 6), SIZE) for a in (0, 2, 4))
    x, angles = jnp.asarray(discs, jnp.float32)[None, ..., None], np.arange(240) * 2 * np.pi / 240
    sizes = {"source_distance": 110.0, "detector_distance": 60.0}
    sinogram = fan_beam_operator(SIZE, angles, **sizes).forward(x)
    found = filtered_backprojection(sinogram, angles, SIZE, geometry=fan_beam_geometry(**sizes))
    assert float(psnr(found, x, data_range=1.0)[0]) > 30
    as_if_parallel = filtered_backprojection(sinogram, angles, SIZE)
    assert float(psnr(as_if_parallel, x, data_range=1.0)[0]) < 22


@pytest.mark.parametrize("more", [0.0, 0.6])
def test_a_short_scan_is_as_right_as_a_full_circle(more):
    sizes = {"source_distance": 110.0, "detector_distance": 60.0}
    span = np.pi + 2 * np.arcsin(SIZE / np.sqrt(2) / 110) + more
    x, angles = smooth(), 1 + np.arange(160) * span / 160
    sinogram = fan_beam_operator(SIZE, angles, **sizes).forward(x)
    found = filtered_backprojection(sinogram, angles, SIZE, geometry=fan_beam_geometry(**sizes))
    assert float(psnr(found, x, data_range=1.0)[0]) > 50


def test_the_two_sides_of_a_ray_count_as_one():
    angles, gamma = np.deg2rad(np.arange(240.0)), np.deg2rad(np.array([-20.0, 0.0, 10.0]))
    weights = np.asarray(ray_weights(jnp.asarray(angles), jnp.asarray(gamma)))
    back = np.asarray(ray_weights(jnp.asarray(angles), jnp.asarray(-gamma)))
    # Of view 10: the other sides are views 150, 190 and 210.
    for k, other in enumerate((150, 190, 210)):
        assert weights[10, k] + back[other, k] == pytest.approx(1, abs=1e-5)
        assert 0 < weights[10, k] < 1
    np.testing.assert_allclose(weights[90, 1:], 1, atol=1e-6, err_msg="views 270 and 290 were not measured")
    np.testing.assert_allclose(ray_weights(jnp.asarray(np.deg2rad(np.arange(360.0))), jnp.asarray(gamma)), 0.5)


@pytest.mark.parametrize("spacing", [0.7, 1.5])
def test_other_distances_of_the_detectors(spacing):
    x, angles = smooth(), np.arange(120) * np.pi / 120
    sinogram = radon_operator(SIZE, angles, spacing=spacing).forward(x)
    found = filtered_backprojection(sinogram, angles, SIZE, geometry=Geometry(spacing=spacing))
    assert float(psnr(found, x, data_range=1.0)[0]) > 35


def test_views_in_any_order_over_any_turn_weigh_alike():
    x, angles = smooth(), np.arange(60) * np.pi / 60
    operator = radon_operator(SIZE, angles)
    expected = filtered_backprojection(operator.forward(x), angles, SIZE)
    mixed = np.random.default_rng(0).permutation(angles) - np.pi * (np.arange(60) % 3)
    found = filtered_backprojection(radon_operator(SIZE, mixed).forward(x), mixed, SIZE)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_steps_of_uneven_views_and_of_a_limited_angle():
    steps = angular_steps(jnp.array([0.0, 0.1, 0.4, 1.0]), 2.0)
    np.testing.assert_allclose(steps, [0.55, 0.2, 0.45, 0.8], atol=1e-6)
    np.testing.assert_allclose(angular_steps(jnp.arange(10) * 0.05), 0.05, rtol=1e-3)
    np.testing.assert_allclose(angular_steps(jnp.array([0.3])), [np.pi], rtol=1e-6)


def test_the_kernel_has_the_mean_of_a_ramp():
    impulse = jnp.zeros(513).at[256].set(1.0)
    kernel = filter_projections(impulse)
    assert abs(float(kernel.sum())) < 1e-3
    for window in (shepp_logan, cosine, hann):
        assert 0 < float(filter_projections(impulse, window)[256]) < 0.25


def test_batches_and_gradients():
    angles = np.arange(7) * np.pi / 7
    y = jax.random.normal(jax.random.key(0), (3, 7, 20))
    found = jax.jit(lambda y: filtered_backprojection(y, angles, 14))(y)
    assert found.shape == (3, 14, 14, 1)
    np.testing.assert_allclose(filtered_backprojection(y[1:2], angles, 14)[0], found[1], atol=1e-5)
    gradient = jax.jit(jax.grad(lambda y: jnp.sum(filtered_backprojection(y, angles, 14) ** 2)))(y)
    assert (np.abs(gradient).max((1, 2)) > 0).all()


@pytest.mark.parametrize(
    ("sinogram", "message"),
    [(jnp.zeros((1, 20, 7)), "7 angles"), (jnp.zeros((7, 20)), "7 angles"), (jnp.zeros((1, 7, 20), complex), "real")],
)
def test_sinograms_that_do_not_fit(sinogram, message):
    with pytest.raises(ValueError, match=message):
        filtered_backprojection(sinogram, np.arange(7.0), 14)


def _closed(start, stop, views):
    return np.linspace(start, stop, views)


def _golden(views):
    return np.arange(views) * np.pi * (np.sqrt(5) - 1) / 2


_RNG = np.random.default_rng(3)
_HALF = np.arange(90) * np.pi / 90
PARALLEL, FAN = 450, 540  # views of every scan, so that one program serves all of them
FULL_SCANS = {
    "half a turn, closed": (_closed(0, np.pi, PARALLEL), None),
    "one turn, closed": (_closed(0, 2 * np.pi, PARALLEL), None),
    "about zero, closed": (_closed(-np.pi, np.pi, PARALLEL), None),
    "two turns": (_closed(0, 4 * np.pi, PARALLEL + 1)[:-1], None),
    "0 to 399 degrees": (np.deg2rad(np.arange(PARALLEL) * 8 / 9), None),
    "0 to 399 degrees, in steps that do not meet again": (np.deg2rad(np.arange(PARALLEL) * 0.8864), None),
    "each view twice": (np.repeat(_closed(0, np.pi, 226)[:-1], 2), None),
    "views repeated at random": (np.concatenate([_HALF, _RNG.choice(_HALF, PARALLEL - 90)]), None),
    "five turns, each a little off": (np.tile(_HALF, 5) + 1e-4 * _RNG.standard_normal(PARALLEL), None),
    "shuffled": (_RNG.permutation(_closed(0, 2 * np.pi, PARALLEL)), None),
    "golden angle": (_golden(PARALLEL), None),
    "dense here and coarse there": (np.r_[_closed(0, 0.4, 395)[:-1], 0.4 + _closed(0, np.pi - 0.4, 57)[:-1]], None),
    "fan, closed": (_closed(0, 2 * np.pi, FAN), 120.0),
    "fan, two turns, closed": (_closed(-2 * np.pi, 2 * np.pi, FAN), 120.0),
    "fan, three turns": (_closed(0, 6 * np.pi, FAN + 1)[:-1], 120.0),
    "fan, 0 to 399 degrees": (np.deg2rad(np.arange(FAN) * 20 / 27), 120.0),
    "fan, a short scan there and back": (np.r_[_closed(0, 4.1, FAN // 2), _closed(4.1, 0, FAN // 2)], 120.0),
    "fan, golden angle": (2 * _golden(FAN), 120.0),
}


@functools.partial(jax.jit, static_argnums=2)
def there_and_back(x, angles, far):
    geometry = Geometry() if far is None else fan_beam_geometry(far)
    sinogram = projection_operator(geometry, x.shape[1], angles).forward(x)
    return filtered_backprojection(sinogram, angles, x.shape[1], geometry=geometry)


@pytest.mark.parametrize("name", FULL_SCANS)
def test_views_that_come_again_count_as_often_as_they_were_measured(name):
    angles, far = FULL_SCANS[name]
    assert len(angles) == (PARALLEL if far is None else FAN)
    x = smooth(48)
    found = there_and_back(x, jnp.asarray(angles, jnp.float32), far)
    assert float(psnr(found, x, data_range=1.0)[0]) > 35
    assert abs(float(jnp.mean(found) / jnp.mean(x)) - 1) < 0.01


def test_views_at_one_angle_share_its_step():
    steps = angular_steps(jnp.array([0.0, 1.0, 1.0 + np.pi, 2.0, 1.0 - np.pi, 2.0 - 5 * np.pi]))
    np.testing.assert_allclose(
        steps, [(np.pi - 1) / 2, 1 / 3, 1 / 3, (np.pi - 1) / 4, 1 / 3, (np.pi - 1) / 4], atol=1e-5
    )
    for angles in (np.zeros(5), 2 * np.pi * np.arange(4), np.array([1e-7, -1e-7, np.pi])):
        np.testing.assert_allclose(angular_steps(jnp.asarray(angles)), np.pi / len(angles), rtol=1e-5)


@pytest.mark.parametrize("views", [1, 2, 3, 20])
@pytest.mark.parametrize("turns", [1, 3])
@pytest.mark.parametrize("period", [np.pi, 2 * np.pi])
def test_views_at_the_ends_of_an_arc_weigh_no_more_than_the_others(views, turns, period):
    """An arc of a sixth of the circle, measured once or thrice: the part that was not measured is nobody's."""
    arc = np.tile(np.arange(views) * period / 6 / views, turns) + period * np.repeat(np.arange(turns), views)
    steps = np.asarray(angular_steps(jnp.asarray(arc, jnp.float32), period))
    expected = period / views if views < 3 else period / 6 / views
    np.testing.assert_allclose(steps, expected / turns, rtol=1e-3)
    weights = np.asarray(ray_weights(jnp.asarray(arc, jnp.float32), jnp.array([-0.2, 0.0, 0.2])))
    assert np.isfinite(weights).all()
    assert (weights >= 0).all()
    assert (weights <= 1).all()
