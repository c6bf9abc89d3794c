import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.imaging import augment

KEYS = jax.random.split(jax.random.key(0), 200)


def coordinates(b, *spatial):
    """Every pixel holds its own number, the same in the image (with a channel) and in the mask."""
    flat = jnp.arange(np.prod(spatial), dtype=jnp.float32).reshape(spatial)
    mask = jnp.broadcast_to(flat, (b, *spatial))
    return {"image": mask[..., None] * jnp.array([1.0, 10.0]), "mask": mask, "label": jnp.arange(b)}


OPERATIONS = {
    "flip": lambda key, batch: augment.random_flip(key, batch, axes=(0, 1), names=("image", "mask")),
    "turn": lambda key, batch: augment.random_quarter_turn(key, batch, names=("image", "mask")),
    "crop": lambda key, batch: augment.random_crop(key, batch, (3, 2), names=("image", "mask")),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_entries_stay_aligned_and_others_untouched(name):
    out = OPERATIONS[name](KEYS, coordinates(200, 5, 5))
    np.testing.assert_array_equal(out["image"], out["mask"][..., None] * jnp.array([1.0, 10.0]))
    np.testing.assert_array_equal(out["label"], np.arange(200))
    assert len(np.unique(np.asarray(out["mask"]).reshape(200, -1), axis=0)) > 3  # the examples do differ


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_examples_draw_does_not_depend_on_its_batch(name):
    whole = OPERATIONS[name](KEYS, coordinates(200, 5, 5))["mask"]
    part = OPERATIONS[name](KEYS[50:60], coordinates(10, 5, 5))["mask"]
    np.testing.assert_array_equal(whole[50:60], part)


@pytest.mark.parametrize("name", OPERATIONS)
def test_jit_and_a_single_key(name):
    batch, key = coordinates(4, 5, 5), jax.random.key(3)
    jitted = jax.jit(OPERATIONS[name])(key, batch)
    np.testing.assert_array_equal(jitted["mask"], OPERATIONS[name](key, batch)["mask"])


def shares(out, expected):
    """How often each of the expected arrays occurs; every output must be one of them."""
    hits = np.stack([(np.asarray(out) == e).reshape(len(out), -1).all(1) for e in expected], axis=1)
    assert (hits.sum(1) == 1).all()
    return hits.mean(0)


def test_flips_are_the_four_mirrorings_equally_often():
    x = np.arange(6.0).reshape(2, 3)
    out = augment.random_flip(KEYS, {"x": jnp.broadcast_to(x, (200, 2, 3))})["x"]
    found = shares(out, [x[::a, ::b] for a, b in itertools.product((1, -1), (1, -1))])
    np.testing.assert_allclose(found, 0.25, atol=4 * np.sqrt(0.25 * 0.75 / 200))


def test_only_the_given_axes_are_mirrored():
    x = np.arange(24.0).reshape(2, 3, 4)
    out = augment.random_flip(KEYS, {"x": jnp.broadcast_to(x, (200, 2, 3, 4))}, axes=(2,))["x"]
    np.testing.assert_allclose(shares(out, [x, x[..., ::-1]]), 0.5, atol=4 * 0.5 / np.sqrt(200))


@pytest.mark.parametrize("axes", [(0, 1), (0, 2)])
def test_turns_are_the_four_rotations_equally_often(axes):
    x = np.arange(27.0).reshape(3, 3, 3)
    out = augment.random_quarter_turn(KEYS, {"x": jnp.broadcast_to(x, (200, 3, 3, 3))}, axes=axes)["x"]
    found = shares(out, [np.rot90(x, k, axes) for k in range(4)])
    np.testing.assert_allclose(found, 0.25, atol=4 * np.sqrt(0.25 * 0.75 / 200))


def test_crops_are_all_the_windows_equally_often():
    x = np.arange(12.0).reshape(3, 4)
    out = augment.random_crop(KEYS, {"x": jnp.broadcast_to(x, (200, 3, 4))}, (2, 3))["x"]
    found = shares(out, [x[i : i + 2, j : j + 3] for i in range(2) for j in range(2)])
    np.testing.assert_allclose(found, 0.25, atol=4 * np.sqrt(0.25 * 0.75 / 200))


def test_a_crop_of_the_whole_volume_is_the_volume():
    batch = coordinates(3, 2, 3, 4)
    out = augment.random_crop(KEYS[:3], batch, (2, 3, 4), names=("image",))
    np.testing.assert_array_equal(out["image"], batch["image"])


def test_wrong_shapes_and_names_are_refused():
    key = jax.random.key(0)
    x = jnp.zeros((2, 4, 6))
    with pytest.raises(ValueError, match="equal length"):
        augment.random_quarter_turn(key, {"x": x})
    with pytest.raises(ValueError, match="window"):
        augment.random_crop(key, {"x": x}, (5, 6))
    with pytest.raises(ValueError, match="y has shape"):
        augment.random_flip(key, {"x": x, "y": jnp.zeros((2, 4, 5))})
    with pytest.raises(ValueError, match="no entry"):
        augment.random_flip(key, {"x": x}, names=("z",))
