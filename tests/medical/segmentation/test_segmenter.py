"""Ensembles and networks on whole images."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.medical.segmentation.segmenter import Ensemble, Example, Segmenter


def noisy(keys, tiles):
    """Two members, with noise of the keys."""
    noise = jax.vmap(lambda key: jax.random.normal(key, tiles.shape[1:]))(keys)
    return jnp.stack([0.5 - tiles, 0.5 - tiles + 0.1 * noise])


def test_cases_do_not_depend_on_how_many_are_segmented_together():
    images = np.random.default_rng(0).random((5, 20, 24, 1)).astype(np.float32)
    examples = [Example(f"case {i}", image, image[None] > 0.5) for i, image in enumerate(images)]
    method = Ensemble("ensemble", "", noisy)
    found = [
        Segmenter("net", method, lambda tiles: tiles, 0.0, (16, 16), (4, 4), chunk).cases(examples, jax.random.key(0))
        for chunk in (2, 7)
    ]
    for (one,), (other,), (name, image, masks, _) in zip(*found, examples, strict=True):
        assert one.name == other.name == name
        np.testing.assert_array_equal(one.predictions["net"].mask, masks[0, ..., 0])
        np.testing.assert_allclose(one.predictions["net"].probability, image[..., 0], atol=1e-6)
        np.testing.assert_allclose(one.predictions["ensemble"].mean, other.predictions["ensemble"].mean, atol=1e-6)
        assert np.std(one.predictions["ensemble"].mean + image[..., 0]) > 0.01
        assert one.dice["net"] == 1


def test_windows_of_a_volume_share_one_noise_field_and_maps_go_back_to_the_grid_of_the_masks():
    """The members are noise alone: where windows overlap they agree, so that blending changes nothing."""
    image = np.zeros((9, 10, 6, 1), np.float32)
    masks = np.zeros((1, 18, 20, 12, 2), bool)
    masks[:, :9, ..., 0], masks[:, 9:, ..., 1] = True, True

    def draw(keys, tiles, noise):
        return jnp.moveaxis(noise.reshape(*tiles.shape[:-1], 3, 2), -2, 0)

    def twice(maps, shape):
        return maps.repeat(2, -2).repeat(2, -3).repeat(2, -4)

    method = Ensemble("ensemble", "", draw, 6)
    net = lambda tiles: jnp.concatenate([tiles + 0.2, tiles + 0.3], -1)  # noqa: E731
    whole = Segmenter("net", method, net, 0.0, (6, 6, 4), (3, 3, 2), 4, twice)
    (maps,) = whole.maps(jax.random.key(0), [image])
    assert maps.shape == (3, 9, 10, 6, 2)
    assert abs(maps.std() - 1) < 0.05
    (first, second), *_ = whole.cases([Example("a", image, masks, (1.0, 1.0, 2.0))], jax.random.key(0))
    assert first.truth.shape == first.predictions["ensemble"].mask.shape == (18, 20, 12)
    assert not (first.predictions["ensemble"].mask & second.predictions["ensemble"].mask).any()
    assert (first.dice["net"], second.predictions["net"].mask.any()) == (0, False)  # the background has 0.5
    assert first.agreement("ensemble")["hausdorff95"] > 0


def test_whole_images_are_segmented_at_once_each_by_itself():
    """Seen by what a method sees of a whole image, its mean, which no window has."""
    shapes = []

    def draw(keys, tiles):
        shapes.append(tiles.shape)
        return jnp.stack([tiles - tiles.mean((1, 2), keepdims=True)])

    options = {"threshold": 0.0, "size": (4, 4), "overlap": (0, 0), "chunk": 3}
    segmenter = Segmenter("unet", Ensemble("mean", "Mean", draw), lambda tiles: 0 * tiles, **options, whole=4)
    images = [np.random.default_rng(i).random((8, 6 + 2 * i, 1)).astype(np.float32) for i in range(2)]
    first, second = segmenter.maps(jax.random.key(0), images)
    assert [shape[1:3] for shape in shapes] == [(8, 8), (8, 8)]
    assert first.shape == (1, 8, 6, 1)
    np.testing.assert_allclose(second[0], images[1] - images[1].mean(), atol=1e-6)
    random = Ensemble(
        "noise", "Noise", lambda keys, tiles: jax.vmap(lambda k: jax.random.normal(k, (1, 8, 8, 1)))(keys)[:, 0][None]
    )
    together = segmenter._replace(method=random).maps(jax.random.key(0), images)
    alone = segmenter._replace(method=random).maps(jax.random.key(0), images[1:], first=1)
    np.testing.assert_array_equal(together[1], alone[0])
    assert np.abs(together[1][..., :6, :] - together[0]).max() > 0.1
