"""Comparing a set of sampled masks with a set of reference masks, such as several readers' of one image.

The distance between two masks is ``d(a, b) = 1 - IoU(a, b)``, with ``d = 0`` between two empty masks. All but
`matched_iou` are safe under `jax.jit`; map over images with `jax.vmap`.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy.optimize import linear_sum_assignment

from jaxgen.types import Array


def _pairs(a: Array, b: Array) -> tuple[Array, Array]:
    """Pixels in both masks, and the sum of the two masks' pixels, for every pair: ``[n, m]`` each.

    The sum is NaN where a mask holds NaN or infinity.
    """
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(f"masks differ in shape: {a.shape[1:]} and {b.shape[1:]}")
    masks = [jnp.asarray(m).reshape(m.shape[0], -1) for m in (a, b)]
    flat = [(m != 0).astype(jnp.float32) for m in masks]
    sizes = [jnp.where(jnp.isfinite(m).all(1), x.sum(1), jnp.nan) for m, x in zip(masks, flat, strict=True)]
    both = jnp.matmul(flat[0], flat[1].T, precision=lax.Precision.HIGHEST)
    return both, sizes[0][:, None] + sizes[1][None]


def pairwise_iou(a: Array, b: Array) -> Array:
    """Intersection over union of every mask of one set with every mask of another; 1 for two empty masks.

    Args:
        a: ``[n, *spatial]``, foreground where nonzero.
        b: ``[m, *spatial]``.

    Returns:
        float32 ``[n, m]``; pixel counts are exact up to 2^24 pixels a mask. NaN where a mask holds NaN or infinity.

    Raises:
        ValueError: if the spatial shapes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> pairwise_iou(jnp.array([[1, 1, 0]]), jnp.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]])).tolist()
        [[1.0, 0.5, 0.0]]
    """
    both, sizes = _pairs(a, b)
    union = sizes - both
    return jnp.where(union == 0, 1.0, both / jnp.maximum(union, 1))


def generalized_energy_distance(
    samples: Array, references: Array, *, reference_weights: Array | None = None, unbiased: bool = False
) -> Array:
    """Generalized energy distance, squared, between sampled masks and reference masks.

    ``D^2 = 2 E d(s, y) - E d(s, s') - E d(y, y')`` with s, s' independent samples, y, y' independent references and
    ``d = 1 - IoU``. 0 if and only if the two distributions are equal (for expectations over them).

    The V form (the default, as in the literature) averages the last two terms over all pairs, a mask with itself among
    them, which makes D^2 too large by ``E d(s, s') / n + E d(y, y') / m`` on average. The U form (`unbiased`) averages
    over pairs of different masks, ``1 / (n (n - 1))`` in place of ``1 / n^2``; it may be negative. Use it to compare
    sets of different sizes.

    Args:
        samples: ``[n, *spatial]``, foreground where nonzero.
        references: ``[m, *spatial]``.
        reference_weights: probabilities ``[m]`` that add up to 1, if the references and their distribution are known
            exactly; the reference term then is that of the distribution and needs no correction in either form.
        unbiased: the U form.

    Returns:
        float32 scalar.

    Raises:
        ValueError: if the spatial shapes differ, or the U form is asked for from a single mask.

    Reference:
        Székely and Rizzo, "Energy statistics", 2013; Kohl et al., "A Probabilistic U-Net for Segmentation of Ambiguous
        Images", 2018 (arXiv 1806.05034), equation 4.

    Example:
        >>> import jax.numpy as jnp
        >>> readers = jnp.array([[1, 1, 0, 0], [1, 0, 0, 0]])
        >>> generalized_energy_distance(readers, readers).item()
        0.0
        >>> generalized_energy_distance(readers[:1], readers).item()
        0.25
    """
    n, m = samples.shape[0], references.shape[0]
    if unbiased and (n < 2 or (m < 2 and reference_weights is None)):
        raise ValueError(f"the unbiased form needs two masks of each kind, got {n} samples and {m} references")
    across, within_s, within_y = (
        1 - pairwise_iou(a, b) for a, b in ((samples, references), (samples, samples), (references, references))
    )
    pairs_s = n * (n - 1) if unbiased else n * n
    if reference_weights is None:
        pairs_y = m * (m - 1) if unbiased else m * m
        return 2 * jnp.mean(across) - jnp.sum(within_s) / pairs_s - jnp.sum(within_y) / pairs_y
    weights = jnp.asarray(reference_weights, jnp.float32)
    return 2 * jnp.mean(across, axis=0) @ weights - jnp.sum(within_s) / pairs_s - weights @ within_y @ weights


def maximum_dice_matching(samples: Array, references: Array) -> Array:
    """D_max: the Dice of the best sample for each reference, averaged over the references.

    ``mean_y max_s Dice(s, y)``; 1 for two empty masks.

    Args:
        samples: ``[n, *spatial]``, foreground where nonzero.
        references: ``[m, *spatial]``.

    Returns:
        float32 scalar in [0, 1]; it can only grow with more samples.

    Raises:
        ValueError: if the spatial shapes differ.

    Reference:
        Rahman et al., "Ambiguous Medical Image Segmentation using Diffusion Models", 2023 (arXiv 2304.04745).

    Example:
        >>> import jax.numpy as jnp
        >>> readers = jnp.array([[1, 1, 0, 0], [0, 0, 0, 0]])
        >>> maximum_dice_matching(jnp.array([[0, 1, 1, 0], [0, 0, 0, 0]]), readers).item()
        0.75
    """
    both, sizes = _pairs(samples, references)
    score = jnp.where(sizes == 0, 1.0, 2 * both / jnp.maximum(sizes, 1))
    return jnp.mean(jnp.max(score, axis=0))


def matched_iou(samples: Array, references: Array) -> float:
    """Hungarian-matched IoU: the mean IoU of the best one-to-one pairing of samples and references.

    Sets of different sizes are first repeated to their least common multiple. On the host, with SciPy.

    Args:
        samples: ``[n, *spatial]``, foreground where nonzero.
        references: ``[m, *spatial]``.

    Returns:
        A number in [0, 1]; 1 only if the two sets agree in every mask and its share.

    Raises:
        ValueError: if the spatial shapes differ.

    Reference:
        Kohl et al., "A Hierarchical Probabilistic U-Net for Modeling Multi-Scale Ambiguities", 2019 (arXiv 1905.13077).

    Example:
        >>> import jax.numpy as jnp
        >>> readers = jnp.array([[1, 1, 0, 0], [0, 0, 1, 1]])
        >>> matched_iou(readers[::-1], readers), matched_iou(readers[:1], readers)
        (1.0, 0.5)
    """
    score = np.asarray(pairwise_iou(samples, references), np.float64)
    if np.isnan(score).any():
        return math.nan
    common = math.lcm(*score.shape)
    score = np.repeat(np.repeat(score, common // score.shape[0], axis=0), common // score.shape[1], axis=1)
    return float(score[linear_sum_assignment(score, maximize=True)].mean())
