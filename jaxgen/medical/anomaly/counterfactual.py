"""Counterfactuals: what an image would look like were it healthy, by encoding it into noise and decoding it otherwise.

One function, `translate`: the probability flow carries an image up to a level of noise under one denoiser and back down
under another. The pairs of denoisers that the literature has:

- Wolleb et al. 2022: `classifier_pair`, guided by a classifier of noisy images;
- Sanchez et al. 2022: `classifier_free_pair`, encoding under the null label;
- DDIB (Su et al. 2023): ``translate(path, diseased, healthy, x, grid)``, of two models, or `label_pair` of one.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax

from jaxgen.guidance import classifier, classifier_free_batched
from jaxgen.paths import Path
from jaxgen.samplers import clip, ddim, dynamic_threshold, invert, sample
from jaxgen.types import Array, Denoise

dynamic_normalisation = functools.partial(dynamic_threshold, quantile=0.99, channelwise=True)
"""Each x0 is cut to its own range and that brought back to [-1, 1], channel by channel (Sanchez et al. 2022).

``q = max(1, 99 % quantile of |x0|)`` of each channel of each example, ``x0 <- clip(x0, -q, q) / q``. Guidance of large
weight drives values out of range; plain clipping then saturates them.
"""


class Pair(NamedTuple):
    """Two denoisers to translate with.

    Attributes:
        encode: of the images as they are.
        decode: of the images as they should be.
    """

    encode: Denoise
    decode: Denoise


class LabelledNetworks(NamedTuple):
    """Trained networks that are told a label, for ``b`` images.

    Attributes:
        denoise: ``(x_t, t, label [b]) -> x0_hat``.
        log_healthy: ``(x_t, t) -> [b]``, the log-probability that noisy images are healthy.
        healthy: the label of the healthy, ``[b]``.
        ill: that of the ill.
        null: that of a dropped label.
    """

    denoise: Callable[[Array, Array, Array], Array]
    log_healthy: Callable[[Array, Array], Array]
    healthy: Array
    ill: Array
    null: Array

    def denoise_any(self, x: Array, t: Array) -> Array:
        """The denoiser of images of any kind."""
        return self.denoise(x, t, self.null)


def translate(path: Path, encode: Denoise, decode: Denoise, x: Array, grid: Array, *, iterations: int = 0) -> Array:
    """Carry images up the grid under one denoiser and down again under another, by the probability flow.

    With one denoiser for both it gives the images back, up to the error of DDIM, which is of order 1 in the steps. What
    the noise at the grid's first time holds is kept: the anatomy. What the two denoisers disagree on is changed.

    Args:
        path: the path.
        encode: of the source, such as the diseased, or of anything.
        decode: of the target, such as the healthy.
        x: images ``[b, *spatial, c]``, in the range that the denoisers were trained on.
        grid: times ``[steps + 1]`` that begin at the level to encode to: ``grids.uniform(path, steps, start=level)``.
        iterations: fixed-point iterations a step of the encoding, see `jaxgen.samplers.invert`: 3 make the round trip
            nearly exact, at 4 times the cost.

    Returns:
        ``[b, *spatial, c]``.

    Reference:
        Su et al. 2023, "Dual diffusion implicit bridges for image-to-image translation", algorithm 1; Wolleb et al.
        2022, "Diffusion models for medical anomaly detection", algorithm 1; Sanchez et al. 2022, "What is healthy?
        Generative counterfactual diffusion for lesion localization".

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxgen.mixtures import gaussian
        >>> from jaxgen.paths import variance_preserving
        >>> from jaxgen.samplers import grids
        >>> path = variance_preserving()
        >>> source, target = (gaussian([m], [[0.25]]).denoiser(path) for m in (0.0, 1.0))
        >>> y = translate(path, source, target, jnp.array([[0.3]]), grids.log_snr(path, 100), iterations=2)
        >>> bool(abs(y[0, 0] - 1.3) < 0.02)
        True
    """
    nothing = jax.random.key(0)  # neither step draws
    encoded = sample(invert(path, iterations), encode, nothing, x, grid[::-1])
    return sample(ddim(path), decode, nothing, encoded, grid)


def classifier_free_pair(
    denoise: Callable[[Array, Array, Array], Array],
    target: Array,
    null: Array,
    scale: float,
    *,
    normalise: Callable[[Denoise], Denoise] = dynamic_normalisation,
) -> Pair:
    """The denoisers of Sanchez et al.: encode under the null label, decode under classifier-free guidance.

    Args:
        denoise: ``(x_t, t, label [b]) -> x0_hat`` of a model trained with dropped labels.
        target: the label to decode to, ``[b]``: that of the healthy.
        null: the null label ``[b]``.
        scale: of the guidance, 1 for none; the paper takes 3.
        normalise: what is done with every x0_hat; `jaxgen.samplers.clip` is the plain way.

    Returns:
        The `Pair`, for `translate`.

    Reference:
        Sanchez et al. 2022, "What is healthy? Generative counterfactual diffusion for lesion localization".

    Example:
        >>> import jax.numpy as jnp
        >>> pair = classifier_free_pair(lambda x, t, y: 0 * x + y[:, None, None], jnp.zeros(1), jnp.ones(1), 1.5)
        >>> [denoise(jnp.zeros((1, 2, 1)), 0.5).ravel().tolist() for denoise in pair]
        [[1.0, 1.0], [-0.5, -0.5]]
    """
    encode = normalise(lambda x, t: denoise(x, t, null))
    return Pair(encode, normalise(classifier_free_batched(denoise, target, null, scale)))


def classifier_pair(
    path: Path,
    denoise: Denoise,
    log_prob: Callable[[Array, Array], Array],
    scale: float,
    *,
    covariance: Callable[[Array], Array] | None = None,
) -> Pair:
    """The denoisers of Wolleb et al.: encode as the image is, decode towards what a noisy classifier calls healthy.

    x0_hat is cut to [-1, 1] under guidance: a sure classifier has steep places, where unclipped guidance runs away in
    one image of some dozens.

    Args:
        path: the path of both.
        denoise: ``(x_t, t) -> x0_hat``.
        log_prob: ``(x_t, t) -> [b]``, log-probabilities of the healthy.
        scale: of the guidance, 0 for none; the paper takes 100.
        covariance: of coarse noise (`jaxgen.guidance.classifier`); None for white noise.

    Returns:
        The `Pair`, for `translate`.

    Reference:
        Wolleb et al. 2022, "Diffusion models for medical anomaly detection", algorithm 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxgen.paths import variance_preserving
        >>> log_prob = lambda x, t: x.sum((1, 2))
        >>> pair = classifier_pair(variance_preserving(), lambda x, t: 0 * x, log_prob, 1e6)
        >>> [float(denoise(jnp.zeros((1, 1, 1)), jnp.float32(0.5))[0, 0, 0]) for denoise in pair]
        [0.0, 1.0]
    """
    return Pair(denoise, clip(classifier(denoise, log_prob, path, scale, covariance=covariance)))


def label_pair(denoise: Callable[[Array, Array, Array], Array], source: Array, target: Array) -> Pair:
    """The denoisers of a bridge between two labels of one model: encode under one, decode under the other.

    Args:
        denoise: ``(x_t, t, label [b]) -> x0_hat``.
        source: the label of the images as they are, ``[b]``.
        target: the label of the images as they should be, ``[b]``.

    Returns:
        The `Pair`, for `translate`.

    Reference:
        Su et al. 2023, "Dual diffusion implicit bridges for image-to-image translation", algorithm 1.

    Example:
        >>> import jax.numpy as jnp
        >>> pair = label_pair(lambda x, t, y: 0 * x + y[:, None], jnp.ones(1), jnp.zeros(1))
        >>> [float(denoise(jnp.zeros((1, 1)), 0.5)[0, 0]) for denoise in pair]
        [1.0, 0.0]
    """
    return Pair(lambda x, t: denoise(x, t, source), lambda x, t: denoise(x, t, target))
