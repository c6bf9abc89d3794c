"""Whether an image shows a person of a known set: retrieval by an embedding, then verification of the one retrieved.

An embedding is a function of images ``[n, ...]`` to ``[n, d]``, a verifier one of two sets of images ``[n, ...]`` that
gives scores ``[n]``, larger for one person.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxgen.metrics.memorisation import nearest_neighbours

Embed = Callable[[np.ndarray], np.ndarray]
Verify = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Links(NamedTuple):
    """What a set of known images has to do with some images.

    Attributes:
        score: of each image with the known image that is most alike, larger for one person, ``[n]``.
        nearest: which known image that is, ``[n]``.
        linked: whether the two are taken for one person, ``[n]``.
    """

    score: np.ndarray
    nearest: np.ndarray
    linked: np.ndarray


Linking = Callable[[np.ndarray], Links]
"""``images [n, ...] -> Links``."""


def two_stages(embed: Embed, verify: Verify, known: np.ndarray, threshold: float) -> Linking:
    """Link images to people by retrieval, then verification.

    For each image the known image with the nearest embedding is retrieved, and the verifier compares the two; a score
    of `threshold` or more links them. A score that is not finite links as well: what cannot be compared is not let
    through.

    Args:
        embed: the embedding.
        verify: the verifier.
        known: images that a model was trained on, ``[m, ...]``.
        threshold: see `threshold_at_miss_rate`.

    Returns:
        The function that links.

    Reference:
        Packhaeuser et al. 2023, "Generation of anonymous chest radiographs using latent diffusion models for training
        thoracic abnormality classification systems", arXiv 2211.01323, section 2.2.

    Example:
        >>> same = lambda a, b: -abs(a - b)[:, 0]
        >>> links = two_stages(lambda x: x, same, np.array([[0.0], [5.0]]), -0.5)(np.array([[4.9], [1.0]]))
        >>> links.nearest.tolist(), links.linked.tolist()
        ([1, 0], [True, False])
    """
    places = embed(known)

    def link(images: np.ndarray) -> Links:
        index = nearest_neighbours(np.nan_to_num(embed(images)), places)[1]
        score = np.asarray(verify(images, known[index]), np.float64)
        return Links(score, index, ~(score < threshold) | ~np.isfinite(score))

    return link


def pixel_distance(known: np.ndarray, least: float) -> Linking:
    """The baseline: an image is linked to the known image at the least Euclidean distance, if that is at most `least`.

    Args:
        known: images ``[m, ...]``.
        least: the distance, over all pixels.

    Returns:
        The function that links; its score is the negative distance.

    Example:
        >>> pixel_distance(np.array([[0.0], [5.0]]), 0.5)(np.array([[4.9], [1.0]])).linked.tolist()
        [True, False]
    """
    flat = known.reshape(len(known), -1)

    def link(images: np.ndarray) -> Links:
        distance, index = nearest_neighbours(np.nan_to_num(images.reshape(len(images), -1)), flat)
        return Links(-distance, index, distance <= least)

    return link


def threshold_at_miss_rate(score: np.ndarray, rate: float = 0.01) -> float:
    """The highest threshold that misses at most a share of the pairs of one person.

    Args:
        score: of pairs of images of one person, larger for one person, ``[n]``.
        rate: the share of them that may score below the threshold: the false non-match rate.

    Returns:
        The threshold; pairs of that score are matches.

    Raises:
        ValueError: if there is no pair, or a score is not finite.

    Example:
        >>> threshold_at_miss_rate(np.arange(200.0), 0.01)
        2.0
    """
    ordered = np.sort(np.asarray(score, np.float64))
    if not len(ordered) or not np.isfinite(ordered).all():
        raise ValueError("a threshold needs finite scores of pairs of one person")
    return float(ordered[int(rate * len(ordered) + 1e-9)])


def threshold_at_acceptance(score: np.ndarray, accepted: float) -> float:
    """The threshold of a score from which on images are linked, so that a given share is not.

    Args:
        score: of images, larger for one person, ``[n]``.
        accepted: the share that stays below the threshold.

    Returns:
        The threshold; infinite if all are accepted.

    Example:
        >>> threshold_at_acceptance(np.array([4.0, 1.0, 3.0, 2.0]), 0.5)
        3.0
    """
    ordered = np.append(np.sort(np.asarray(score, np.float64)), np.inf)
    return float(ordered[round(accepted * (len(ordered) - 1))])
