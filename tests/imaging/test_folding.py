import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.imaging.folding import depth_to_space, space_to_depth


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("spatial", [(6,), (4, 6), (2, 4, 6)])
def test_space_to_depth(spatial):
    x = normal(2, *spatial, 3)
    folded = space_to_depth(x, 2)
    assert folded.shape == (2, *(n // 2 for n in spatial), 3 * 2 ** len(spatial))
    np.testing.assert_array_equal(depth_to_space(folded, 2), x)
    corner = x[(0, *(slice(0, 2) for _ in spatial))]  # one block becomes the channels of one pixel
    np.testing.assert_array_equal(folded[(0, *(0 for _ in spatial))], corner.ravel())


def test_space_to_depth_refuses_what_does_not_divide():
    with pytest.raises(ValueError, match=r"\(4, 5\) must be a multiple of the block 2"):
        space_to_depth(normal(1, 4, 5, 1), 2)
