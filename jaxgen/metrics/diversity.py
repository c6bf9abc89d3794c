"""How different the members of one set are from each other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.distance import pdist

from jaxgen.metrics.bootstrap import Estimate
from jaxgen.metrics.image_quality import ms_ssim
from jaxgen.types import Array


def pairwise_similarity(
    images: Array | np.ndarray, *, data_range: float, most: int = 1000, batch: int = 50, seed: int = 0
) -> Estimate:
    """Mean multi-scale structural similarity of pairs of a set: the lower, the more diverse the set.

    Images are paired at random, each with one other, so that pairs are independent and the standard error is that of a
    mean. Compare with the value of real images, of the same size and number.

    Args:
        images: ``[n, *spatial, c]``.
        data_range: see `jaxgen.metrics.image_quality.ssim`.
        most: look at this many pairs at most.
        batch: pairs computed at once.
        seed: of the pairs.

    Returns:
        The mean and its standard error.

    Raises:
        ValueError: with fewer than four images (two pairs).

    Reference:
        Odena, Olah and Shlens, "Conditional Image Synthesis with Auxiliary Classifier GANs", 2017 (arXiv 1610.09585),
        section 4.2.

    Example:
        >>> same = jnp.ones((6, 1, 1, 1)) * jnp.linspace(-1, 1, 256).reshape(16, 16, 1)
        >>> pairwise_similarity(same, data_range=2).value
        1.0
    """
    pairs = min(len(images) // 2, most)
    if pairs < 2:
        raise ValueError(f"needs four images or more for two pairs, got {len(images)}")
    order = np.random.default_rng(seed).permutation(len(images))
    found = []
    for start in range(0, pairs, batch):  # the last batch is filled up, so that one program serves all
        chosen = np.arange(start, start + min(batch, pairs)) % pairs
        score = _similarity(images[order[2 * chosen]], images[order[2 * chosen + 1]], data_range)
        found.append(np.asarray(score, np.float64)[: pairs - start])
    values = np.concatenate(found)
    return Estimate(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))


def within_class_distance(features: np.ndarray, label: np.ndarray | None = None) -> float:
    """Mean distance of two members of one class, averaged over the classes: near 0 where each class has one image.

    ``1 / K sum_k mean_(i != j of class k) |f_i - f_j|``. Coverage counts which classes are drawn, this how different
    the images of a class are; compare with real images in the same features.

    Args:
        features: ``[n, d]``.
        label: ``[n]``, the class of each; None takes all for one class. Classes of one member are left out.

    Returns:
        The mean, in the units of the features.

    Raises:
        ValueError: where no class has two members.

    Example:
        >>> within_class_distance(np.array([[0.0], [1.0], [7.0], [7.0]]), np.array([0, 0, 1, 1]))
        0.5
    """
    features = np.asarray(features, np.float64)
    label = np.zeros(len(features), int) if label is None else np.asarray(label)
    classes = [features[label == k] for k in np.unique(label)]
    means = [pdist(members).mean() for members in classes if len(members) > 1]
    if not means:
        raise ValueError(f"needs two members of a class, got {len(features)} features of {len(classes)} classes")
    return float(np.mean(means))


@functools.partial(jax.jit, static_argnums=2)
def _similarity(a: Array, b: Array, data_range: float) -> Array:
    return ms_ssim(jnp.asarray(a), jnp.asarray(b), data_range=data_range)
