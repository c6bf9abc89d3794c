"""Masks as signed distances, and back.

A signed distance says for each pixel how far the boundary is, negative inside. It is smooth where a mask jumps, which
is what flow matching on masks works with; the mask is its sign.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.data import phantoms
from jaxgen.figures.pictures import rows
from jaxgen.imaging.distance import mask_from_distance, signed_distance

source = phantoms.phantom_source("cells2d", 6, size=64)
masks = jnp.asarray(np.stack([source[i]["mask"] for i in range(6)]))
distance = jax.vmap(lambda mask: signed_distance(mask, truncate=8.0))(masks)
assert bool((mask_from_distance(distance) == masks).all())


def seen(x):
    return np.asarray(x)[..., None]


shown = {"image": 2 * np.stack([source[i]["image"] for i in range(6)]) - 1, "mask": seen(2.0 * masks - 1)}
figure = rows(
    {**shown, "signed distance": seen(distance)}, "Drawn cells, their masks, and signed distances cut off at 8 pixels."
)
