"""Training tiles for segmentation: scaled images with the signed distance maps of their masks, augmented."""

import functools
import itertools
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


def masks_of(example: Example, classes: int = 1) -> np.ndarray:
    """The masks of an example, one rater where there is one mask.

    Args:
        example: with ``mask``, or ``masks`` of several raters.
        classes: how many classes the masks tell apart.

    Returns:
        ``[raters, *spatial, classes]`` bool, where each class is.

    Example:
        >>> masks_of({"mask": np.array([0, 2])}).tolist(), masks_of({"mask": np.array([0, 2])}, 2).tolist()
        ([[[False], [True]]], [[[False, False], [False, True]]])
    """
    numbers = example["masks"] if "masks" in example else example["mask"][None]
    return numbers[..., None] > 0 if classes == 1 else numbers[..., None] == np.arange(1, classes + 1)


def relative_spacing(example: Example) -> tuple[float, ...]:
    """The size of a voxel along each axis over that of its shortest side; all 1 where it is not known.

    Example:
        >>> relative_spacing({"image": np.zeros((4, 4, 2, 1)), "spacing": np.array([0.5, 0.5, 2])})
        (1.0, 1.0, 4.0)
    """
    spacing = np.asarray(example.get("spacing", np.ones(example["image"].ndim - 1)), np.float64)
    return tuple((spacing / spacing.min()).round(3).tolist())


@functools.partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _distances(
    masks: Array, truncate: float, convention: Convention, margins: tuple[int, ...], spacing: tuple[float, ...]
) -> Array:
    distance = functools.partial(signed_distance, truncate=truncate, convention=convention, spacing=spacing)
    inside = (slice(margin, n - margin) for margin, n in zip(margins, masks.shape[1:], strict=True))
    return jax.vmap(distance)(masks)[(slice(None), *inside)]


def augment_tiles(key: Key, batch: Batch, *, flips: bool = True, quarter_turns: bool = True) -> dict[str, Array]:
    """Flips and turns of tiles on the device, the same for image and map, and of several raters one at random.

    One rater per example is what the spread of several raters is learned from.

    Args:
        key: keys ``[b]``.
        batch: ``image [b, *size, c]`` and ``distance [b, *size, raters, classes]``, or the images alone; see
            `SegmentationTiles`.
        flips: mirror along each axis with probability one half.
        quarter_turns: turn by multiples of 90 degrees in the plane of the first two axes of equal length, if any.

    Returns:
        The batch in float32, with ``distance [b, *size, classes]``.

    Example:
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> batch = {"image": jnp.zeros((2, 4, 4, 1)), "distance": jnp.zeros((2, 4, 4, 3, 1))}
        >>> augment_tiles(keys, batch)["distance"].shape
        (2, 4, 4, 1)
    """
    flip_key, turn_key, rater_key = draws.split(key, 3)
    batch = {name: x.astype(jnp.float32) for name, x in batch.items()}
    sides = batch["image"].shape[1:-1]
    if flips:
        batch = random_flip(flip_key, batch, axes=range(len(sides)))
    planes = [(i, j) for i, j in itertools.combinations(range(len(sides)), 2) if sides[i] == sides[j]]
    if quarter_turns and planes:
        batch = random_quarter_turn(turn_key, batch, axes=planes[0])
    if "distance" not in batch:
        return batch
    maps = batch["distance"]
    rater = jax.vmap(lambda k: jax.random.randint(k, (), 0, maps.shape[-2]))(rater_key)
    chosen = rater.reshape(-1, *(1,) * (maps.ndim - 1))
    return batch | {"distance": jnp.squeeze(jnp.take_along_axis(maps, chosen, axis=-2), -2)}


