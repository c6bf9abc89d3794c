import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.imaging import tiles

CASES = [((37,), 8, 3), ((20, 33), (8, 16), (2, 5)), ((8, 8), 8, 4), ((5, 30), 8, 2), ((9, 10, 3), (4, 5, 6), 1)]


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
@pytest.mark.parametrize("channels", [(), (2,)])
@pytest.mark.parametrize(("shape", "tile", "overlap"), CASES)
def test_blending_the_cut_tiles_gives_the_image_back(kind, channels, shape, tile, overlap):
    image = np.random.default_rng(0).normal(size=shape + channels).astype(np.float32)
    plan = tiles.tiling(shape, tile, overlap)
    cut = tiles.extract_tiles(plan, kind(image))
    back = tiles.blend_tiles(plan, cut)
    assert isinstance(back, type(kind(image)))
    if kind is np.asarray:
        np.testing.assert_array_equal(back, image)
    else:
        np.testing.assert_allclose(back, image, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("shape", "tile", "overlap"), CASES)
def test_tiles_cover_the_image_with_the_overlap_and_no_tile_too_many(shape, tile, overlap):
    plan = tiles.tiling(shape, tile, overlap)
    overlaps = np.broadcast_to(overlap, len(shape))
    for axis, n in enumerate(shape):
        size, starts = plan.tile[axis], np.unique(plan.starts[:, axis])
        assert starts[0] == 0
        assert starts[-1] == max(n - size, 0)
        assert (np.diff(starts) <= size - overlaps[axis]).all()
        reach = (len(starts) - 2) * (size - overlaps[axis]) + size  # with one tile fewer
        assert len(starts) == 1 or reach < n


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_the_blend_is_the_weighted_mean(kind):
    plan = tiles.tiling((7, 6), (4, 4), 2)
    rng = np.random.default_rng(1)
    values, window = rng.normal(size=(len(plan.starts), 4, 4)), rng.uniform(0.1, 1, (4, 4))
    top, bottom = np.zeros((7, 6)), np.zeros((7, 6))
    for (i, j), value in zip(plan.starts, values, strict=True):
        for a in range(4):
            for b in range(4):
                top[i + a, j + b] += window[a, b] * value[a, b]
                bottom[i + a, j + b] += window[a, b]
    np.testing.assert_allclose(tiles.blend_tiles(plan, kind(values), window), top / bottom, rtol=1e-5, atol=1e-6)


def test_a_small_image_is_padded_with_its_edge():
    plan = tiles.tiling((2, 3), 4)
    cut = tiles.extract_tiles(plan, np.arange(6).reshape(2, 3))
    assert cut.tolist() == [[[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]]


def test_the_window_is_positive_symmetric_and_largest_in_the_middle():
    window = tiles.tile_window((9, 8), floor=0.01)
    assert window.shape == (9, 8)
    assert window.min() >= 0.01**2
    np.testing.assert_allclose(window, window[::-1, ::-1])
    assert np.unravel_index(window.argmax(), window.shape)[0] == 4
    np.testing.assert_allclose(tiles.tile_window((5,), floor=1.0), 1)


def test_jit():
    plan = tiles.tiling((12, 9), 5, 2)
    image = jnp.asarray(np.random.default_rng(2).normal(size=(12, 9, 1)), jnp.float32)
    back = jax.jit(lambda x: tiles.blend_tiles(plan, tiles.extract_tiles(plan, x)))(image)
    np.testing.assert_allclose(back, image, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("shape", "tile", "overlap"), [((8,), 0, 0), ((8,), 4, 4), ((8,), 4, -1), ((0,), 4, 0)])
def test_impossible_plans_are_refused(shape, tile, overlap):
    with pytest.raises(ValueError, match="cannot cover"):
        tiles.tiling(shape, tile, overlap)


def test_misfits_are_refused():
    plan = tiles.tiling((8, 8), 4)
    with pytest.raises(ValueError, match="cannot cut"):
        tiles.extract_tiles(plan, np.zeros((8, 9)))
    with pytest.raises(ValueError, match="do not fit"):
        tiles.blend_tiles(plan, np.zeros((3, 4, 4)))
    with pytest.raises(ValueError, match="floor"):
        tiles.tile_window((4,), floor=0.0)
