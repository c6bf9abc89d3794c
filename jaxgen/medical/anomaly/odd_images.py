"""Images unlike the data, made of the data, and how well a score tells them from those."""

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from jaxgen.metrics import auroc

ODD = ("blurred", "empty", "bright disc", "noisy", "negative")


def odd_images(whole: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Images unlike the data, made of the data: two kinds are simpler, three are not.

    Args:
        whole: bytes ``[n, h, w, c]``.
        seed: of the places of the discs and of the noise.

    Returns:
        Bytes ``[n, h, w, c]`` by kind.

    Example:
        >>> list(odd_images(np.zeros((2, 16, 16, 1), np.uint8), 0))
        ['blurred', 'empty', 'bright disc', 'noisy', 'negative']
    """
    rng = np.random.default_rng(seed)
    n, h, w, _ = whole.shape
    blurred = ndimage.gaussian_filter(whole.astype(np.float32), (0, h / 16, w / 16, 0))
    empty = np.broadcast_to(whole.mean((1, 2), keepdims=True), whole.shape)
    rows, columns = np.indices((h, w))
    centre = rng.uniform(0.35, 0.65, (n, 2, 1, 1)) * np.array([h, w])[:, None, None]
    disc = ((rows - centre[:, 0]) / h) ** 2 + ((columns - centre[:, 1]) / w) ** 2 < 0.1**2
    marked = np.where(disc[..., None], 255.0, whole)
    noisy = whole + 25 * rng.standard_normal(whole.shape)
    made = zip(ODD, (blurred, empty, marked, noisy, 255.0 - whole), strict=True)
    return {name: np.clip(np.rint(x), 0, 255).astype(np.uint8) for name, x in made}


def areas(scores: Mapping[str, np.ndarray], usual: str) -> dict[str, float]:
    """The area under the ROC curve of each set of odd images against usual ones, named ``auroc_`` and its name.

    Args:
        scores: ``[n]`` of each set, higher for odd images.
        usual: the name of the set of usual images.

    Returns:
        The areas of all other sets.

    Example:
        >>> areas({"test": np.array([0.0, 1.0]), "very odd": np.array([2.0, 3.0])}, "test")
        {'auroc_very_odd': 1.0}
    """
    known = scores[usual]
    truth = np.repeat([1, 0], len(known))
    odd = {name: score for name, score in scores.items() if name != usual}
    return {metric_of(name): float(auroc(np.concatenate([score, known]), truth)) for name, score in odd.items()}


def metric_of(name: str) -> str:
    """The name of the area of a set: ``auroc_`` and its name.

    Args:
        name: of the set.

    Returns:
        The name of the metric.
    """
    return f"auroc_{name.replace(' ', '_')}"
