"""A source whose images are brought to one size when they are asked for: for sets of volumes larger than memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxgen.data.images import resized
from jaxgen.data.source import ChangedSource, Example, Source, Subset


class ResizedSource(ChangedSource):
    """The examples of a source as `jaxgen.data.resized` makes them, one at a time.

    Args:
        source: images ``[*spatial, c]`` of any sizes, with raw values.
        size: of the results, one number or one an axis.
        value_range: what goes to -1 and to 1.
        **options: others of `jaxgen.data.resized`.

    Example:
        >>> from jaxgen.data.source import ArraySource
        >>> source = ArraySource({"image": np.zeros((2, 4, 4, 4, 1))})
        >>> ResizedSource(source, 2, ((0,), (1,)))[1]["image"].shape
        (2, 2, 2, 1)
    """

    def __init__(
        self,
        source: Source,
        size: int | Sequence[int],
        value_range: tuple[Sequence[float], Sequence[float]],
        **options: Any,
    ) -> None:
        super().__init__(source)
        self._size, self._range, self._options = size, value_range, options

    @property
    def covariates(self) -> np.ndarray | None:
        """The covariates ``[n, k]``, or None where the source does not know them unread."""
        return getattr(self._source, "covariates", None)

    def __getitem__(self, i: int) -> Example:
        one = resized(Subset(self._source, [i]), self._size, self._range, **self._options)
        return one[0]
