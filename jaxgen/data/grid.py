"""How a segmentation network sees images: scaled, of volumes with voxels of one size, and tile by tile."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxgen.data.respacing import RespacedSource, resized_to, spacing_of
from jaxgen.data.segmentation import SegmentationTiles, scale_image, with_coordinates
from jaxgen.data.source import Example, Source
from jaxgen.errors import UserError


class Grid(NamedTuple):
    """The grid and the values of the images that a network sees.

    Attributes:
        tile: the shape of a tile.
        least_overlap: pixels that neighbouring tiles share at least; of volumes at most a half.
        percentiles: see `jaxgen.data.segmentation.scale_image`.
        value_range: see there.
        spacing: of volumes, millimetres of a voxel along each axis; empty for images, which keep their pixels.
        given: the voxel size of files that do not say.
        coordinates: whether the network also sees the place of each pixel (`with_coordinates`).
    """

    tile: tuple[int, ...]
    least_overlap: int
    percentiles: tuple[float, float]
    value_range: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    spacing: tuple[float, ...] = ()
    given: Sequence[float] | None = None
    coordinates: bool = False

    @property
    def overlap(self) -> tuple[int, ...]:
        """Pixels that neighbouring tiles share at least along each axis."""
        return tuple(min(self.least_overlap, n // 2 if self.spacing else n - 1) for n in self.tile)

    def image(self, example: Example, name: str) -> tuple[np.ndarray, Any]:
        """An image as the network sees it, and the size of the pixels of its file.

        Args:
            example: with ``image`` and perhaps ``spacing``.
            name: of the example, for messages.

        Returns:
            ``[*spatial, c]`` in [-1, 1]; millimetres along each axis, or 1.0 where they are not known.

        Raises:
            UserError: for a volume whose voxels have no size.

        Example:
            >>> grid = Grid((8, 8), 4, (0.0, 100.0))
            >>> image, spacing = grid.image({"image": np.arange(4.0).reshape(2, 2, 1)}, "a")
            >>> image[..., 0].astype(float).round(2).tolist(), spacing
            ([[-1.0, -0.33], [0.33, 1.0]], 1.0)
        """
        image = scale_image(example["image"], self.percentiles, self.value_range)
        spacing: Any = tuple(example["spacing"].tolist()) if "spacing" in example else 1.0
        if self.spacing:
            spacing = spacing_of(example, name, self.given)
            image = resized_to(image, spacing, self.spacing)
        return with_coordinates(image) if self.coordinates else image, spacing

    def tiles(self, source: Source, **options: Any) -> SegmentationTiles:
        """Training tiles of a source; the options are those of `SegmentationTiles` that say what masks become."""
        seen = RespacedSource(source, self.spacing, self.given) if self.spacing else source
        shared: dict[str, Any] = {"percentiles": self.percentiles, "value_range": self.value_range}
        shared |= {"overlap": self.overlap, "coordinates": self.coordinates}
        return SegmentationTiles(seen, self.tile, **shared, **options)


def check_axes(spatial: int, slices: bool, **numbers: object) -> None:
    """Refuse options that do not fit the number of spatial axes.

    Args:
        spatial: 2 or 3.
        slices: whether volumes are taken slice by slice.
        **numbers: values of flags, by name; those with several numbers need one for each axis.

    Raises:
        UserError: naming the flag.

    Example:
        >>> check_axes(3, False, size=(32, 32, 16), spacing=None)
    """
    for name, given in numbers.items():
        if isinstance(given, tuple) and len(given) != spatial:
            raise UserError(f"--{name} has {len(given)} numbers for --spatial {spatial}; give one for each axis")
    if spatial == 3 and slices:
        raise UserError("--slices: --spatial 3 takes whole volumes; leave one of them out")
