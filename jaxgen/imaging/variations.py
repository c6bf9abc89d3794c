"""Images varied at random, as classifiers see them: mirrored, moved, stretched, raised."""

import jax.numpy as jnp

from jaxgen import draws
from jaxgen.imaging.augment import random_crop, random_flip
from jaxgen.types import Batch, Key

SHIFT = 1 / 12
"""How far images are moved at most, in widths."""
CONTRAST = 0.2
"""By how much they are stretched and raised at most, as a share of their range."""


def moved(key: Key, batch: Batch) -> Batch:
    """Images moved, stretched and raised at random, not mirrored: for findings that have a side.

    Example:
        >>> import jax
        >>> batch = {"image": jnp.zeros((2, 12, 12, 1)), "findings": jnp.ones((2, 3))}
        >>> moved(jax.random.key(0), batch)["image"].shape
        (2, 12, 12, 1)
    """
    return _varied(key, batch, mirror=False)


def classical(key: Key, batch: Batch) -> Batch:
    """Images mirrored, moved, stretched and raised at random: what real images are varied by without a model.

    Example:
        >>> import jax
        >>> batch = {"image": jnp.zeros((2, 12, 12, 1)), "findings": jnp.ones((2, 3))}
        >>> classical(jax.random.key(0), batch)["image"].shape
        (2, 12, 12, 1)
    """
    return _varied(key, batch, mirror=True)


def coloured(key: Key, batch: Batch) -> Batch:
    """`classical`, and each channel stretched and raised on its own: for images whose colours depend on the scanner.

    Example:
        >>> import jax
        >>> batch = {"image": jnp.zeros((2, 12, 12, 3)), "findings": jnp.ones((2, 1))}
        >>> image = coloured(jax.random.key(0), batch)["image"]
        >>> bool((image[0, 0, 0, 0] != image[0, 0, 0, 1]).item())
        True
    """
    usual_key, gain_key, shift_key = draws.split(key, 3)
    varied = classical(usual_key, batch)
    image = varied["image"]
    each = (len(image), *(1,) * (image.ndim - 2), image.shape[-1])
    gain, raised = (1 + CONTRAST * (2 * draws.uniform(k, each) - 1) for k in (gain_key, shift_key))
    return {**varied, "image": gain * image + raised - 1}


def _varied(key: Key, batch: Batch, mirror: bool) -> Batch:
    flip_key, move_key, gain_key, shift_key = draws.split(key, 4)
    image = batch["image"]
    size, most = image.shape[1:-1], max(1, round(SHIFT * image.shape[2]))
    padded = jnp.pad(image, ((0, 0), *[(most, most)] * len(size), (0, 0)), mode="edge")
    image = random_crop(move_key, {"image": padded}, size=size)["image"]
    image = random_flip(flip_key, {"image": image}, axes=(len(size) - 1,))["image"] if mirror else image
    one = (len(image), *(1,) * (image.ndim - 1))
    gain, raised = (1 + CONTRAST * (2 * draws.uniform(k, one) - 1) for k in (gain_key, shift_key))
    return {**batch, "image": gain * image + raised - 1}
