"""Ensembles and networks on whole images."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.medical.segmentation.segmenter import Segmenter


def noisy(keys, tiles):
    """Two members, with noise of the keys."""
    noise = jax.vmap(lambda key: jax.random.normal(key, tiles.shape[1:]))(keys)
    return jnp.stack([0.5 - tiles, 0.5 - tiles + 0.1 * noise])


def test_cases_do_not_depend_on_how_many_are_segmented_together():
    images = np.random.default_rng(0).random((5, 20, 24, 1)).astype(np.float32)
    examples = [(f"case {i}", image, image[None, ..., 0] > 0.5) for i, image in enumerate(images)]
    found = [
        Segmenter(("net", "ensemble"), lambda tiles: tiles, noisy, 0.0, 16, 4, chunk).cases(examples, jax.random.key(0))
        for chunk in (2, 7)
    ]
    for one, other, (name, image, raters) in zip(*found, examples, strict=True):
        assert one.name == other.name == name
        np.testing.assert_array_equal(one.predictions["net"].mask, raters[0])
        np.testing.assert_allclose(one.predictions["net"].probability, image[..., 0], atol=1e-6)
        np.testing.assert_allclose(one.predictions["ensemble"].mean, other.predictions["ensemble"].mean, atol=1e-6)
        assert np.std(one.predictions["ensemble"].mean + image[..., 0]) > 0.01
        assert one.dice["net"] == 1
