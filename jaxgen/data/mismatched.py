"""Pairs taken apart, to see what a method makes of pairs that are not aligned, or of none."""

from collections.abc import Mapping

import numpy as np

from jaxgen.data.phantoms.texture import generator
from jaxgen.errors import UserError


def misaligned(images: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Each image moved by whole pixels, up to `most` along each spatial axis, uniformly; its edges are repeated.

    Args:
        images: ``[n, *spatial, c]``.
        most: pixels, 0 or more.
        seed: with the place of an image it decides how far that one is moved.

    Example:
        >>> x = np.arange(4.0).reshape(1, 4, 1)
        >>> [misaligned(np.tile(x, (3, 1, 1)), 1, seed=1)[i].ravel().tolist() for i in range(3)]
        [[1.0, 2.0, 3.0, 3.0], [0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 3.0]]
    """
    moved = np.empty_like(images)
    sides = images.shape[1:-1]
    for i, image in enumerate(images):
        steps = generator("misaligned", seed, i).integers(-most, most + 1, len(sides))
        places = [np.clip(np.arange(n) - step, 0, n - 1) for n, step in zip(sides, steps, strict=True)]
        moved[i] = image[np.ix_(*places)]
    return moved


def unpaired(pairs: Mapping[str, np.ndarray], where: str, *, healthy: bool = False) -> dict[str, np.ndarray]:
    """Each target next to the source of another subject, half the set away.

    Args:
        pairs: ``image [n, ...]``, ``source [n, ...]`` and perhaps ``mask [n, ...]``.
        where: the data, for the message.
        healthy: only targets without a lesion, over and over again; sources stay as they are.

    Returns:
        ``image`` and ``source``.

    Raises:
        UserError: if `healthy` targets are wanted and no mask says which these are.

    Example:
        >>> pairs = {"image": np.arange(4), "source": np.arange(4), "mask": np.array([[1], [0], [0], [1]])}
        >>> {name: x.tolist() for name, x in unpaired(pairs, "brains", healthy=True).items()}
        {'image': [1, 2, 1, 2], 'source': [2, 3, 0, 1]}
    """
    n = len(pairs["image"])
    targets = np.arange(n)
    if healthy:
        ill = pairs["mask"].reshape(n, -1).any(1) if "mask" in pairs else np.ones(n, bool)
        if ill.all():
            raise UserError(f"--healthy-targets: no mask of --data {where} says which targets are healthy")
        targets = np.resize(np.flatnonzero(~ill), n)
    return {"image": pairs["image"][targets], "source": np.roll(pairs["source"], n // 2, 0)}
