"""Sampling that draws again, from new noise, whatever is linked to a person of the training set."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxgen.medical.privacy.linking import Linking
from jaxgen.types import Key


class PrivateSamples(NamedTuple):
    """Images that are linked to nobody, and what it took.

    Attributes:
        images: those accepted, ``[m, ...]``.
        label: their classes ``[m]``.
        asked: the classes asked for, ``[n]``.
        draws: images drawn for each of them, ``[n]``.
        accepted: whether one was found before the cap, ``[n]``; the others are missing from `images`.
        first: the first image drawn for each, linked or not ``[n, ...]``: what sampling without the filter gives.
        first_linked: whether it was linked, ``[n]``.
    """

    images: np.ndarray
    label: np.ndarray
    asked: np.ndarray
    draws: np.ndarray
    accepted: np.ndarray
    first: np.ndarray
    first_linked: np.ndarray


def private_samples(
    draw: Callable[[Key, np.ndarray], np.ndarray], link: Linking, key: Key, label: np.ndarray, most: int = 10
) -> PrivateSamples:
    """Draw images of classes until each is linked to nobody, or a cap is reached.

    Image i of round r is drawn with ``fold_in(fold_in(key, r), i)``, whatever happened to the others.

    Args:
        draw: ``draw(keys [n], label [n]) -> images [n, ...]``.
        link: what links images to people, such as `jaxgen.medical.privacy.linking.two_stages`.
        key: one key.
        label: the classes ``[n]``.
        most: images drawn for each at most.

    Returns:
        The images, in the order asked for. An image that is still linked at the cap is never among them.

    Reference:
        Packhaeuser et al. 2023, arXiv 2211.01323, section 2.2.

    Example:
        >>> from jaxgen.medical.privacy.linking import pixel_distance
        >>> draw = lambda keys, label: label[:, None].astype(float)
        >>> link = pixel_distance(np.array([[0.0]]), 0.5)
        >>> found = private_samples(draw, link, jax.random.key(0), np.array([0, 3]), 4)
        >>> found.images.tolist(), found.draws.tolist(), found.accepted.tolist()
        ([[3.0]], [4, 1], [False, True])
    """
    label = np.asarray(label)

    def drawn(again: int, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(key, again), i))(which)
        images = draw(keys, label[which])
        return images, link(images).linked

    first, first_linked = drawn(0, np.arange(len(label)))
    images, linked, draws = first.copy(), first_linked.copy(), np.ones(len(label), int)
    for again in range(1, most):
        left = np.flatnonzero(linked)
        if len(left):
            images[left], linked[left] = drawn(again, left)
            draws[left] += 1
    kept = ~linked
    return PrivateSamples(images[kept], label[kept], label, draws, kept, first, first_linked)


def acceptance(samples: PrivateSamples, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """What sampling took, by class.

    Args:
        samples: of `private_samples`.
        classes: the names of the classes; none if there is one class.

    Returns:
        For each class asked for, the numbers of images ``asked`` for, ``drawn`` and ``accepted``, and ``rate``, the
        share of those drawn that were accepted.

    Example:
        >>> x, kept = np.zeros((2, 1)), np.array([True, False])
        >>> found = PrivateSamples(x[:1], np.ones(1, int), np.ones(2, int), np.array([1, 3]), kept, x, ~kept)
        >>> acceptance(found, ("a", "b"))
        {'b': {'asked': 2, 'drawn': 4, 'accepted': 1, 'rate': 0.25}}
    """
    found = {}
    for k in np.unique(samples.asked).tolist():
        own = samples.asked == k
        drawn, kept = int(samples.draws[own].sum()), int(samples.accepted[own].sum())
        name = classes[k] if classes else "all"
        found[name] = {"asked": int(own.sum()), "drawn": drawn, "accepted": kept, "rate": kept / drawn}
    return found
