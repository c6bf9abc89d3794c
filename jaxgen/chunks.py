"""Call a compiled function on any number of examples, a fixed number at once."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def in_chunks(function: Callable[..., Any], n: int, chunk: int, *arrays: Any, exactly: bool = False) -> Any:
    """Call a jitted function on stretches of `chunk` examples; the last is filled up, so that one program serves all.

    Args:
        function: of stretches of the arrays, to an array or a tree of arrays over the same examples.
        n: the number of examples.
        chunk: how many at once.
        *arrays: what to cut into stretches, over examples along the first axis.
        exactly: fill up even where there are fewer than `chunk` in all, so that one program serves any number.

    Returns:
        The results joined, as NumPy arrays.

    Example:
        >>> in_chunks(lambda x: 2 * x, 3, 2, np.arange(3))
        array([0, 2, 4])
    """
    chunk = chunk if exactly else min(chunk, n)
    parts = []
    for first in range(0, n, chunk):
        index = np.minimum(np.arange(first, first + chunk), n - 1)
        found = function(*(array[index] for array in arrays))
        parts.append(jax.tree.map(lambda x, left=n - first: np.asarray(x)[:left], found))
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)
