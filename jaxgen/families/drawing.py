"""Drawing from a trained family, and how fast it is."""

import time
from typing import Any

import jax
import numpy as np

from jaxgen.chunks import in_chunks
from jaxgen.families.any_width import Point
from jaxgen.metrics.sample_sets import cut
from jaxgen.types import Key


class Drawer:
    """Draws by one point, in batches of any size; a program is compiled once per size."""

    def __init__(self, point: Point, params: Any) -> None:
        model = point.build()
        self._draw = jax.jit(lambda keys: cut(model.sample(params, keys, len(keys))))

    def images(self, key: Key, n: int, chunk: int) -> np.ndarray:
        """``[n, h, w, c]``."""
        return in_chunks(self._draw, n, chunk, jax.random.split(key, n))

    def speed(self, key: Key, batches: tuple[int, ...]) -> dict[str, float]:
        """Images per second at the best of several batches, without compilation."""
        best = {"images_per_second": 0.0, "batch": 0}
        for batch in batches:
            turns = jax.random.split(key, (3, batch))
            self._draw(turns[0]).block_until_ready()
            began = time.perf_counter()
            for keys in turns[1:]:
                self._draw(keys).block_until_ready()
            rate = 2 * batch / (time.perf_counter() - began)
            if rate > best["images_per_second"]:
                best = {"images_per_second": rate, "batch": batch}
        return best
