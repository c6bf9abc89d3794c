"""The slices of volumes across one axis as examples, for networks that learn planes of volumes."""

from collections.abc import Sequence

import numpy as np

from jaxgen.data.resizing import ResizedSource
from jaxgen.data.source import Example, Source, Splits, patients_of
from jaxgen.errors import UserError

HELD_BYTES = 2**32
"""Of the volumes that a source holds because a slice of each was asked for."""


class PlaneSlices:
    """All slices of volumes across an axis, as bytes; blank ones too, which a volume has.

    Volumes are brought to one size when a slice of them is first asked for, and held up to `HELD_BYTES`; beyond, each
    slice reads its volume again.

    Args:
        source: volumes ``[x, y, z, c]`` with raw values.
        axis: 0, 1 or 2, that the slices lie across.
        size: voxels of a volume along each axis.
        value_range: what goes to -1 and to 1; see `jaxgen.data.resized`.

    Example:
        >>> from jaxgen.data.source import ArraySource
        >>> source = PlaneSlices(ArraySource({"image": np.zeros((2, 4, 4, 4, 1))}), 2, (4, 5, 6), ((0,), (1,)))
        >>> len(source), source[7]["image"].shape, source.names[7]
        (12, (4, 5, 1), '1, slice 1')
    """

    def __init__(
        self,
        source: Source,
        axis: int,
        size: Sequence[int],
        value_range: tuple[Sequence[float], Sequence[float]],
    ) -> None:
        self._source, self._axis, self._depth = source, axis, size[axis]
        self._volumes = ResizedSource(source, tuple(size), value_range, dtype=np.uint8)
        self._held: dict[int, np.ndarray] = {}

    @property
    def names(self) -> Sequence[str]:
        """The name of each slice's volume, and its number there."""
        return [f"{name}, slice {k}" for name in self._source.names for k in range(self._depth)]

    @property
    def patients(self) -> Sequence[str] | None:
        """The patient of each slice, or None."""
        known = patients_of(self._source)
        return None if known is None else [patient for patient in known for _ in range(self._depth)]

    def __len__(self) -> int:
        return len(self._source) * self._depth

    def __getitem__(self, i: int) -> Example:
        number, k = divmod(range(len(self))[i], self._depth)
        volume = self._held.get(number)
        if volume is None:
            volume = self._volumes[number]["image"]
            if (len(self._held) + 1) * volume.nbytes <= HELD_BYTES:
                self._held[number] = volume
        return {"image": volume.take(k, self._axis)}


def require_slices(splits: Splits, least: int, where: str) -> None:
    """Refuse volumes with too few slices along z, their last axis; the first of each part is looked at.

    Args:
        splits: volumes ``[x, y, z, c]``.
        least: the number of slices.
        where: the data, for the message.

    Raises:
        UserError: if there are fewer.
    """
    for part in splits[:3]:
        if len(part) and (depth := part[0]["image"].shape[2]) < least:
            raise UserError(f"{where}: {part.names[0]} has {depth} slices along z; at least {least} are needed")
