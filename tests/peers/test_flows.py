"""Monotonic transforms with the peers' parameters: the peers' numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.bijections import affine, rational_quadratic

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

BINS, BOUND = 8, 3.0
RNG = np.random.default_rng(0)
THETA = RNG.normal(size=(200, 3 * BINS - 1, 1)) * 1.5
X = RNG.uniform(-1.3 * BOUND, 1.3 * BOUND, (200, 1))


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def assert_equal(ours, theirs):
    for own, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(own, other.detach().numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("inverse", [False, True])
def test_the_spline_is_normflows_(inverse):
    splines = pytest.importorskip("normflows.utils.splines")
    peer = torch.from_numpy(np.moveaxis(THETA, 1, 2).copy())
    parts = peer[..., :BINS], peer[..., BINS : 2 * BINS], peer[..., 2 * BINS :]
    theirs = splines.unconstrained_rational_quadratic_spline(
        torch.from_numpy(X), *parts, inverse=inverse, tail_bound=BOUND
    )
    # Our slopes are measured from 1, so that zero is the identity.
    theta = jnp.asarray(THETA).at[:, 2 * BINS :].add(-np.log(np.expm1(1 - 1e-3)))
    spline = rational_quadratic(BINS, BOUND)
    assert_equal((spline.inverse if inverse else spline.forward)(theta, jnp.asarray(X)), theirs)


@pytest.mark.parametrize("inverse", [False, True])
def test_the_spline_is_zuko_s(inverse):
    transforms = pytest.importorskip("zuko.transforms")
    peer = torch.from_numpy(np.moveaxis(THETA, 1, 2).copy())
    made = transforms.MonotonicRQSTransform(
        peer[..., :BINS], peer[..., BINS : 2 * BINS], peer[..., 2 * BINS :], bound=BOUND
    )
    theirs = (made.inv if inverse else made).call_and_ladj(torch.from_numpy(X))
    # Zuko clamps its parameters softly, has no least bin, and makes slopes by exp.
    soft, limit = THETA.copy(), abs(np.log(1e-3))
    soft[:, : 2 * BINS] /= 1 + np.abs(2 * soft[:, : 2 * BINS] / limit)
    soft[:, 2 * BINS :] /= 1 + np.abs(soft[:, 2 * BINS :] / limit)
    soft[:, 2 * BINS :] = np.log(np.expm1(np.exp(soft[:, 2 * BINS :]))) - np.log(np.expm1(1))
    spline = rational_quadratic(BINS, BOUND, min_size=0.0, min_slope=0.0)
    ours = (spline.inverse if inverse else spline.forward)(jnp.asarray(soft), jnp.asarray(X))
    # It takes log-slopes at the point it found rather than in closed form.
    assert_equal(ours, theirs)


@pytest.mark.parametrize("inverse", [False, True])
def test_the_affine_transform_is_zuko_s(inverse):
    transforms = pytest.importorskip("zuko.transforms")
    shift, scale = (torch.from_numpy(THETA[:, i].copy()) for i in (0, 1))
    made = transforms.MonotonicAffineTransform(shift, scale, slope=1e-3)
    theirs = (made.inv if inverse else made).call_and_ladj(torch.from_numpy(X))
    transform = affine(bound=-np.log(1e-3))
    ours = (transform.inverse if inverse else transform.forward)(jnp.asarray(THETA[:, :2]), jnp.asarray(X))
    assert_equal(ours, theirs)
