"""Similarity of images and smoothness of fields against definitions written out and exact values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.losses.similarity import box_sum, lncc, mutual_information
from jaxgen.losses.smoothness import bending_energy, diffusion_energy


def images(shape=(11, 12), seed=0):
    rng = np.random.default_rng(seed)
    return (jnp.asarray(rng.uniform(size=(2, *shape, 1)), jnp.float32) for _ in range(2))


@pytest.mark.parametrize("shape", [(11, 12), (6, 7, 8)])
@pytest.mark.parametrize("zeros", [False, True])
def test_lncc_is_the_mean_squared_correlation_of_windows(shape, zeros):
    a, b = images(shape)
    window, half = 5, 2
    pads = [(half, half)] * len(shape)
    found = []
    for x, y in zip(np.asarray(a[..., 0], float), np.asarray(b[..., 0], float), strict=True):
        inside = np.pad(np.ones(shape, bool), pads)
        x, y, total = np.pad(x, pads), np.pad(y, pads), []
        for place in np.ndindex(*shape):
            box = tuple(slice(i, i + window) for i in place)
            kept = inside[box] | zeros
            u, v = x[box][kept], y[box][kept]
            total.append(np.corrcoef(u, v)[0, 1] ** 2)
        found.append(np.mean(total))
    np.testing.assert_allclose(lncc(a, b, window=window, zeros=zeros), found, rtol=1e-4)


def test_lncc_of_copies_that_differ_in_brightness_and_contrast_is_one():
    a, b = images((16, 16))
    np.testing.assert_allclose(lncc(a, 0.2 + 0.5 * a), 1, rtol=1e-4)
    np.testing.assert_allclose(lncc(a, 0.9 - 0.5 * a), 1, rtol=1e-4)
    np.testing.assert_allclose(lncc(a, 3 * b + 100), lncc(a, b), rtol=2e-2)
    assert (lncc(a, b) < 0.1).all()
    assert lncc(0 * a, 0 * a + 1).tolist() == [0, 0]


def test_lncc_refuses_what_does_not_fit():
    a, _ = images()
    with pytest.raises(ValueError, match="odd"):
        lncc(a, a, window=4)
    with pytest.raises(ValueError, match="shape"):
        lncc(a, a[:, 1:])


def test_box_sums_are_sums_over_boxes():
    a, _ = images((7, 5))
    padded = np.pad(np.asarray(a), ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = sum(padded[:, i : i + 7, j : j + 5] for i in range(3) for j in range(3))
    np.testing.assert_allclose(box_sum(a, 3), expected, rtol=1e-5)


def test_mutual_information_of_values_on_the_centres_is_that_of_the_table():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 4, (1, 30, 30, 1))
    b = (a + (rng.uniform(size=a.shape) < 0.3)) % 4
    table = np.zeros((4, 4))
    np.add.at(table, (a.ravel(), b.ravel()), 1 / a.size)
    apart = table.sum(1, keepdims=True) * table.sum(0)
    expected = np.nansum(table * np.log(np.where(table > 0, table, 1) / apart))
    found = mutual_information(jnp.asarray(a) / 3, jnp.asarray(b) / 3, bins=4)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    relabelled = np.array([2, 0, 3, 1])[a] / 3  # no correlation is needed, only a relation
    counts = np.bincount(a.ravel()) / a.size
    np.testing.assert_allclose(
        mutual_information(jnp.asarray(a) / 3, jnp.asarray(relabelled), bins=4),
        -np.sum(counts * np.log(counts)),
        rtol=1e-4,
    )


def test_mutual_information_of_unrelated_images_is_small_and_it_has_gradients():
    a, b = images((64, 64))
    assert (mutual_information(a, b, bins=8) < 0.02).all()
    assert (mutual_information(a, a, bins=8) > 1).all()
    slope = jax.grad(lambda x: mutual_information(x, b, bins=8).sum())(a)
    assert jnp.isfinite(slope).all()
    assert float(jnp.abs(slope).max()) > 0
    flat = jax.grad(lambda x: mutual_information(x, b, bins=8).sum())(0 * a + 0.5)
    assert jnp.isfinite(flat).all()


def quadratic(shape, matrices):
    """``u_k(p) = p' A_k p / 2``."""
    p = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).astype(float)
    return jnp.asarray(np.stack([np.einsum("...i,ij,...j->...", p, m, p) / 2 for m in matrices], -1)[None], jnp.float32)


@pytest.mark.parametrize("shape", [(8, 9), (6, 7, 8)])
def test_the_bending_energy_of_a_quadratic_field_is_the_square_of_its_second_derivatives(shape):
    rng = np.random.default_rng(0)
    matrices = [m + m.T for m in rng.normal(size=(len(shape), len(shape), len(shape)))]
    expected = np.mean([np.sum(m**2) for m in matrices])
    np.testing.assert_allclose(bending_energy(quadratic(shape, matrices)), expected, rtol=1e-4)
    with pytest.raises(ValueError, match="three"):
        bending_energy(jnp.zeros((1, 2, 9, 2)))


@pytest.mark.parametrize("shape", [(8, 9), (6, 7, 8)])
def test_energies_of_an_affine_field(shape):
    matrix = np.random.default_rng(0).normal(size=(len(shape),) * 2)
    p = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    flow = jnp.asarray((p @ matrix.T + 3.0)[None], jnp.float32)
    np.testing.assert_allclose(diffusion_energy(flow), np.mean(matrix**2), rtol=1e-4)
    np.testing.assert_allclose(bending_energy(flow), 0, atol=1e-8)
