"""MRI's forward and adjoint, and its pseudo-inverse, beside deepinv's with the same mask and coils."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.imaging.coils import simulated_coils
from jaxgen.imaging.mri import mri_operator
from jaxgen.imaging.operators import pseudo_inverse
from jaxgen.imaging.sampling_masks import gaussian_mask, poisson_disc_mask
from tests.peers.deepinv_import import import_deepinv

torch = pytest.importorskip("torch")
physics = import_deepinv("deepinv.physics")

pytestmark = pytest.mark.peers

RNG = np.random.default_rng(0)


def peer_image(x):
    """``[b, h, w, 2]`` as ``[b, 2, h, w]``."""
    return torch.from_numpy(np.moveaxis(np.asarray(x), -1, 1).copy())


def peer_kspace(y, coils):
    """``[b, h, w, coils]`` as ``[b, 2, coils, h, w]``, without the axis of coils for a single coil's operator."""
    parts = np.stack([np.real(y), np.imag(y)], 1).astype(np.float32)
    parts = np.moveaxis(parts, -1, 2)
    return torch.from_numpy((parts if coils else parts[:, :, 0]).copy())


def kspace(y, coils):
    y = y.numpy() if coils else y.numpy()[:, :, None]
    return np.moveaxis(y[:, 0] + 1j * y[:, 1], 1, -1)


@pytest.mark.parametrize("size", [(24, 30), (21, 25)], ids=["even", "odd"])
@pytest.mark.parametrize("coils", [0, 5], ids=["single coil", "five coils"])
def test_forward_and_adjoint_agree(size, coils):
    mask = np.array((gaussian_mask if coils else poisson_disc_mask)(jax.random.key(0), size, 3.0))
    maps = simulated_coils(jax.random.key(1), size, coils) if coils else None
    ours = mri_operator(jnp.asarray(mask), maps, channels=2)
    if coils:
        stacked = torch.from_numpy(np.moveaxis(np.asarray(maps), -1, 0).copy())
        peer = physics.MultiCoilMRI(mask=torch.from_numpy(mask), coil_maps=stacked)
    else:
        peer = physics.MRI(mask=torch.from_numpy(mask), img_size=size)
    x = RNG.normal(size=(2, *size, 2)).astype(np.float32)
    y = (RNG.normal(size=(2, *size, max(coils, 1))) + 1j * RNG.normal(size=(2, *size, max(coils, 1)))).astype(
        np.complex64
    )
    np.testing.assert_allclose(ours.forward(x), kspace(peer.A(peer_image(x)), coils), atol=2e-5)
    back = np.moveaxis(peer.A_adjoint(peer_kspace(y, coils)).numpy(), 1, -1)
    np.testing.assert_allclose(ours.adjoint(y), back, atol=2e-5)
    if not coils:
        dagger = np.moveaxis(peer.A_dagger(peer_kspace(y, coils)).numpy(), 1, -1)
        np.testing.assert_allclose(pseudo_inverse(ours, iterations=3)(y), dagger, atol=5e-5)
