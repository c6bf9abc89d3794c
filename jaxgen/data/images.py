"""Images for generation: every one of one size, with values in [-1, 1], and held in memory."""

import functools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
from scipy import sparse

from jaxgen.data.source import ArraySource, Example, Source, Subset, evenly_spaced, patients_of
from jaxgen.errors import UserError
from jaxgen.imaging.intensity import percentile_range

Fit = Literal["pad", "crop", "stretch"]
Range = tuple[tuple[float, ...], tuple[float, ...]]
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


def measure_range(
    source: Source, percentiles: tuple[float, float] = (0.1, 99.9), *, channels: int | None = None, most: int = 500
) -> Range:
    """The range of values of a set of images: measure it on the training set, and keep it with the model.

    Args:
        source: images ``[*spatial, c]`` with raw values.
        percentiles: the lower and the upper one, over the pixels of all images, channel by channel.
        channels: 1 or 3, to measure after `convert_channels`.
        most: look at this many images at most, evenly spaced.

    Returns:
        ``(low, high)``, one number a channel each, to hand to `resized`.

    Raises:
        UserError: if images have different numbers of channels.

    Example:
        >>> source = ArraySource({"image": np.arange(32.0).reshape(2, 4, 4, 1)})
        >>> measure_range(source, (0, 100))
        ((0.0,), (31.0,))
    """
    chosen = evenly_spaced(len(source), most)
    images = [convert_channels(source[i]["image"], channels) for i in chosen]
    _check_channels(images, [source.names[i] for i in chosen])
    low, high = percentile_range(images, *percentiles)
    return tuple((low + 0.0).tolist()), tuple((high + 0.0).tolist())  # -0.0 becomes 0.0


def standard_deviation(
    source: Source,
    size: int | Sequence[int],
    value_range: tuple[Sequence[float], Sequence[float]],
    *,
    most: int = 500,
) -> float:
    """The standard deviation of the values in [-1, 1] of a set of images: ``sigma_data`` of preconditioned networks.

    Args:
        source: images ``[*spatial, c]`` with raw values.
        size: the images' size as the network sees them; see `resized`.
        value_range: what goes to -1 and 1; see `resized`.
        most: look at this many images at most, evenly spaced.

    Returns:
        The standard deviation over all pixels and channels.

    Example:
        >>> source = ArraySource({"image": np.tile([0, 10], 8).reshape(1, 4, 4, 1)})
        >>> standard_deviation(source, 4, ((0,), (10,)))
        1.0
    """
    chosen = np.unique(np.linspace(0, len(source) - 1, min(most, len(source))).astype(int))
    return float(resized(Subset(source, chosen), size, value_range).arrays["image"].std())


