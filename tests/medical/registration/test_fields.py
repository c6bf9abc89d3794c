"""Warps, fields and their determinants against maps that are known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from scipy.linalg import expm

from jaxgen.medical.registration import (
    compose,
    endpoint_error,
    exponential,
    folded_share,
    interpolate,
    invert,
    jacobian_determinant,
    landmark_error,
    to_itk_displacement,
    voxel_grid,
    warp,
)

SHAPES = [(12, 14), (9, 10, 11)]


def noise(shape, channels=2, seed=0):
    return np.random.default_rng(seed).normal(size=(2, *shape, channels)).astype(np.float32)


def smooth(shape, size, seed=0):
    """A smooth field ``[2, *shape, r]`` of at most `size` voxels that vanishes at the border."""
    drawn = np.random.default_rng(seed).normal(size=(2, *shape, len(shape)))
    drawn = ndimage.gaussian_filter(drawn, (0, *[3.0] * len(shape), 0))
    for axis, n in enumerate(shape, 1):
        edge = np.sin(np.pi * np.arange(n) / (n - 1)) ** 2
        drawn *= edge.reshape([-1 if i == axis else 1 for i in range(drawn.ndim)])
    return jnp.asarray(size * drawn / np.abs(drawn).max(), jnp.float32)


def affine_field(matrix, shape):
    """The field of ``p -> middle + A (p - middle)``."""
    middle = (np.asarray(shape) - 1) / 2
    away = voxel_grid(shape) - middle
    return jnp.asarray((away @ (np.asarray(matrix) - np.eye(len(shape))).T)[None], jnp.float32)


def interior(x, margin):
    return x[(slice(None), *[slice(margin, -margin)] * (x.ndim - 2))]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", [0, 1])
def test_a_flow_of_zeros_is_the_identity_bit_for_bit(shape, order):
    x = noise(shape)
    moved = jax.jit(warp, static_argnames="order")(x, jnp.zeros((2, *shape, len(shape))), order=order)
    np.testing.assert_array_equal(moved, x)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_translation_by_whole_voxels_is_a_shift_bit_for_bit(shape):
    x = noise(shape)
    flow = jnp.broadcast_to(jnp.asarray([2.0, -1.0, 3.0][: len(shape)]), (2, *shape, len(shape)))
    expected = np.roll(x, [-2, 1, -3][: len(shape)], axis=tuple(range(1, x.ndim - 1)))
    np.testing.assert_array_equal(interior(warp(x, flow), 3), interior(expected, 3))
    assert warp(x, flow).shape == x.shape


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", [0, 1])
def test_it_agrees_with_scipy_also_beyond_the_border(shape, order):
    """Not at the halves between voxels, where rounding of the nearest is a choice."""
    x, flow = noise(shape), 4 * noise(shape, len(shape), seed=1)
    moved = warp(x, flow, order=order)
    for i in range(2):
        place = np.moveaxis(voxel_grid(shape) + flow[i], -1, 0)
        for c in range(2):
            expected = ndimage.map_coordinates(x[i, ..., c], place, order=order, mode="nearest")
            np.testing.assert_allclose(moved[i, ..., c], expected, atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_affine_image_under_an_affine_map_is_exact_inside(shape):
    """A rotation and a shear: linear interpolation of a linear image is exact, wherever the places lie inside."""
    rank = len(shape)
    turn = np.eye(rank)
    turn[:2, :2] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    turn[-1, 0] += 0.1
    slope, flow = np.arange(1, rank + 1), affine_field(turn, shape)
    image = jnp.asarray((voxel_grid(shape) @ slope)[None, ..., None])
    expected = (voxel_grid(shape) + flow[0]) @ slope
    np.testing.assert_allclose(
        interior(warp(image, flow), 3)[0, ..., 0], interior(expected[None, ..., None], 3)[0, ..., 0], rtol=1e-5
    )


def test_labels_keep_their_values_and_dtype():
    labels = np.random.default_rng(0).integers(0, 4, (2, 8, 8, 1)).astype(np.uint8)
    moved = warp(labels, jnp.asarray(noise((8, 8), 2)), order=0)
    assert moved.dtype == jnp.uint8
    assert set(np.unique(moved)) <= set(np.unique(labels))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="flow"):
        warp(jnp.zeros((1, 4, 4, 1)), jnp.zeros((1, 4, 4, 3)))
    with pytest.raises(ValueError, match="order"):
        interpolate(jnp.zeros((1, 4, 4, 1)), jnp.zeros((1, 3, 2)), order=3)
    with pytest.raises(ValueError, match="axes"):
        jacobian_determinant(jnp.zeros((1, 4, 4, 3)))
    with pytest.raises(ValueError, match="affines"):
        to_itk_displacement(np.zeros((2, 2, 2)), np.eye(4), np.eye(4))


def test_gradients_are_those_of_finite_differences():
    with jax.enable_x64(True):
        x, flow = jnp.asarray(noise((6, 7), 1), float), 0.3 * jnp.asarray(noise((6, 7), 2, seed=1), float)
        way = jnp.asarray(noise((6, 7), 2, seed=2), float)
        value = lambda s: jnp.sum(jnp.sin(warp(x, flow + s * way)))  # noqa: E731
        along = (value(1e-6) - value(-1e-6)) / 2e-6
        assert abs(jax.grad(value)(0.0) - along) < 1e-5


@pytest.mark.parametrize("shape", SHAPES)
def test_the_determinant_of_an_affine_map_is_that_of_its_matrix(shape):
    matrix = np.eye(len(shape)) + 0.3 * np.random.default_rng(3).normal(size=(len(shape),) * 2)
    found = jacobian_determinant(affine_field(matrix, shape))
    np.testing.assert_allclose(found, np.linalg.det(matrix), rtol=2e-5)


def test_a_fold_made_by_hand_is_counted():
    """Along one axis the map goes 0 1 2 4 3 2 6 7 ...: only where central differences step backwards is a fold."""
    line = np.array([0.0, 1, 2, 4, 3, 2, 6, 7, 8, 9])
    flow = np.zeros((1, 10, 5, 2), np.float32)
    flow[0, ..., 0] = (line - np.arange(10))[:, None]
    folded = np.gradient(line) <= 0
    assert folded.sum() == 1
    assert folded_share(flow).item() == pytest.approx(folded.mean())
    np.testing.assert_array_equal((jacobian_determinant(flow) <= 0)[0, :, 0], folded)
    mask = np.zeros((1, 10, 5), np.uint8)
    mask[:, 3:5] = 1
    assert folded_share(flow, mask).item() == pytest.approx(0.5)
    assert folded_share(flow, 0 * mask).item() == 0
    assert folded_share(flow * np.nan).item() == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_exponentials_of_a_constant_and_of_a_linear_field(shape):
    rank = len(shape)
    constant = jnp.broadcast_to(jnp.asarray([0.7, -1.3, 0.2][:rank]), (1, *shape, rank))
    np.testing.assert_array_equal(exponential(constant), constant)
    np.testing.assert_array_equal(exponential(constant, steps=0), constant)
    rate = 0.1 * np.random.default_rng(0).normal(size=(rank, rank))
    middle = (np.asarray(shape) - 1) / 2
    velocity = jnp.asarray(((voxel_grid(shape) - middle) @ rate.T)[None], jnp.float32)
    found = interior(exponential(velocity, steps=9), 3)
    np.testing.assert_allclose(found, interior(affine_field(expm(rate), shape), 3), atol=2e-3)


def test_the_exponential_is_safe_under_jit_vmap_and_grad():
    v = smooth((16, 16), 2.0)
    each = jax.jit(jax.vmap(lambda one: exponential(one[None])[0]))(v)
    np.testing.assert_allclose(each, exponential(v), atol=1e-6)
    slope = jax.grad(lambda v: jnp.sum(jnp.square(exponential(v))))(v)
    assert jnp.isfinite(slope).all()
    assert float(jnp.abs(slope).max()) > 0


@pytest.mark.parametrize("shape", [(32, 36), (20, 22, 24)])
def test_inverses_compose_to_the_identity(shape):
    flow = smooth(shape, 1.5)
    back = invert(flow, iterations=30)
    np.testing.assert_allclose(compose(flow, back), 0, atol=1e-4)
    coarse = 0.25 * max(float(jnp.abs(jnp.diff(flow, 2, axis=axis)).max()) for axis in range(1, flow.ndim - 1))
    size = float(jnp.abs(flow).max())
    assert float(jnp.abs(compose(back, flow)).max()) < len(shape) * coarse < 0.5 * size  # back lies between voxels
    there, again = exponential(flow), exponential(-flow)
    assert float(jnp.abs(compose(there, again)).max()) < len(shape) * coarse
    assert folded_share(there).max() == 0


def test_composed_fields_move_images_as_two_warps_do():
    x = jnp.asarray(voxel_grid((24, 24)) @ np.array([1.0, 2.0]))[None, ..., None]
    x = jnp.concatenate([x, x])
    a, b = smooth((24, 24), 1.0), smooth((24, 24), 1.5, seed=1)
    np.testing.assert_allclose(warp(warp(x, a), b), warp(x, compose(a, b)), atol=1e-3)


def test_errors_of_a_field():
    truth = smooth((16, 16), 2.0)
    assert endpoint_error(truth, truth).tolist() == [0, 0]
    off = truth + jnp.array([0.6, 0.8])
    np.testing.assert_allclose(endpoint_error(off, truth), 1, rtol=1e-5)
    mask = np.zeros((2, 16, 16))
    mask[:, 3] = 1
    np.testing.assert_allclose(endpoint_error(off * mask[..., None], truth * mask[..., None], mask), 1, rtol=1e-5)
    points = jnp.asarray(np.random.default_rng(0).uniform(2, 13, (2, 5, 2)), jnp.float32)
    moved = points + interpolate(truth, points)
    np.testing.assert_allclose(landmark_error(truth, points, moved), 0, atol=1e-5)
    away = landmark_error(truth, points, moved - jnp.array([0.0, 1.0]), spacing=(1.0, 2.5))
    np.testing.assert_allclose(away, 2.5, rtol=1e-5)


@pytest.mark.parametrize("flip", [1.0, -1.0])
def test_the_field_of_itk_on_oblique_grids(flip):
    """From the definition, in the frame of ITK: where each fixed voxel lies, and where its counterpart does."""
    rng = np.random.default_rng(0)

    def oblique(angle, spacing, origin):
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, flip]])
        tilt = np.array([[1, 0, 0], [0, np.cos(0.3), -np.sin(0.3)], [0, np.sin(0.3), np.cos(0.3)]])
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = turn @ tilt @ np.diag(spacing), origin
        return matrix

    fixed, moving = oblique(0.4, (1.0, 2.0, 3.0), (-5, 7, 11)), oblique(-0.2, (1.5, 1.0, 2.0), (3, -2, 1))
    flow = rng.normal(size=(3, 4, 5, 3))
    found = to_itk_displacement(flow, moving, fixed)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    for voxel in np.ndindex(3, 4, 5):
        start = (lps @ fixed @ [*voxel, 1])[:3]
        end = (lps @ moving @ [*(voxel + flow[voxel]), 1])[:3]
        np.testing.assert_allclose(start + found[voxel], end, atol=1e-12)
    np.testing.assert_array_equal(to_itk_displacement(0 * flow, fixed, fixed), 0)
