"""Training tiles for segmentation: scaled images with the signed distance maps of their masks, augmented."""

import functools
import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.data.source import Example, Source
from jaxgen.errors import UserError
from jaxgen.imaging.augment import random_flip, random_quarter_turn
from jaxgen.imaging.distance import signed_distance
from jaxgen.imaging.intensity import percentile_range
from jaxgen.imaging.tiles import Tiling, extract_tiles, tiling
from jaxgen.types import Array, Batch, Key

Target = Literal["distance", "binary"]
Convention = Literal["boundary_zero", "symmetric"]


def scale_image(
    image: np.ndarray,
    percentiles: tuple[float, float],
    value_range: tuple[Sequence[float], Sequence[float]] | None = None,
) -> np.ndarray:
    """An image with values in [-1, 1].

    Args:
        image: ``[*spatial, c]``, raw values.
        percentiles: of the image itself, channel by channel, that go to -1 and 1; what lies outside is cut off.
        value_range: ``(low [c], high [c])`` to use instead of the image's own percentiles.

    Returns:
        float32 ``[*spatial, c]``; a constant channel becomes 0.

    Example:
        >>> scale_image(np.array([[[0], [5], [10]]]), (0, 100))[0, :, 0].tolist()
        [-1.0, 0.0, 1.0]
    """
    low, high = percentile_range([image], *percentiles) if value_range is None else map(np.asarray, value_range)
    width = np.where(high > low, high - low, 1.0)
    unit = np.where(high > low, 2 * (image.astype(np.float32) - low) / width - 1, 0.0)
    return np.clip(unit, -1, 1).astype(np.float32)


def masks_of(example: Example) -> np.ndarray:
    """The masks of an example, ``[raters, *spatial]`` bool: one rater where there is one mask.

    Example:
        >>> masks_of({"mask": np.array([[0, 2]])}).tolist()
        [[[False, True]]]
    """
    return example["masks"] > 0 if "masks" in example else example["mask"][None] > 0


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _distances(masks: np.ndarray, truncate: float, convention: Convention, margin: int) -> Array:
    whole = jax.vmap(lambda mask: signed_distance(mask, truncate=truncate, convention=convention))(masks)
    return whole[(slice(None), *(slice(margin, n - margin) for n in masks.shape[1:]))]


def augment_tiles(key: Key, batch: Batch, *, quarter_turns: bool = True) -> dict[str, Array]:
    """Flips and turns of tiles on the device, the same for image and map, and of several raters one at random.

    One rater per example is what the spread of several raters is learned from.

    Args:
        key: keys ``[b]``.
        batch: ``image [b, n, n, c]`` and ``distance [b, n, n, raters]``; see `SegmentationTiles`.
        quarter_turns: turn by multiples of 90 degrees too.

    Returns:
        The batch in float32, with ``distance [b, n, n, 1]``.

    Example:
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> batch = {"image": jnp.zeros((2, 4, 4, 1)), "distance": jnp.zeros((2, 4, 4, 3))}
        >>> augment_tiles(keys, batch)["distance"].shape
        (2, 4, 4, 1)
    """
    flip_key, turn_key, rater_key = draws.split(key, 3)
    batch = {name: x.astype(jnp.float32) for name, x in batch.items()}
    batch = random_flip(flip_key, batch)
    if quarter_turns:
        batch = random_quarter_turn(turn_key, batch)
    maps = batch["distance"]
    rater = jax.vmap(lambda k: jax.random.randint(k, (), 0, maps.shape[-1]))(rater_key)
    return batch | {"distance": jnp.take_along_axis(maps, rater[:, None, None, None], axis=-1)}


class SegmentationTiles:
    """Tiles of equal size cut from a source of images with masks.

    ``tiles[i]`` holds ``image`` float16 ``[*size, c]`` in [-1, 1] and ``distance`` float16 ``[*size, raters]``: the
    truncated signed distance of each rater's mask, or -1 inside and +1 outside for the target ``"binary"``. A
    distance is that of the whole image, however it is cut: masks are cut with a margin as wide as the truncation.

    Every image is read once when the tiles are made, to know its size and its range of values.

    Args:
        source: images ``[*spatial, c]`` with ``mask`` or ``masks``; sizes may differ, the number of channels and of
            raters may not.
        size: of a tile, in pixels, along every axis.
        percentiles: see `scale_image`.
        value_range: see `scale_image`.
        truncate: delta of the distance maps, in pixels.
        convention: of the distance maps, see `jaxgen.imaging.distance.signed_distance`.
        target: ``"distance"``, or ``"binary"`` for the ablation without distances.
        overlap: pixels that neighbouring tiles share at least.

    Raises:
        UserError: if two images differ in their number of channels or raters.
    """

    def __init__(
        self,
        source: Source,
        size: int,
        *,
        percentiles: tuple[float, float],
        value_range: tuple[Sequence[float], Sequence[float]] | None = None,
        truncate: float = 15.0,
        convention: Convention = "boundary_zero",
        target: Target = "distance",
        overlap: int = 0,
    ) -> None:
        self._source, self._percentiles, self._range = source, percentiles, value_range
        self._truncate, self._convention, self._target = truncate, convention, target
        self._plans: list[Tiling] = []
        self._index: list[tuple[int, int]] = []
        kinds: dict[tuple[int, int], str] = {}
        for i in range(len(source)):
            example = source[i]
            image, raters = example["image"], len(masks_of(example))
            kinds.setdefault((image.shape[-1], raters), source.names[i])
            if len(kinds) > 1:
                (a, first), (b, second) = kinds.items()
                raise UserError(
                    f"{second}: has {b[0]} channels and {b[1]} masks, but {first} has {a[0]} and {a[1]}; "
                    "make all images alike"
                )
            plan = tiling(image.shape[:-1], size, overlap)
            self._index += [(i, k) for k in range(len(plan.starts))]
            self._plans.append(plan)

    @property
    def names(self) -> Sequence[str]:
        """The name of each tile's image."""
        return [self._source.names[i] for i, _ in self._index]

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, i: int) -> Example:
        number, k = self._index[i]
        example, plan = self._source[number], self._plans[number]
        plan = plan._replace(starts=plan.starts[k : k + 1])
        image = scale_image(example["image"], self._percentiles, self._range)
        return {
            "image": extract_tiles(plan, image)[0].astype(np.float16),
            "distance": np.moveaxis(self._target_of(masks_of(example), plan), 0, -1).astype(np.float16),
        }

    def _target_of(self, masks: np.ndarray, plan: Tiling) -> np.ndarray:
        if self._target == "binary":
            tile = extract_tiles(plan, np.moveaxis(masks, 0, -1))[0]
            return np.where(np.moveaxis(tile, -1, 0), -1.0, 1.0)
        # Edge padding changes no distance: a boundary pixel in the padding repeats a nearer one at the frame.
        margin = math.ceil(self._truncate) + 1
        far = [max(t - n, 0) for t, n in zip(plan.tile, plan.shape, strict=True)]
        padded = np.pad(masks, [(0, 0), *((margin, margin + f) for f in far)], mode="edge")
        window = tuple(slice(int(s), int(s) + t + 2 * margin) for s, t in zip(plan.starts[0], plan.tile, strict=True))
        return np.asarray(_distances(padded[(slice(None), *window)], self._truncate, self._convention, margin))
