"""Slices of volumes, one by one or several neighbours together, as examples."""

from collections.abc import Sequence

import numpy as np

from jaxgen.data.source import Example, Source


class SliceWindows:
    """Every window of consecutive slices of volumes along their last axis, or every single slice.

    A slice has the third axis of the volume gone, and the second before the first, so that its columns run from left to
    right where the first axis does.

    Args:
        source: volumes ``image [x, y, z, c]`` of one size, and other entries ``[x, y, z, ...]``.
        depth: their number of slices.
        width: slices of a window; None for single slices.

    Example:
        >>> from jaxgen.data.source import ArraySource
        >>> volumes = ArraySource({"image": np.arange(24).reshape(1, 2, 3, 4, 1)})
        >>> windows = SliceWindows(volumes, 4, 2)
        >>> len(windows), windows.names[2], windows[2]["image"].shape, windows[2]["image"][:, 1, 0, 0].tolist()
        (3, '0[2:4]', (2, 3, 2, 1), [6, 7])
        >>> SliceWindows(volumes, 4)[3]["image"].shape
        (3, 2, 1)
    """

    def __init__(self, source: Source, depth: int, width: int | None = None) -> None:
        self._source, self._width = source, width
        self._starts = depth - (width or 1) + 1

    @property
    def names(self) -> Sequence[str]:
        """The name of the volume, with the slices in brackets."""
        ends = [f"[{z}]" if self._width is None else f"[{z}:{z + self._width}]" for z in range(self._starts)]
        return [name + end for name in self._source.names for end in ends]

    def __len__(self) -> int:
        return len(self._source) * self._starts

    def __getitem__(self, i: int) -> Example:
        volume, z = divmod(range(len(self))[i], self._starts)
        return {name: self._window(array.swapaxes(0, 2), z) for name, array in self._source[volume].items()}

    def _window(self, array: np.ndarray, z: int) -> np.ndarray:
        return array[z] if self._width is None else array[z : z + self._width]
