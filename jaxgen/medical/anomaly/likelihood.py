"""Anomaly scores from the likelihood of a model, and the remedies for what is wrong with it.

An image that is simpler than all training images (blurred, or empty) can be more likely than any of them, for a density
model spends most of its bits on detail that says nothing of health. The plain score calls such images normal. Each
score here is larger for images that are more anomalous.
"""

import io
import math
import zlib

import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxgen import draws
from jaxgen.errors import UserError
from jaxgen.types import Array, Key


def likelihood_score(log_prob: np.ndarray) -> np.ndarray:
    """The plain score, ``-log p(x)`` in bits.

    It fails on images that are simpler than the training images: see `complexity_corrected_score`.

    Args:
        log_prob: ``[n]`` in nats.

    Returns:
        ``[n]`` bits.

    Reference:
        Bishop 1994, "Novelty detection and neural network validation"; Nalisnick et al. 2019, "Do deep generative
        models know what they don't know?", arXiv 1810.09136, for the failure.

    Example:
        >>> likelihood_score(np.array([-math.log(8.0)])).round(6).tolist()
        [3.0]
    """
    return -np.asarray(log_prob, np.float64) / math.log(2)


def complexity(images: np.ndarray) -> np.ndarray:
    """The length of each image after lossless compression, in bits: the shorter of PNG's and zlib's.

    Args:
        images: whole numbers ``[n, h, w, c]``, uint8; with other than 1 or 3 channels zlib alone is used.

    Returns:
        ``[n]`` bits.

    Raises:
        UserError: if the images are not bytes.

    Reference:
        Serra et al. 2020, "Input complexity and out-of-distribution detection with likelihood-based generative models",
        arXiv 1909.11480, section 4.1.

    Example:
        >>> flat, noise = np.zeros((32, 32, 1)), np.random.default_rng(0).integers(0, 256, (32, 32, 1))
        >>> simple, complex_ = complexity(np.stack([flat, noise]).astype(np.uint8))
        >>> bool(simple < 1000 < 8000 < complex_)
        True
    """
    if images.dtype != np.uint8 or images.ndim != 4:
        raise UserError(f"compression needs bytes [n, h, w, c], not {images.dtype} {images.shape}: scale to 0 .. 255")

    def bits(image: np.ndarray) -> int:
        lengths = [len(zlib.compress(image.tobytes(), 9))]
        if image.shape[-1] in (1, 3):
            file = io.BytesIO()
            Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "png", optimize=True)
            lengths.append(len(file.getvalue()))
        return 8 * min(lengths)

    return np.array([bits(image) for image in images], np.float64)


def complexity_corrected_score(log_prob: np.ndarray, complexity_bits: np.ndarray) -> np.ndarray:
    """The bits that the model needs beyond a general compressor: ``S(x) = -log2 p(x) - L(x)``.

    A log-likelihood ratio of a universal model of images and the one trained: simple images are cheap for both.

    Args:
        log_prob: ``[n]`` in nats of whole numbers, as of a flow with a dequantiser.
        complexity_bits: L, ``[n]``, from `complexity`.

    Returns:
        ``[n]`` bits.

    Reference:
        Serra et al. 2020, arXiv 1909.11480, eq. 1.

    Example:
        >>> complexity_corrected_score(np.array([-math.log(8.0)]), np.array([1.0])).round(6).tolist()
        [2.0]
    """
    return likelihood_score(log_prob) - np.asarray(complexity_bits, np.float64)


def background_corrected_score(log_prob: np.ndarray, background_log_prob: np.ndarray) -> np.ndarray:
    """The likelihood ratio to a model of the background: ``-(log p(x) - log p_background(x))`` in bits.

    Args:
        log_prob: ``[n]`` in nats, of the model.
        background_log_prob: ``[n]`` in nats, of an equal model trained on `mutated` images.

    Returns:
        ``[n]`` bits.

    Reference:
        Ren et al. 2019, "Likelihood ratios for out-of-distribution detection", arXiv 1906.02845, eq. 4.

    Example:
        >>> background_corrected_score(np.array([-2.0]) * math.log(2), np.array([-3.0]) * math.log(2)).round(6).tolist()
        [-1.0]
    """
    return likelihood_score(np.asarray(log_prob, np.float64) - np.asarray(background_log_prob, np.float64))


def mutated(key: Key, image: Array, rate: float, *, bins: int = 256) -> Array:
    """Images in which a share of the pixels was replaced by random values: what a background model is trained on.

    Args:
        key: one key, or ``[b]``.
        image: ``[b, *spatial, c]`` in [-1, 1].
        rate: the share of the numbers to replace; Ren et al. use 0.1 to 0.3 for images.
        bins: values that a number can take.

    Returns:
        ``[b, *spatial, c]``.

    Reference:
        Ren et al. 2019, arXiv 1906.02845, section 3.

    Example:
        >>> import jax
        >>> bool(abs((mutated(jax.random.key(0), jnp.zeros((1, 100, 100, 1)), 0.2) != 0).mean() - 0.2) < 0.02)
        True
    """
    where_key, value_key = draws.split(key, 2)
    values = -1 + 2 * jnp.floor(bins * draws.uniform(value_key, image.shape)) / (bins - 1)
    return jnp.where(draws.bernoulli(where_key, rate, image.shape), values, image)


def typicality_score(log_prob: np.ndarray, reference_log_prob: np.ndarray) -> np.ndarray:
    """How far the log-likelihood is from that of ordinary images, on either side: ``|log p(x) - mean|`` in bits.

    Args:
        log_prob: ``[n]`` in nats.
        reference_log_prob: ``[m]`` in nats, of images known to be normal that the model was not trained on.

    Returns:
        ``[n]`` bits.

    Reference:
        Nalisnick, Matsukawa, Teh & Lakshminarayanan 2019, "Detecting out-of-distribution inputs to deep generative
        models using typicality", arXiv 1906.02994.

    Example:
        >>> typicality_score(np.array([0.0, -2.0]) * math.log(2), np.full(3, -1.0) * math.log(2)).round(6).tolist()
        [1.0, 1.0]
    """
    return np.abs(likelihood_score(log_prob) - likelihood_score(reference_log_prob).mean())
