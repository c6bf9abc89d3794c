"""A source whose images are brought to one voxel size, so that a network sees one scale."""

from collections.abc import Sequence

import numpy as np

from jaxgen.data import checks
from jaxgen.data.images import nearest, resize
from jaxgen.data.source import ChangedSource, Example, Source
from jaxgen.errors import UserError


def respaced_shape(shape: Sequence[int], spacing: Sequence[float], wanted: Sequence[float]) -> tuple[int, ...]:
    """How many voxels of another size cover the same field of view.

    Example:
        >>> respaced_shape((40, 10), (1.0, 4.0), (1.0, 2.0))
        (40, 20)
    """
    return tuple(max(1, round(n * s / w)) for n, s, w in zip(shape, spacing, wanted, strict=True))


class RespacedSource(ChangedSource):
    """The examples of a source with voxels of one size: images by area averages or linearly, masks by the nearest.

    Args:
        source: images ``[*spatial, c]`` with ``mask`` or ``masks``, and perhaps the ``spacing`` of each.
        spacing: the voxel size wanted, in millimetres along each axis.
        given: that of examples without one.

    Example:
        >>> from jaxgen.data.source import ArraySource
        >>> arrays = {"image": np.zeros((1, 4, 4, 1)), "mask": np.ones((1, 4, 4)), "spacing": np.ones((1, 2))}
        >>> RespacedSource(ArraySource(arrays), (1.0, 0.5))[0]["mask"].shape
        (4, 8)
    """

    def __init__(self, source: Source, spacing: Sequence[float], given: Sequence[float] | None = None) -> None:
        super().__init__(source)
        self._spacing, self._given = tuple(spacing), given

    def __getitem__(self, i: int) -> Example:
        example = self._source[i]
        shape = example["image"].shape[:-1]
        sides = respaced_shape(shape, spacing_of(example, self.names[i], self._given), self._spacing)
        found = {**example, "spacing": np.asarray(self._spacing, np.float32)}
        if sides == shape:
            return found
        found["image"] = resize(example["image"], sides)
        for name in {"mask", "masks"} & {*example}:
            last = np.moveaxis(example[name].reshape(-1, *shape), 0, -1)
            moved = np.moveaxis(nearest(last, sides), -1, 0)
            found[name] = moved.reshape(*example[name].shape[: -len(shape)], *sides)
        return found


def resized_to(image: np.ndarray, spacing: Sequence[float], wanted: Sequence[float]) -> np.ndarray:
    """An image ``[*spatial, c]`` of voxels of one size, brought to those of another.

    Example:
        >>> resized_to(np.zeros((4, 1)), (1.0,), (0.5,)).shape
        (8, 1)
    """
    sides = respaced_shape(image.shape[:-1], spacing, wanted)
    return image if sides == image.shape[:-1] else resize(image, sides)


def to_shape(maps: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Bring maps back to the grid of the image they were made for.

    Args:
        maps: ``[..., *spatial, d]``, the spatial axes as many as in `shape`.
        shape: the spatial shape wanted.

    Returns:
        ``[..., *shape, d]``, linearly interpolated, or averaged where an axis shrinks; `maps` where nothing changes.

    Example:
        >>> to_shape(np.array([[[0.0], [4.0]]]), (4,)).tolist()
        [[[0.0], [1.0], [3.0], [4.0]]]
    """
    rank = len(shape)
    if maps.shape[-rank - 1 : -1] == tuple(shape):
        return maps
    flat = maps.reshape(-1, *maps.shape[-rank - 1 :])
    return np.stack([resize(one, shape) for one in flat]).reshape(*maps.shape[: -rank - 1], *shape, maps.shape[-1])


def spacing_of(example: Example, name: str, given: Sequence[float] | None = None) -> tuple[float, ...]:
    """Millimetres of a voxel along each axis of an example.

    Args:
        example: with ``spacing``, where its file says it.
        name: of the example, for the message.
        given: that of files that do not say.

    Returns:
        One number an axis.

    Raises:
        UserError: if the file does not say and nothing is given, or a size is not above 0.

    Example:
        >>> spacing_of({}, "a", (1.0, 1.0, 3.0))
        (1.0, 1.0, 3.0)
    """
    if given is None and "spacing" not in example:
        raise UserError(
            f"{name}: does not say how large its voxels are; give millimetres along each axis with --spacing, such as "
            "1,1,1, or save it as NIfTI (in an npz as `spacing`)"
        )
    spacing = np.asarray(example.get("spacing", given), np.float64)
    if not (np.isfinite(spacing) & (spacing > 0)).all():
        raise UserError(f"{name}: voxels of {spacing.tolist()} mm; correct its header")
    return tuple(spacing.round(6).tolist())


def training_grid(
    source: Source, where: str, given: Sequence[float] | None = None
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """The voxel size that volumes are brought to, and the largest shape that they then have.

    Args:
        source: the training volumes.
        where: the data, for messages.
        given: see `spacing_of`.

    Returns:
        The median spacing along each axis in millimetres, and the largest number of voxels along each.

    Raises:
        UserError: see `spacing_of`.

    Reference:
        The target spacing of Isensee et al. 2021, "nnU-Net".
    """
    found = []
    for i in range(len(source)):
        example = source[i]
        found.append((example["image"].shape[:-1], spacing_of(example, f"{where}: {source.names[i]}", given)))
    spacing = tuple(np.median([s for _, s in found], axis=0).tolist())
    shapes = [respaced_shape(shape, s, spacing) for shape, s in found]
    return spacing, tuple(np.max(shapes, axis=0).tolist())


def patch_shape(
    size: int | Sequence[int], spacing: Sequence[float], shape: Sequence[int], multiple: int
) -> tuple[int, ...]:
    """The shape of training patches: of like extent along all axes where one number is given, and within the volumes.

    Args:
        size: voxels along the axis of the finest spacing, or along each axis.
        spacing: millimetres of a voxel along each axis.
        shape: of the largest volume.
        multiple: what every axis must be a multiple of.

    Returns:
        Voxels along each axis.

    Raises:
        UserError: if `size` names every axis, and one of them is longer than any volume.

    Example:
        >>> patch_shape(64, (1.0, 1.0, 4.0), (200, 40, 30), 8)
        (64, 40, 16)
    """
    up = [-(-n // multiple) * multiple for n in shape]
    if not isinstance(size, int):
        if any(wanted > most for wanted, most in zip(size, up, strict=True)):
            raise UserError(
                f"--size {','.join(map(str, size))}: the training volumes have at most {checks.describe(tuple(shape))} "
                f"voxels; use at most {','.join(map(str, up))}"
            )
        return tuple(size)
    finest = min(spacing)
    like = [max(1, round(size * finest / step / multiple)) * multiple for step in spacing]
    return tuple(min(n, most) for n, most in zip(like, up, strict=True))
