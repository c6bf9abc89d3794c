"""Warps, velocities, local correlation and bending energy compared with MONAI's, on the same arrays."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.medical.registration import bending_energy, exponential, lncc, warp

torch = pytest.importorskip("torch")
pytest.importorskip("monai")
pytestmark = pytest.mark.peers

SHAPES = [(10, 13), (8, 9, 11)]


def drawn(shape, channels, seed=0, scale=1.0):
    return (scale * np.random.default_rng(seed).normal(size=(2, *shape, channels))).astype(np.float32)


def first(x):
    """Channels last to channels first."""
    return torch.from_numpy(np.moveaxis(np.asarray(x), -1, 1).copy())


def last(x):
    return np.moveaxis(x.numpy(), 1, -1)


@pytest.fixture
def blocks():
    """MONAI's layers in plain PyTorch: its compiled extension has rules of its own at the border."""
    from monai.networks.blocks import warp as module

    if module.USE_COMPILED:
        pytest.skip("MONAI with its compiled extension")
    return module


@pytest.mark.filterwarnings("ignore:monai.networks.blocks.Warp")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("order", "mode"), [(1, "bilinear"), (0, "nearest")])
def test_a_warp(blocks, shape, order, mode):
    """Beyond the border too. PyTorch rounds the places to [-1, 1] first, so that nearest may differ at ties."""
    image, flow = drawn(shape, 3), drawn(shape, len(shape), seed=1, scale=2.0)
    found = blocks.Warp(mode=mode, padding_mode="border")(first(image), first(flow))
    np.testing.assert_allclose(warp(image, jnp.asarray(flow), order=order), last(found), atol=1e-5)


@pytest.mark.filterwarnings("ignore:monai.networks.blocks.Warp")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("steps", [1, 7])
def test_velocities_become_displacements(blocks, shape, steps):
    velocity = drawn(shape, len(shape), scale=0.5)
    found = blocks.DVF2DDF(num_steps=steps, mode="bilinear", padding_mode="border")(first(velocity))
    np.testing.assert_allclose(exponential(jnp.asarray(velocity), steps=steps), last(found), atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", [3, 9])
def test_local_correlation(shape, window):
    """With windows that reach into zeros, as MONAI's do."""
    from monai.losses import LocalNormalizedCrossCorrelationLoss

    a, b = (np.random.default_rng(seed).uniform(size=(2, *shape, 1)).astype(np.float32) for seed in range(2))
    b = (a + b) / 2
    loss = LocalNormalizedCrossCorrelationLoss(spatial_dims=len(shape), kernel_size=window, kernel_type="rectangular")
    found = lncc(jnp.asarray(a), jnp.asarray(b), window=window, zeros=True)
    for i in range(2):
        expected = -loss(first(a[i : i + 1]), first(b[i : i + 1])).item()
        np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_bending_energy(shape):
    from monai.losses import BendingEnergyLoss

    flow = drawn(shape, len(shape))
    for i in range(2):
        expected = BendingEnergyLoss()(first(flow[i : i + 1])).item()
        np.testing.assert_allclose(bending_energy(jnp.asarray(flow))[i], expected, rtol=1e-5)
