"""Chunks: one program for any number of examples."""

import jax
import numpy as np

from jaxgen.chunks import in_chunks


def test_chunks_fill_up_and_cut():
    double = jax.jit(lambda x: 2 * x)
    x = np.arange(7.0)
    for chunk in (1, 3, 7, 20):
        np.testing.assert_array_equal(in_chunks(double, 7, chunk, x), 2 * x)