def resized(
    source: Source,
    size: int | Sequence[int],
    value_range: tuple[Sequence[float], Sequence[float]],
    *,
    channels: int | None = None,
    fit: Fit = "pad",
    dtype: type[np.floating] | type[np.uint8] = np.float32,
) -> ArraySource:
    """Bring every image to one size and to values in [-1, 1], in memory.

    Along each axis an image is made smaller by averaging over areas, and larger by linear interpolation. The entries
    ``label``, ``labels`` and ``covariates`` are kept, and so are whole numbers on the image's grid (``mask``,
    ``instances``, ``tissue``), by the nearest pixel; other entries are left out.

    Args:
        source: images ``[*spatial, c]`` of any sizes, with raw values.
        size: of the results in pixels, one number or one an axis.
        value_range: ``(low, high)``, a number a channel (or one for all) that goes to -1 and to 1; what lies outside is
            cut off. From `measure_range` over the training set; ``((0,), (255,))`` for whole 8-bit images.
        channels: 1 or 3, to convert colour to grey or grey to colour; None keeps what there is.
        fit: for images of another shape: "pad" with `low` to the shape of `size`, "crop" to it, both about the centre,
            or "stretch".
        dtype: float32, float16, or uint8 to save memory: 0 to 255 then stand for -1 to 1
            (`jaxgen.imaging.to_unit_range` with 0 and 255 on the device).

    Returns:
        Examples ``image [*size, c]`` and what is kept.

    Raises:
        UserError: if images have different numbers of channels or axes.
        ValueError: for another dtype, or a `value_range` that does not fit the channels.

    Example:
        >>> source = ArraySource({"image": np.arange(16).reshape(1, 4, 4, 1), "label": np.array([3])})
        >>> small = resized(source, 2, ((0,), (15,)))
        >>> small[0]["image"][..., 0].astype(float).round(2).tolist(), small[0]["label"].item()
        ([[-0.67, -0.4], [0.4, 0.67]], 3)
    """
    kinds = {np.dtype(t) for t in (np.float32, np.float16, np.uint8)}
    if np.dtype(dtype) not in kinds:
        raise ValueError(f"images are held as float32, float16 or uint8, not {np.dtype(dtype)}")
    low, high = (np.asarray(v, np.float32).reshape(-1) for v in value_range)

    def brought(i: int, example: Example) -> tuple[Example, tuple[int, int]]:
        image = convert_channels(example["image"], channels)
        sides = (size,) * (image.ndim - 1) if isinstance(size, int) else tuple(size)
        if len(sides) != image.ndim - 1:
            raise UserError(
                f"{source.names[i]}: has {image.ndim - 1} spatial axes, but {len(sides)} are wanted; use other images"
            )
        scaled = _to_unit(resize(fit_shape(image, sides, fit, low), sides), low, high)
        kept = {"image": _stored(scaled, np.dtype(dtype))}
        for key, value in example.items():
            value = np.asarray(value)
            if key in ("label", "labels", "covariates"):
                kept[key] = value
            elif value.shape == image.shape[:-1] and value.dtype.kind in "bui":
                kept[key] = nearest(fit_shape(value[..., None], sides, fit, 0), sides)[..., 0]
        return kept, (image.ndim, image.shape[-1])

    first, form = brought(0, source[0])
    if len(low) != len(high) or len(low) not in (1, form[1]):
        raise ValueError(f"a range of {len(low)} and {len(high)} numbers for {form[1]} channels")
    held = {key: np.empty((len(source), *value.shape), value.dtype) for key, value in first.items()}
    names = source.names

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # for decoding
        for start in range(0, len(source), 64):
            chunk = range(start, min(start + 64, len(source)))
            for i, raw in zip(chunk, pool.map(source.__getitem__, chunk), strict=True):
                example, other = brought(i, raw)
                if other != form:
                    raise UserError(_unlike(names[i], other[1], names[0], form[1]))
                for key, array in held.items():
                    array[i] = example[key]
    return ArraySource(held, names, patients_of(source))


def sides_of(size: int | Sequence[int]) -> tuple[int, ...]:
    """The spatial shape that a size means: one number is a square.

    Example:
        >>> sides_of(8), sides_of((4, 6, 8))
        ((8, 8), (4, 6, 8))
    """
    return (size, size) if isinstance(size, int) else tuple(size)


def left_to_right(size: int | Sequence[int]) -> int:
    """The spatial axis from left to right: the columns of an image, the first axis of a volume.

    Example:
        >>> left_to_right(8), left_to_right((4, 6, 8))
        (1, 0)
    """
    return 0 if len(sides_of(size)) == 3 else 1


def convert_channels(image: np.ndarray, channels: int | None) -> np.ndarray:
    """Grey to colour (three times the same) or colour to grey (`LUMA`).

    Args:
        image: ``[*spatial, c]``.
        channels: 1, 3, or None for no change.

    Returns:
        ``[*spatial, channels]``; float32 where colour became grey.

    Raises:
        ValueError: for other numbers of channels.

    Example:
        >>> convert_channels(np.full((1, 1, 3), 7, np.uint8), 1).round(3).tolist()
        [[[7.0]]]
    """
    if channels is None or image.shape[-1] == channels:
        return image
    if (image.shape[-1], channels) == (3, 1):
        return np.einsum("...c,c->...", image, LUMA, dtype=np.float32, casting="unsafe")[..., None]
    if (image.shape[-1], channels) == (1, 3):
        return np.repeat(image, 3, axis=-1)
    raise ValueError(f"{image.shape[-1]} channels cannot become {channels}")


