import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import draws
from jaxgen.imaging.tiles import gaussian_window
from jaxgen.medical.segmentation.whole_image import by_tiles

SIZES = [(8, 8), (5, 3), (8, 20), (19, 11), (3, 30)]


def pictures(sizes=SIZES, channels=2):
    return [np.random.default_rng(i).normal(size=(*s, channels)).astype(np.float32) for i, s in enumerate(sizes)]


@pytest.mark.parametrize("overlap", [0, 3, 100])
@pytest.mark.parametrize("chunk", [1, 4, 64])
def test_what_is_left_alone_comes_back(overlap, chunk):
    images, shapes = pictures(), set()

    def identity(keys, tiles):
        shapes.add((keys.shape, tiles.shape))
        return tiles

    for image, out in zip(
        images, by_tiles(identity, jax.random.key(0), images, 8, overlap=overlap, chunk=chunk), strict=True
    ):
        np.testing.assert_allclose(out, image, atol=1e-6)
    assert shapes == {((chunk,), (chunk, 8, 8, 2))}  # one program


def test_leading_axes_and_other_channels_are_kept():
    images = pictures()
    function = lambda keys, x: jnp.stack([jnp.stack([k * x.sum(-1, keepdims=True), x[..., :1]]) for k in (1, 2, 3)])  # noqa: E731
    for image, out in zip(images, by_tiles(function, jax.random.key(0), images, 8, overlap=2), strict=True):
        assert out.shape == (3, 2, *image.shape[:-1], 1)
        np.testing.assert_allclose(out[2, 0, ..., 0], 3 * image.sum(-1), atol=1e-5)
        np.testing.assert_allclose(out[1, 1, ..., 0], image[..., 0], atol=1e-6)


def test_volumes():
    (image,) = pictures([(5, 9, 4)])
    (out,) = by_tiles(lambda keys, x: x[None], jax.random.key(0), [image], 4, overlap=1)
    np.testing.assert_allclose(out[0], image, atol=1e-6)


def test_tiles_share_the_noise_of_their_image_and_not_that_of_others():
    images = pictures([(9, 20), (9, 20), (3, 5)])
    given = lambda keys, tiles, noise: noise  # noqa: E731
    found = by_tiles(given, jax.random.key(0), images, (8, 6), overlap=(2, 3), noise=2, window=gaussian_window)
    (alone,) = by_tiles(given, jax.random.key(0), images[1:2], (8, 6), overlap=(7, 5), noise=2, first=1)
    np.testing.assert_allclose(found[1], alone, atol=1e-6)  # however it is cut
    assert np.abs(found[0] - found[1]).max() > 1
    assert [x.shape for x in found] == [(9, 20, 2), (9, 20, 2), (3, 5, 2)]


def test_a_result_does_not_depend_on_the_other_images():
    noisy = jax.jit(lambda keys, tiles: tiles + draws.normal(keys, tiles.shape))
    images = pictures()
    whole = by_tiles(noisy, jax.random.key(0), images, 8, overlap=2, chunk=4)
    (first,) = by_tiles(noisy, jax.random.key(0), images[:1], 8, overlap=2, chunk=4)
    np.testing.assert_allclose(first, whole[0], atol=1e-6)
    changed = by_tiles(noisy, jax.random.key(0), [images[3], *images[1:]], 8, overlap=2, chunk=3)
    np.testing.assert_allclose(changed[2], whole[2], atol=1e-6)
    same = by_tiles(noisy, jax.random.key(0), [images[0]] * 2, 8, overlap=2)
    assert np.abs(same[0] - same[1]).max() > 0.1  # each image has numbers of its own


def steps(out, axis):
    return np.abs(np.diff(out, axis=axis)).max()


@pytest.mark.parametrize(("size", "overlap", "sides"), [(8, 4, (20, 19)), (16, 8, (40, 16)), (64, 32, (128, 128))])
def test_tiles_that_disagree_leave_no_seam(size, overlap, sides):
    """Each tile shifted by a number of its own: from pixel to pixel only a part of the difference shows."""
    image = np.zeros((*sides, 1), np.float32)
    shift = lambda keys, tiles: tiles + draws.uniform(keys, (len(keys), 1, 1, 1))  # noqa: E731
    (blended,) = by_tiles(shift, jax.random.key(1), [image], size, overlap=overlap)
    (cut,) = by_tiles(shift, jax.random.key(1), [image], size, overlap=0)
    span = float(cut.max() - cut.min())
    assert span > 0.2
    for axis, n in enumerate(sides):
        assert steps(blended, axis) < 2.5 / overlap * span
        assert n == size or steps(cut, axis) > 0.25 * span  # what an edge to edge cut would show
    assert blended.max() <= cut.max() + 1
