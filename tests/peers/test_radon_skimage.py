"""Projection and filtered back-projection beside scikit-image, and projection beside deepinv.

Both rotate the image and add up columns: two interpolations in two directions, where a ray here needs one in one. On a
smooth image that is all that differs.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.imaging.filtered_backprojection import cosine, filtered_backprojection, hann, ramp, shepp_logan
from jaxgen.imaging.radon import radon_operator
from tests.peers.deepinv_import import import_deepinv

pytestmark = pytest.mark.peers
SIZE = 65  # odd: of an even size scikit-image's middle is half a pixel off
DEGREES = np.arange(0, 180, 6.0)


def smooth():
    """Within the inscribed circle, and not symmetric: a mirrored or turned sinogram would show."""
    x, y = np.meshgrid(np.linspace(-1, 1, SIZE), np.linspace(-1, 1, SIZE))
    blobs = [(0.0, 0.05, 0.3, 1.0), (0.4, -0.25, 0.12, 0.8), (-0.35, 0.4, 0.1, -0.4)]
    return sum(w * np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * s**2)) for a, b, s, w in blobs)


def distance(a, b):
    return np.linalg.norm(np.asarray(a) - b) / np.linalg.norm(b)


def test_projections_of_scikit_image():
    transform = pytest.importorskip("skimage.transform")
    theirs = transform.radon(smooth(), DEGREES, circle=True).T
    ours = radon_operator(SIZE, np.deg2rad(DEGREES), SIZE).forward(jnp.asarray(smooth(), jnp.float32)[None, ..., None])
    assert distance(ours[0], theirs) < 3e-3


@pytest.mark.parametrize(
    ("window", "name", "tolerance"),
    [(ramp, "ramp", 1e-4), (shepp_logan, "shepp-logan", 1e-4), (cosine, "cosine", 1e-4), (hann, "hann", 1e-2)],
)
def test_filtered_backprojection_of_scikit_image(window, name, tolerance):
    """The same sinogram in: to rounding, but for its Hann window, which is sampled to end at 0 one step early."""
    transform = pytest.importorskip("skimage.transform")
    sinogram = transform.radon(smooth(), DEGREES, circle=True)
    theirs = transform.iradon(sinogram, DEGREES, filter_name=name, circle=True)
    y = jnp.asarray(sinogram.T, jnp.float32)[None]
    ours = np.asarray(filtered_backprojection(y, np.deg2rad(DEGREES), SIZE, window=window))[0, ..., 0]
    x = np.arange(SIZE) - SIZE // 2
    inside = x[:, None] ** 2 + x[None, :] ** 2 <= (SIZE // 2) ** 2  # it leaves the rest at 0
    assert distance(ours[inside], theirs[inside]) < tolerance


def test_projections_of_deepinv():
    torch = pytest.importorskip("torch")
    deepinv = import_deepinv()
    physics = deepinv.physics.Tomography(
        angles=torch.as_tensor(DEGREES, dtype=torch.float32), img_width=SIZE, circle=True, normalize=False
    )
    theirs = physics(torch.as_tensor(smooth(), dtype=torch.float32)[None, None])[0, 0].numpy().T
    ours = radon_operator(SIZE, np.deg2rad(DEGREES), SIZE).forward(jnp.asarray(smooth(), jnp.float32)[None, ..., None])
    assert distance(ours[0], theirs) < 1e-2
