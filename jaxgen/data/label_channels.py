"""Label maps as images with a channel for every label."""

import numpy as np

from jaxgen.data.source import ChangedSource, Example, Source


class Maps(ChangedSource):
    """Images with their label maps as ``source [*spatial, labels]``, -1 and 1, the background first.

    Args:
        source: images with ``mask``, numbered from 0.
        labels: how many, with the background.

    Example:
        >>> from jaxgen.data.source import ArraySource
        >>> one = ArraySource({"image": np.zeros((1, 1, 2, 1)), "mask": np.array([[[0, 2]]])})
        >>> Maps(one, 3)[0]["source"].tolist()
        [[[1.0, -1.0, -1.0], [-1.0, -1.0, 1.0]]]
    """

    def __init__(self, source: Source, labels: int) -> None:
        super().__init__(source)
        self._labels = labels

    def __getitem__(self, i: int) -> Example:
        example = self._source[i]
        return {"image": example["image"], "source": 2 * np.eye(self._labels, dtype=np.float32)[example["mask"]] - 1}
