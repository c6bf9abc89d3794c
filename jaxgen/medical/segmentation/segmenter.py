"""An ensemble of masks and a deterministic network, both on whole images."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxgen.medical.segmentation.cases import Case, of_maps, of_probability
from jaxgen.medical.segmentation.whole_image import by_tiles
from jaxgen.types import Array, Key


class Segmenter(NamedTuple):
    """An ensemble and a deterministic network on whole images: tiles of equal size, blended where they overlap.

    Attributes:
        names: of the deterministic network and of the ensemble in the predictions of a `Case`.
        probability: ``probability(tiles [b, size, size, c]) -> [b, size, size, 1]`` of the foreground, compiled.
        draw: ``draw(keys [b], tiles [b, size, size, c]) -> maps [members, b, size, size, 1]``, compiled.
        threshold: a map is foreground where it is at most this.
        size: of a tile, in pixels along one side.
        overlap: pixels that neighbouring tiles share at least.
        chunk: tiles that are segmented together, and images of which maps are held at once.
    """

    names: tuple[str, str]
    probability: Callable[[Array], Array]
    draw: Callable[[Key, Array], Array]
    threshold: float
    size: int
    overlap: int
    chunk: int

    def maps(self, key: Key, images: Sequence[np.ndarray], *, first: int = 0) -> list[np.ndarray]:
        """The ensemble's maps ``[members, h, w]`` of images ``[h, w, c]``; `first` is the number of the first image."""
        return self._whole(self.draw, key, images, first)

    def probabilities(self, key: Key, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The deterministic network's probability of the foreground ``[h, w]`` for each image ``[h, w, c]``."""
        return self._whole(lambda keys, tiles: self.probability(tiles), key, images, 0)

    def _whole(self, function: Any, key: Key, images: Sequence[np.ndarray], first: int) -> list[np.ndarray]:
        found = by_tiles(function, key, images, self.size, overlap=self.overlap, chunk=self.chunk, first=first)
        return [x[..., 0] for x in found]

    def cases(self, examples: Iterable[tuple[str, np.ndarray, np.ndarray]], key: Key) -> list[Case]:
        """What both say of images; of the ensemble's maps only the masks and the summary are kept.

        Args:
            examples: name, image ``[h, w, c]`` and masks bool ``[raters, h, w]`` of each; read a few at a time.
            key: one key.

        Returns:
            A `Case` for each.
        """
        found: list[Case] = []
        left = iter(examples)
        while few := list(itertools.islice(left, self.chunk)):
            images = [image for _, image, _ in few]
            both = self.maps(key, images, first=len(found)), self.probabilities(key, images)
            for (name, image, raters), maps, probability in zip(few, *both, strict=True):
                predictions = of_probability(probability), of_maps(maps, self.threshold)
                found.append(Case.of(name, image, raters, dict(zip(self.names, predictions, strict=True))))
        return found