def fit_shape(image: np.ndarray, sides: Sequence[int], fit: Fit, fill: float | np.ndarray) -> np.ndarray:
    """Give an image the shape (not the size) of `sides` by padding or cropping about its centre.

    Args:
        image: ``[*spatial, c]``.
        sides: the proportions wanted.
        fit: "pad", "crop", or "stretch" for no change.
        fill: what padding holds, a number or one a channel.

    Returns:
        ``[*spatial, c]``.

    Example:
        >>> wide = np.ones((2, 4, 1))
        >>> fit_shape(wide, (8, 8), "pad", 0).shape, fit_shape(wide, (8, 8), "crop", 0).shape
        ((4, 4, 1), (2, 2, 1))
    """
    if fit == "stretch":
        return image
    shape = image.shape[:-1]
    scale = (max if fit == "pad" else min)(n / side for n, side in zip(shape, sides, strict=True))
    wanted = tuple(max(1, round(scale * side)) for side in sides)
    cut = tuple(slice(max(0, (n - w) // 2), max(0, (n - w) // 2) + w) for n, w in zip(shape, wanted, strict=True))
    image = image[cut]
    if image.shape[:-1] == wanted:
        return image
    whole = np.empty((*wanted, image.shape[-1]), image.dtype)
    whole[...] = fill
    inner = tuple(slice((w - n) // 2, (w - n) // 2 + n) for n, w in zip(image.shape[:-1], wanted, strict=True))
    whole[inner] = image
    return whole


def resize(image: np.ndarray, sides: Sequence[int]) -> np.ndarray:
    """Resize axis by axis: averages over areas where an axis shrinks, linear interpolation where it grows.

    Pixels are areas: pixel i of n covers ``[i / n, (i + 1) / n]``. Shrinking keeps the mean of the image exactly.

    Args:
        image: ``[*spatial, c]``.
        sides: the size wanted.

    Returns:
        float32 ``[*sides, c]``.

    Example:
        >>> resize(np.array([[0.0], [3.0], [6.0]]), [2])[:, 0].tolist()
        [1.0, 5.0]
        >>> resize(np.array([[0.0], [4.0]]), [4])[:, 0].tolist()
        [0.0, 1.0, 3.0, 4.0]
    """
    result = np.asarray(image, np.float32)
    for axis, side in enumerate(sides):
        if result.shape[axis] != side:
            front = np.moveaxis(result, axis, 0)
            mixed = _weights(front.shape[0], side) @ front.reshape(front.shape[0], -1)
            result = np.moveaxis(mixed.reshape(side, *front.shape[1:]), 0, axis)
    return np.ascontiguousarray(result)


def nearest(image: np.ndarray, sides: Sequence[int]) -> np.ndarray:
    """Resize by taking the nearest pixel: the values stay whole numbers.

    Args:
        image: ``[*spatial, c]``.
        sides: the size wanted.

    Returns:
        ``[*sides, c]``, of the same dtype.

    Example:
        >>> nearest(np.array([[1], [2]]), [4])[:, 0].tolist()
        [1, 1, 2, 2]
    """
    for axis, side in enumerate(sides):
        places = ((np.arange(side) + 0.5) * image.shape[axis] / side).astype(int)
        image = np.take(image, places, axis=axis)
    return image


@functools.lru_cache(maxsize=64)
def _weights(n: int, side: int) -> sparse.csr_array:
    """``[side, n]``: each row adds up to 1. Sparse: most are 0, and BLAS would start threads for each small product."""
    if side <= n:
        edges = np.arange(side + 1) * n / side
        start, stop = edges[:-1, None], edges[1:, None]
        overlap = np.minimum(stop, np.arange(1, n + 1)) - np.maximum(start, np.arange(n))
        return sparse.csr_array((np.clip(overlap, 0, None) * side / n).astype(np.float32))
    place = np.clip((np.arange(side)[:, None] + 0.5) * n / side - 0.5, 0, n - 1)
    return sparse.csr_array(np.clip(1 - np.abs(place - np.arange(n)), 0, None).astype(np.float32))


def _to_unit(image: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    width = np.where(high > low, high - low, 1)
    return np.where(high > low, np.clip(2 * (image - low) / width - 1, -1, 1), 0)


def _stored(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.round((image + 1) * 127.5).astype(dtype) if dtype == np.uint8 else image.astype(dtype)


def _check_channels(images: Sequence[np.ndarray], names: Sequence[str]) -> None:
    for image, name in zip(images, names, strict=True):
        if image.shape[-1] != images[0].shape[-1]:
            raise UserError(_unlike(name, image.shape[-1], names[0], images[0].shape[-1]))


def _unlike(name: str, channels: int, first: str, expected: int) -> str:
    return f"{name}: {channels} channels, but {first} has {expected}; ask for 1 channel (grey) or 3 (colour)"
