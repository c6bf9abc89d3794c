import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxgen.imaging import distance

CONVENTIONS = ["boundary_zero", "symmetric"]


def random_masks(n, shape, seed=0):
    """Masks of every density, from specks to solid blocks, with frames cut through objects."""
    rng = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(rng.normal(size=(n, *shape)), (0,) + (1.0,) * len(shape))
    levels = np.quantile(fields.reshape(n, -1), rng.uniform(0.02, 0.98, n), axis=1).diagonal()
    return fields < levels.reshape((n,) + (1,) * len(shape))


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((7,), 1.0), ((13, 17), 1.0), ((13, 17), (0.7, 2.5)), ((5, 6, 9), 1.0), ((5, 6, 9), (3.0, 1.0, 0.4))],
)
def test_the_transform_is_scipys(shape, spacing):
    masks = random_masks(20, shape)
    masks[:, 0] = True  # at least one target in each
    ours = jax.jit(jax.vmap(lambda m: distance.distance_transform(m, spacing=spacing)))(masks)
    theirs = [ndimage.distance_transform_edt(~m, sampling=spacing) for m in masks]
    np.testing.assert_allclose(ours, theirs, rtol=2e-6)


def test_no_target_is_infinitely_far():
    assert np.isinf(distance.distance_transform(jnp.zeros((3, 4), bool))).all()


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(("truncate", "spacing"), [(None, 1.0), (4.0, 1.0), (4.0, (2.0, 0.5))])
def test_the_mask_is_where_the_map_is_not_positive(convention, truncate, spacing):
    masks = random_masks(200, (24, 20), seed=1)
    maps = jax.vmap(lambda m: distance.signed_distance(m, truncate=truncate, convention=convention, spacing=spacing))(
        masks
    )
    np.testing.assert_array_equal(distance.mask_from_distance(maps), masks)
    assert jnp.isfinite(maps).all()
    if truncate:
        assert float(jnp.abs(maps).max()) <= 1.0


def test_boundary_pixels_are_zero_and_their_outer_neighbours_one():
    masks = random_masks(50, (24, 20), seed=2)
    for mask in masks:
        sdf = np.asarray(distance.signed_distance(mask))
        cross = ndimage.generate_binary_structure(2, 1)
        np.testing.assert_array_equal(sdf == 0, mask & ndimage.binary_dilation(~mask, cross))
        np.testing.assert_array_equal(sdf == 1, ~mask & ndimage.binary_dilation(mask, cross))


def test_boundary_zero_against_the_definition():
    mask = random_masks(1, (12, 9), seed=3)[0]
    boundary = mask & ndimage.binary_dilation(~mask)
    points, grid = np.argwhere(boundary), np.argwhere(np.ones_like(mask))
    far = np.linalg.norm(grid[:, None] - points[None], axis=-1).min(1).reshape(mask.shape)
    np.testing.assert_allclose(distance.signed_distance(mask), np.where(mask, -far, far), rtol=1e-6)


def test_symmetric_flips_its_sign_with_the_mask():
    mask = random_masks(1, (20, 20), seed=4)[0]
    maps = [distance.signed_distance(m, convention="symmetric") for m in (mask, ~mask)]
    np.testing.assert_array_equal(maps[0], -maps[1])
    assert float(jnp.abs(maps[0]).min()) == 0.5


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(("value", "sign"), [(0, 1), (1, -1)])
def test_a_mask_without_boundary_is_constant(convention, value, sign):
    mask = jnp.full((3, 4), value)
    np.testing.assert_array_equal(distance.signed_distance(mask, truncate=7, convention=convention), sign)
    np.testing.assert_allclose(
        distance.signed_distance(mask, convention=convention, spacing=(1.0, 0.5)), sign * np.hypot(3, 2)
    )


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_an_object_cut_by_the_frame_has_no_boundary_there(convention):
    half = jnp.zeros((9, 12)).at[:, :6].set(1)  # half a plane: every row is the same, and linear
    sdf = distance.signed_distance(half, convention=convention)
    offset = 0.0 if convention == "boundary_zero" else 0.5
    outside = np.arange(1, 7) - offset
    inside = np.arange(-5, 1) - offset
    np.testing.assert_array_equal(sdf, np.broadcast_to(np.concatenate([inside, outside]), (9, 12)))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_gradient_of_a_discs_map_has_length_one_in_the_band(convention):
    y, x = np.mgrid[:64, :64]
    mask = np.hypot(y - 31.3, x - 30.8) <= 18
    delta = 8.0
    sdf = distance.signed_distance(mask, truncate=delta, convention=convention)
    slope = distance.gradient_norm(sdf) * delta
    band = np.abs(sdf) < 1 - 1.5 / delta
    assert float(jnp.mean(jnp.abs(slope - 1)[band])) < 0.05
    assert float(jnp.mean(jnp.abs(distance.gradient_norm(2 * sdf) * delta - 1)[band])) > 0.9


def test_the_gradient_follows_the_spacing():
    y, x = np.mgrid[:5, :7]
    field = jnp.asarray(3.0 * y * 0.5 + 4.0 * x * 2.0)
    np.testing.assert_allclose(distance.gradient_norm(field, spacing=(0.5, 2.0)), 5.0, rtol=1e-6)


def test_three_dimensions_and_vmap_agree_with_a_loop():
    masks = random_masks(4, (6, 7, 8), seed=5)
    batched = jax.jit(jax.vmap(lambda m: distance.signed_distance(m, truncate=3)))(masks)
    alone = np.stack([distance.signed_distance(m, truncate=3) for m in masks])
    np.testing.assert_allclose(batched, alone, rtol=1e-6)
    np.testing.assert_array_equal(alone <= 0, masks)


@pytest.mark.parametrize(
    "options", [{"truncate": 0}, {"truncate": -1.0}, {"spacing": 0.0}, {"spacing": (1.0, -1.0)}, {"convention": "plus"}]
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        distance.signed_distance(jnp.ones((3, 3)), **options)
