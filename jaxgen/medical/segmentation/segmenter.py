"""An ensemble of masks and a deterministic network, both on whole images and volumes."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxgen.imaging.distance import Spacing
from jaxgen.imaging.tiles import extract_tiles, gaussian_window, tile_window, tiling
from jaxgen.medical.segmentation.cases import Case, Prediction, worst_to_best
from jaxgen.medical.segmentation.classes import by_maps, by_probabilities, by_probability
from jaxgen.medical.segmentation.whole_image import by_tiles
from jaxgen.types import Array, Key


class Ensemble(NamedTuple):
    """A method that draws several segmentations of an image, as maps like those of the training masks.

    Attributes:
        name: of its row in the metrics.
        label: of it in figures and the headline.
        draw: ``draw(keys [b], tiles [b, *size, c]) -> maps [members, b, *size, classes]``, compiled.
        noise: channels of the noise field that overlapping windows of a volume share, ``members * classes``: it is
            then the third argument of `draw`, ``[b, *size, noise]``. With 0 each window draws its own.
        probability: whether the maps are probabilities of the classes, of which the mean is taken, not maps that are
            low inside.
    """

    name: str
    label: str
    draw: Callable[..., Array]
    noise: int = 0
    probability: bool = False

    def predictions(self, maps: np.ndarray, threshold: float) -> tuple[Prediction, ...]:
        """What maps ``[members, *spatial, classes]`` say of each class."""
        return by_probabilities(maps) if self.probability else by_maps(maps, threshold)


class Example(NamedTuple):
    """An image to segment, and its truth.

    Attributes:
        name: its name.
        image: ``[*spatial, c]`` as the network sees it.
        masks: bool ``[raters, *spatial, classes]``, on the grid of the file.
        spacing: the size of a pixel of the masks, see `Case`.
    """

    name: str
    image: np.ndarray
    masks: np.ndarray
    spacing: Spacing = 1.0


def first_tiles(cases: Sequence[Case], method: str, size: Sequence[int], most: int = 3) -> np.ndarray:
    """The first tile of a few images, those with the highest Dice of the ones that figures show.

    Args:
        cases: the test images.
        method: whose Dice.
        size: of a tile.
        most: images at most.

    Returns:
        ``[most, *size, c]``.

    Example:
        >>> case = Case("a", np.zeros((4, 4, 1)), np.ones((1, 4, 4)), np.ones((4, 4)), {}, {"flow": 0.5})
        >>> first_tiles([case], "flow", (2, 2)).shape
        (1, 2, 2, 1)
    """
    few = [cases[i].image for i in worst_to_best(cases, method)[-most:]]
    return np.stack([extract_tiles(tiling(x.shape[:-1], size), x)[0] for x in few])


def headline_of(found: Mapping[str, Any], method: Ensemble, baseline: str, members: int) -> str:
    """The result of an evaluation in a sentence or two.

    Args:
        found: the table of metrics, see `jaxgen.medical.segmentation.cases.table`.
        method: the ensemble.
        baseline: the row of the deterministic network.
        members: samples in an ensemble.

    Returns:
        The text.
    """
    ours, unet, single = found[method.name], found[baseline], found[f"{method.name}_single"]
    text = (
        f"Dice {ours['dice']:.3f} for the mean of {members} {method.label} samples ({single['dice']:.3f} for one), "
        f"{unet['dice']:.3f} for a deterministic U-Net; the uncertainty finds wrong pixels with AUROC "
        f"{ours['error_auroc']:.2f}."
    )
    if "ged" in ours:
        text += f" Energy distance to the raters {ours['ged']:.3f}, U-Net {unet['ged']:.3f}."
    return text


def _as_they_are(maps: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    return maps


class Segmenter(NamedTuple):
    """An ensemble and a deterministic network on whole images: tiles of equal size, blended where they overlap.

    Attributes:
        baseline: the name of the deterministic network in the predictions of a `Case`.
        method: the ensemble.
        probability: ``probability(tiles [b, *size, c]) -> [b, *size, classes]``, compiled.
        threshold: a map is foreground where it is at most this.
        size: of a tile, in pixels along each axis; windows of volumes are weighted by a Gaussian.
        overlap: pixels that neighbouring tiles share at least, along each axis.
        chunk: tiles that are segmented together, and images of which maps are held at once.
        restore: ``restore(maps [..., *spatial, d], shape)`` brings maps to the grid of the masks.
        others: further ensembles that test images are segmented by, to compare with.
        whole: above 0, each image is segmented at once, its sides filled up to multiples of this.
    """

    baseline: str
    method: Ensemble
    probability: Callable[[Array], Array]
    threshold: float
    size: tuple[int, ...]
    overlap: tuple[int, ...]
    chunk: int
    restore: Callable[[np.ndarray, Sequence[int]], np.ndarray] = _as_they_are
    others: tuple[Ensemble, ...] = ()
    whole: int = 0

    def maps(self, key: Key, images: Sequence[np.ndarray], *, first: int = 0) -> list[np.ndarray]:
        """The ensemble's maps ``[members, *spatial, classes]`` of images ``[*spatial, c]``, numbered from `first`."""
        return self._maps(self.method, key, images, first)

    def _maps(self, method: Ensemble, key: Key, images: Sequence[np.ndarray], first: int) -> list[np.ndarray]:
        noise = method.noise if len(self.size) > 2 else 0
        return self._whole(method.draw, key, images, first=first, noise=noise)

    def probabilities(self, key: Key, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The deterministic network's probability of each class ``[*spatial, classes]`` for each image."""
        return self._whole(lambda keys, tiles: self.probability(tiles), key, images)

    def _whole(self, function: Any, key: Key, images: Sequence[np.ndarray], **options: Any) -> list[np.ndarray]:
        window = gaussian_window if len(self.size) > 2 else tile_window
        if not self.whole:
            shared: dict[str, Any] = {"overlap": self.overlap, "chunk": self.chunk, "window": window}
            return by_tiles(function, key, images, self.size, **shared, **options)
        first = options.pop("first", 0)
        found = []
        for i, image in enumerate(images, first):
            size = [-(-n // self.whole) * self.whole for n in image.shape[:-1]]
            found += by_tiles(function, key, [image], size, overlap=0, chunk=1, window=window, first=i, **options)
        return found

    def cases(self, examples: Iterable[Example], key: Key) -> list[tuple[Case, ...]]:
        """What both say of images; of the ensemble's maps only the masks and the summary are kept.

        Args:
            examples: read a few at a time.
            key: one key.

        Returns:
            For each image a `Case` for each class.
        """
        found: list[tuple[Case, ...]] = []
        left = iter(examples)
        while few := list(itertools.islice(left, self.chunk)):
            images = [example.image for example in few]
            both = self.probabilities(key, images), self.maps(key, images, first=len(found))
            others = [self._maps(other, key, images, len(found)) for other in self.others]
            for i, (example, p, maps) in enumerate(zip(few, *both, strict=True)):
                found.append(self.case(example, p, maps, [drawn[i] for drawn in others]))
        return found

    def case(
        self,
        example: Example,
        probability: np.ndarray | None,
        maps: np.ndarray,
        others: Sequence[np.ndarray] = (),
    ) -> tuple[Case, ...]:
        """A case for each class of an image, from what all give on the network's grid, or the ensemble alone."""
        name, image, masks, spacing = example
        shape = masks.shape[1:-1]

        def said(method: Ensemble, maps: np.ndarray) -> tuple[Prediction, ...]:
            return method.predictions(self.restore(maps, shape), self.threshold)

        every = {} if probability is None else {self.baseline: by_probability(self.restore(probability, shape))}
        every |= {other.name: said(other, drawn) for other, drawn in zip(self.others, others, strict=False)}
        every[self.method.name] = said(self.method, maps)
        shown = self.restore(image, shape)
        return tuple(
            Case.of(name, shown, masks[..., k], {method: each[k] for method, each in every.items()}, spacing)
            for k in range(masks.shape[-1])
        )
