import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.imaging.inpainting import harmonic_fill


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_linear_images_are_filled_exactly_and_known_pixels_kept(rank):
    """A linear function is harmonic, so the fill of a hole within it is itself."""
    shape = (8,) * rank
    x = sum(np.indices(shape) * (k + 1) for k in range(rank)).astype(np.float32)[None, ..., None]
    mask = np.ones_like(x)
    mask[(slice(None), *(slice(3, 6),) * rank)] = 0
    filled = jax.jit(harmonic_fill)(jnp.where(mask > 0, x, -99), mask)
    np.testing.assert_allclose(filled, x, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(filled)[mask > 0], x[mask > 0])


def test_it_solves_laplace_s_equation_with_reflecting_edges():
    """Independently, by a linear system."""
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(5, 6)), rng.random((5, 6)) < 0.6
    matrix, right = np.eye(30), (x * mask).ravel()
    for i, j in zip(*np.where(~mask), strict=True):
        for di, dj in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            k = np.clip(i + di, 0, 4) * 6 + np.clip(j + dj, 0, 5)
            matrix[i * 6 + j, k] -= 0.25
    expected = np.linalg.solve(matrix, right).reshape(5, 6)
    filled = harmonic_fill(x[None, ..., None], mask[None, ..., None].astype(np.float32))[0, ..., 0]
    np.testing.assert_allclose(filled, expected, atol=1e-4)


def test_several_images_and_nothing_known():
    x = jnp.ones((2, 4, 4, 1)).at[1].set(3.0)
    mask = jnp.zeros((2, 4, 4, 1)).at[0, 0, 0, 0].set(1.0)
    filled = harmonic_fill(x, mask, iterations=10)
    np.testing.assert_allclose(filled[0], 1.0)
    np.testing.assert_array_equal(filled[1], 0.0)
