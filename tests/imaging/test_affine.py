import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.imaging import random_affine

KEYS = jax.random.split(jax.random.key(0), 60)
AMOUNTS = {"rotation": 0.3, "zoom": 0.2, "shift": 0.1}


def middle(n):
    return np.arange(n) - (n - 1) / 2


def maps(*spatial, **amounts):
    """The matrix and the shift by which each example was moved, read off images that are linear in their place."""
    places = np.stack(np.meshgrid(*map(middle, spatial), indexing="ij"), -1).astype(np.float32)
    batch = {"image": jnp.broadcast_to(places, (len(KEYS), *places.shape))}
    rank = len(spatial)
    moved = np.asarray(random_affine(KEYS, batch, rank=rank, **amounts)["image"])
    inside = tuple(slice(n // 2 - n // 6, n // 2 + n // 6) for n in spatial)  # as far as no edge is met
    p = places[inside].reshape(-1, rank)
    design = np.concatenate([p, np.ones((len(p), 1))], 1)
    found = [np.linalg.lstsq(design, x[inside].reshape(-1, rank), rcond=None) for x in moved]
    for fit, x in zip(found, moved, strict=True):
        np.testing.assert_allclose(design @ fit[0], x[inside].reshape(-1, rank), atol=1e-3)
    return np.stack([fit[0][:rank].T for fit in found]), np.stack([fit[0][rank] for fit in found])


def test_a_plane_is_turned_zoomed_and_shifted_by_what_was_asked_for():
    matrix, moved = maps(36, 48, **AMOUNTS)
    scale = np.sqrt(np.linalg.det(matrix))
    angle = np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0])
    expected = scale[:, None, None] * np.stack(
        [np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)], -1)], -2
    )
    np.testing.assert_allclose(matrix, expected, atol=1e-4)
    for found, bound in ((angle, 0.3), (np.log(scale), np.log(1.2)), (moved[:, 0], 3.6), (moved[:, 1], 4.8)):
        assert 0.85 * bound < np.abs(found).max() <= bound * (1 + 1e-4)
        assert abs(found.mean()) < 4 * bound / np.sqrt(3 * len(KEYS))


def test_a_volume_is_turned_as_a_whole():
    matrix, moved = maps(30, 30, 30, rotation=0.3)
    np.testing.assert_allclose(matrix @ matrix.transpose(0, 2, 1), np.broadcast_to(np.eye(3), matrix.shape), atol=1e-4)
    np.testing.assert_allclose(np.linalg.det(matrix), 1, atol=1e-4)
    np.testing.assert_allclose(moved, 0, atol=1e-3)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(matrix[:, i, j]).max() > 0.2


def test_masks_stay_masks_beside_their_image():
    disc = np.hypot(*np.meshgrid(middle(33), middle(33), indexing="ij")) < 9
    mask = jnp.broadcast_to(disc, (60, 33, 33))
    batch = {"image": mask.astype(jnp.float32)[..., None], "mask": mask, "label": jnp.arange(60)}
    out = random_affine(KEYS, batch, **AMOUNTS, names=("image", "mask"))
    assert out["mask"].dtype == bool
    np.testing.assert_array_equal(out["label"], np.arange(60))
    sure = np.abs(np.asarray(out["image"][..., 0]) - 0.5) > 0.49
    np.testing.assert_array_equal(np.asarray(out["mask"])[sure], np.asarray(out["image"][..., 0])[sure] > 0.5)
    assert not np.array_equal(out["mask"][0], out["mask"][1])
    numbered = {"label": jnp.asarray(2**24 + 1 + np.arange(8 * 8).reshape(1, 8, 8), jnp.int32)}
    np.testing.assert_array_equal(random_affine(KEYS[:1], numbered)["label"], numbered["label"])


def test_nothing_moves_at_zero_and_edges_go_on():
    x = jax.random.normal(jax.random.key(1), (4, 6, 7, 2))
    np.testing.assert_allclose(random_affine(KEYS[:4], {"image": x})["image"], x, atol=1e-6)
    z = (x[..., :1] + 1j * x[..., 1:]).astype(jnp.complex64)
    both = random_affine(KEYS[:4], {"x": x, "z": z}, **AMOUNTS)
    np.testing.assert_allclose(both["z"], both["x"][..., :1] + 1j * both["x"][..., 1:], atol=1e-5)
    flat = jnp.full((60, 8, 8, 1), 3.0)
    np.testing.assert_allclose(random_affine(KEYS, {"image": flat}, **AMOUNTS)["image"], 3, atol=1e-5)


def test_an_examples_move_does_not_depend_on_its_batch():
    x = jax.random.normal(jax.random.key(1), (60, 8, 8, 1))
    whole = random_affine(KEYS, {"image": x}, **AMOUNTS)["image"]
    part = jax.jit(lambda k, x: random_affine(k, {"image": x}, **AMOUNTS)["image"])(KEYS[20:30], x[20:30])
    np.testing.assert_allclose(whole[20:30], part, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"rotation": -1.0}, {"zoom": -0.1}, {"shift": -0.1}, {"rank": 4}])
def test_amounts_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match="amounts of 0 and more"):
        random_affine(jax.random.key(0), {"image": jnp.zeros((2, 4, 4, 1))}, **wrong)
