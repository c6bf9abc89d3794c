"""One subject in a few images: what a personalised model learns, and whether it is seen again."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxgen.data.folder import FolderSource
from jaxgen.data.images import Range, measure_range, resized
from jaxgen.data.options import Options
from jaxgen.data.pairs import Pair, files_of
from jaxgen.data.phantoms.implant import implant2d
from jaxgen.data.source import ArraySource
from jaxgen.errors import UserError
from jaxgen.metrics import pairwise_similarity
from jaxgen.metrics.correlation import aligned_correlation

UNSEEN = 20
"""Images of the computed patient that are compared, and not learnt."""
MARGIN = 2 / 32
"""What is compared around an implant, in widths of the image; also how far it is moved to be aligned."""


class Subject(NamedTuple):
    """The images of a subject.

    Attributes:
        learnt: images ``[n, h, w, c]`` in [-1, 1].
        unseen: others of the same subject, or none.
        references: what of it must be seen again ``[k, l, m, c]``.
        corner: row and column where these were cut out.
    """

    learnt: np.ndarray
    unseen: np.ndarray
    references: np.ndarray
    corner: tuple[int, int] = (0, 0)

    def similarity(self, images: np.ndarray) -> float:
        """Mean over images of the correlation with the most alike of the references, each aligned."""
        reach = max(1, round(MARGIN * images.shape[2]))
        finite = np.nan_to_num(images)
        found = [aligned_correlation(finite, one, self.corner, reach) for one in self.references]
        return float(np.max(found, axis=0).mean())

    def scores(self, drawn: np.ndarray, of_class: np.ndarray) -> dict[str, float]:
        """What a model knows: of the subject in images drawn of it, and of its class in images of that.

        Args:
            drawn: images ``[n, h, w, c]`` of the prompt of the subject.
            of_class: the same of the prompt of the class.

        Returns:
            ``similarity``, see there; ``diversity``, 1 - MS-SSIM of random pairs of `of_class`; ``drift``, their
            similarity with the subject.
        """
        diversity = 1 - pairwise_similarity(np.nan_to_num(of_class), data_range=2).value
        return {"similarity": self.similarity(drawn), "diversity": diversity, "drift": self.similarity(of_class)}


def changes(scores: Mapping[str, float], generic: Mapping[str, float]) -> dict[str, float]:
    """The scores of a tuned model, with what it gained and lost compared with the generic one.

    Args:
        scores: of `Subject.scores`.
        generic: the same of the generic model.

    Returns:
        `scores` with ``gain`` in similarity, ``lost``, the share of the diversity, and ``drift`` as a difference.

    Example:
        >>> start = {"similarity": 0.25, "diversity": 0.5, "drift": 0.25}
        >>> found = changes({"similarity": 0.75, "diversity": 0.375, "drift": 0.5}, start)
        >>> found["gain"], found["lost"], found["drift"]
        (0.5, 0.25, 0.25)
    """
    gain, lost = scores["similarity"] - generic["similarity"], 1 - scores["diversity"] / generic["diversity"]
    return {**scores, "gain": gain, "lost": lost, "drift": scores["drift"] - generic["drift"]}


def patient_with_implant(seed: int, index: int, size: int, value_range: Range, shots: int) -> Subject:
    """A patient of `jaxgen.data.phantoms.implant.implant2d`; the implant at rest, without noise, is the reference.

    Args:
        seed: of the set.
        index: of the patient.
        size: side of the images in pixels.
        value_range: what goes to -1 and to 1.
        shots: how many images are learnt.

    Example:
        >>> subject = patient_with_implant(0, 0, 32, ((0.0,), (0.85,)), 5)
        >>> len(subject.learnt), subject.references.shape, subject.similarity(subject.unseen) > 0.8
        (5, (1, 13, 13, 1), True)
    """
    rest = implant2d(seed, index, size, visit=None)
    visits = [implant2d(seed, index, size, visit=i)["image"] for i in range(shots + UNSEEN)]
    images = resized(ArraySource({"image": np.stack([rest["image"], *visits])}), size, value_range).arrays["image"]
    margin = round(MARGIN * size)
    rows, columns = (np.flatnonzero(rest["mask"].any(axis)) for axis in (1, 0))
    top, left = max(0, int(rows[0]) - margin), max(0, int(columns[0]) - margin)
    reference = images[:1, top : rows[-1] + 1 + margin, left : columns[-1] + 1 + margin]
    return Subject(images[1 : shots + 1], images[shots + 1 :], reference, (top, left))


def subject_in_folder(folder: Path, size: int, channels: int, shots: int) -> Subject:
    """The images of a folder, at one size and with the range of their own values; the learnt ones are the references.

    Args:
        folder: of images of one subject.
        size: side of the images in pixels.
        channels: 1 for grey, 3 for colour.
        shots: how many are learnt, the first ones by name.

    Raises:
        UserError: if there is no such folder, or it holds fewer images.
    """
    if not folder.is_dir():
        raise UserError(f"--subject {folder}: no such folder; give one with a few images of one subject")
    files = files_of(folder, "image")
    if len(files) < shots:
        raise UserError(f"--subject {folder}: holds {len(files)} images; add some, or give fewer --shots")
    source = FolderSource([Pair(name, file) for name, file in files.items()], Options(wants=("image",)))
    images = resized(source, size, measure_range(source, channels=channels), channels=channels).arrays["image"]
    return Subject(images[:shots], images[shots:], images[:shots])