def with_coordinates(image: np.ndarray) -> np.ndarray:
    """An image with the place of each pixel as further channels, one an axis, from -1 to 1 over the whole image.

    Args:
        image: ``[*spatial, c]``.

    Returns:
        float32 ``[*spatial, c + rank]``; an axis of one pixel is 0.

    Reference:
        Bieder et al. 2023, "Memory-efficient 3D denoising diffusion models for medical image processing", arXiv
        2303.15288, section 3.

    Example:
        >>> with_coordinates(np.zeros((2, 3, 1)))[..., 1:].tolist()[1]
        [[1.0, -1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    lines = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in image.shape[:-1]]
    places = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1)
    return np.concatenate([image, places], axis=-1).astype(np.float32)


class SegmentationTiles:
    """Tiles of equal size cut from a source of images with masks.

    ``tiles[i]`` holds ``image`` float16 ``[*size, c]`` in [-1, 1] and ``distance`` ``[*size, raters, classes]``, too:
    the truncated signed distance of each class in each rater's mask, or -1 inside and +1 outside for the target
    ``"binary"``. A distance is that of the whole image, however it is cut: masks are cut with a margin as wide as the
    truncation. Where voxels are not cubes (``spacing``), distances are in units of their shortest side.

    Every image is read once when the tiles are made, to know its size and its range of values.

    Args:
        source: images ``[*spatial, c]`` with ``mask`` or ``masks``; sizes may differ, the number of channels and of
            raters may not.
        size: of a tile in pixels, one number or one an axis.
        percentiles: see `scale_image`.
        value_range: see `scale_image`.
        truncate: delta of the distance maps, in pixels (the shortest sides of voxels).
        convention: of the distance maps, see `jaxgen.imaging.distance.signed_distance`.
        target: ``"distance"``, or ``"binary"`` for the ablation without distances; None for tiles of images alone.
        overlap: pixels that neighbouring tiles share at least, one number or one an axis.
        classes: how many classes masks tell apart.
        coordinates: whether tiles also hold the place of each pixel, see `with_coordinates`.

    Raises:
        UserError: if two images differ in their number of channels or raters.
    """

    def __init__(
        self,
        source: Source,
        size: int | Sequence[int],
        *,
        percentiles: tuple[float, float],
        value_range: tuple[Sequence[float], Sequence[float]] | None = None,
        truncate: float = 15.0,
        convention: Convention = "boundary_zero",
        target: Target | None = "distance",
        overlap: int | Sequence[int] = 0,
        classes: int = 1,
        coordinates: bool = False,
    ) -> None:
        self._source, self._percentiles, self._range = source, percentiles, value_range
        self._coordinates = coordinates
        self._truncate, self._convention, self._target, self._classes = truncate, convention, target, classes
        self._plans: list[Tiling] = []
        self._index: list[tuple[int, int]] = []
        kinds: dict[tuple[int, int], str] = {}
        for i in range(len(source)):
            example = source[i]
            image, raters = example["image"], len(masks_of(example, classes))
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
        image = with_coordinates(image) if self._coordinates else image
        seen = {"image": extract_tiles(plan, image)[0].astype(np.float16)}
        if self._target is None:
            return seen
        masks = np.moveaxis(masks_of(example, self._classes), 0, -2)
        return seen | {"distance": self._target_of(masks, plan, relative_spacing(example)).astype(np.float16)}

    def _target_of(self, masks: np.ndarray, plan: Tiling, spacing: tuple[float, ...]) -> np.ndarray:
        """The maps ``[*tile, raters, classes]`` of masks ``[*spatial, raters, classes]``."""
        if self._target == "binary":
            return np.where(extract_tiles(plan, masks)[0], -1.0, 1.0)
        # Edge padding changes no distance: a boundary pixel in the padding repeats a nearer one at the frame.
        margins = tuple(math.ceil(self._truncate / step) + 1 for step in spacing)
        far = [max(t - n, 0) for t, n in zip(plan.tile, plan.shape, strict=True)]
        padded = np.pad(masks, [*((m, m + f) for m, f in zip(margins, far, strict=True)), (0, 0), (0, 0)], mode="edge")
        wide = (t + 2 * m for t, m in zip(plan.tile, margins, strict=True))
        window = padded[tuple(slice(int(s), int(s) + n) for s, n in zip(plan.starts[0], wide, strict=True))]
        each = np.moveaxis(window.reshape(*window.shape[:-2], -1), -1, 0)
        maps = np.asarray(_distances(jnp.asarray(each), self._truncate, self._convention, margins, spacing))
        return np.moveaxis(maps, 0, -1).reshape(*plan.tile, *masks.shape[-2:])
