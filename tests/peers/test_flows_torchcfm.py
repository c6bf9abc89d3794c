"""Bridges and paths beside torchcfm's, on the same pairs, noise and times."""

import numpy as np
import pytest

from jaxgen import paths
from jaxgen.losses import interpolants

torch = pytest.importorskip("torch")
peer = pytest.importorskip("torchcfm.conditional_flow_matching")
pytestmark = pytest.mark.peers


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    start, end, z = rng.normal(size=(3, 6, 2, 3)).astype(np.float32)
    return start, end, z, rng.uniform(0.05, 0.95, 6).astype(np.float32)


def test_brownian_bridges_are_those_of_the_schrodinger_bridge_matcher(data):
    start, end, z, t = data
    matcher = peer.SchrodingerBridgeConditionalFlowMatcher(sigma=0.6)
    start_, end_, z_, t_ = (torch.tensor(a) for a in data)
    x_t = matcher.sample_xt(start_, end_, t_, z_)
    bridge = interpolants.brownian(0.6)
    np.testing.assert_allclose(interpolants.interpolate(bridge, start, end, z, t), x_t.numpy(), rtol=1e-5, atol=1e-6)
    velocity = matcher.compute_conditional_flow(start_, end_, t_, x_t)
    ours = interpolants.drift(bridge, end - start, z, t)
    np.testing.assert_allclose(ours, velocity.numpy(), rtol=1e-4, atol=1e-5)


def test_straight_bridges_are_those_of_the_plain_matcher(data):
    start, end, z, t = data
    matcher = peer.ConditionalFlowMatcher(sigma=0.0)
    start_, end_, z_, t_ = (torch.tensor(a) for a in data)
    x_t = matcher.sample_xt(start_, end_, t_, z_)
    np.testing.assert_allclose(
        interpolants.interpolate(interpolants.linear(), start, end, z, t), x_t.numpy(), rtol=1e-5, atol=1e-6
    )
    velocity = matcher.compute_conditional_flow(start_, end_, t_, x_t)
    np.testing.assert_allclose(interpolants.drift(interpolants.linear(), end - start, None, t), velocity.numpy())


def test_the_trigonometric_path_is_that_of_the_variance_preserving_matcher(data):
    noise, x, _, t = data
    matcher = peer.VariancePreservingConditionalFlowMatcher(sigma=0.0)
    noise_, x_, z_, t_ = (torch.tensor(a) for a in data)
    x_t = matcher.sample_xt(noise_, x_, t_, z_)
    velocity = matcher.compute_conditional_flow(noise_, x_, t_, x_t)
    path = paths.trigonometric()
    np.testing.assert_allclose(paths.perturb(path, x, noise, t), x_t.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(paths.view(path, x, noise, t, "velocity"), velocity.numpy(), rtol=1e-4, atol=1e-5)
