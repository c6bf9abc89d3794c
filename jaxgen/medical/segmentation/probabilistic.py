"""The probabilistic U-Net: a segmentation network that reads a Gaussian code, one mask for each code."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.losses import likelihood
from jaxgen.losses.autoencoding import gaussian_kl
from jaxgen.medical.segmentation.ambiguous import code_of
from jaxgen.medical.segmentation.classes import class_numbers
from jaxgen.medical.segmentation.deterministic import class_probability
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params


class CodedSegmenter(NamedTuple):
    """The four networks of a probabilistic U-Net.

    Attributes:
        features: from images ``[b, *spatial, c]`` to features of the same resolution, a U-Net.
        prior: from images to the mean and the logarithm of the variance of a code, ``[b, 2 k]``.
        posterior: the same from an image and a mask, ``[b, *spatial, c + d]``.
        combine: from features and a code at each pixel to logits, a perceptron over channels.
    """

    features: Net
    prior: Net
    posterior: Net
    combine: Net


def _drawn(key: Key, mean: Array, log_variance: Array) -> Array:
    return mean + jnp.exp(0.5 * log_variance) * draws.normal(key, mean.shape)


def _logits(nets: CodedSegmenter, params: Params, features: Array, code: Array) -> Array:
    spread = code.reshape(len(code), *(1,) * (features.ndim - 2), -1)
    spread = jnp.broadcast_to(spread, (*features.shape[:-1], code.shape[-1]))
    return nets.combine.apply(params["combine"], jnp.concatenate([features, spread], axis=-1))


def probabilistic_unet(nets: CodedSegmenter, *, weight: float = 1.0) -> Model:
    """Segmentation under a code that says which of the possible masks is meant, by a bound on the likelihood.

    The loss of an example is ``-log p(mask | image, z) + weight KL(Q(z | image, mask) || P(z | image))`` with z drawn
    from Q; the likelihood is the sum over pixels.

    Args:
        nets: the networks.
        weight: of the divergence; 1 is the bound.

    Returns:
        A `Model` with one group ``"net"``; batches hold ``image`` and ``distance``, at most 0 inside a mask.
        ``sample(params, key, n, cond=image)`` gives the probability of each class under one code an image.

    Reference:
        Kohl et al. 2018, "A probabilistic U-Net for segmentation of ambiguous images", arXiv 1806.05034, eq. 4.

    Example:
        >>> from jaxgen.nets import classifier, mlp, unet
        >>> code = lambda: classifier(4, channels=(8,), blocks=1)
        >>> nets = CodedSegmenter(unet(8, channels=(8,), blocks=1), code(), code(), mlp(1, widths=(8,)))
        >>> model = probabilistic_unet(nets)
        >>> batch = {"image": jnp.zeros((2, 8, 8, 1)), "distance": jnp.ones((2, 8, 8, 1))}
        >>> params = model.init(jax.random.key(0), batch)
        >>> model.sample(params, jax.random.key(1), 2, batch["image"]).shape
        (2, 8, 8, 1)
    """

    def init(key: Key, batch: Batch) -> Params:
        image, keys = batch["image"], draws.split(key, 4)
        both = jnp.concatenate([image, batch["distance"]], axis=-1)
        params = {"features": nets.features.init(keys[0], image), "prior": nets.prior.init(keys[1], image)}
        params["posterior"] = nets.posterior.init(keys[2], both)
        features, (code, _) = (
            nets.features.apply(params["features"], image),
            code_of(nets.prior, params["prior"], image),
        )
        spread = jnp.zeros((*features.shape[:-1], code.shape[-1]))
        params["combine"] = nets.combine.init(keys[3], jnp.concatenate([features, spread], axis=-1))
        return {"net": params}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        params, image, mask = params["net"], batch["image"], batch["distance"]
        known = code_of(nets.posterior, params["posterior"], jnp.concatenate([image, mask], axis=-1))
        features = nets.features.apply(params["features"], image)
        logits = _logits(nets, params, features, _drawn(key, *known))
        if logits.shape[-1] > 1:
            error = likelihood.categorical(logits, class_numbers(mask))
        else:
            error = likelihood.bernoulli(logits, (mask <= 0).astype(logits.dtype))
        divergence = gaussian_kl(*known, *code_of(nets.prior, params["prior"], image))
        return error + weight * divergence, {"error": error, "divergence": divergence}

    def sample(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        if cond is None or cond.shape[0] != n:
            raise ValueError("a segmentation network needs images: pass cond=image [n, *spatial, c]")
        return masks_of_codes(nets, params["net"], 1)(key, cond)[0]

    return Model(init, (Objective("net", loss),), sample)


def masks_of_codes(nets: CodedSegmenter, params: Params, members: int) -> Callable[[Key, Array], Array]:
    """Probabilities under several codes drawn from the prior, compiled; the features are computed once.

    Args:
        nets: the networks.
        params: theirs, the group ``"net"`` of `probabilistic_unet`.
        members: how many codes.

    Returns:
        ``draw(key, image [b, *spatial, c]) -> [members, b, *spatial, classes]``; the key is one, or one an image.
    """

    @jax.jit
    def draw(params: Params, key: Key, image: Array) -> Array:
        features = nets.features.apply(params["features"], image)
        code = code_of(nets.prior, params["prior"], image)
        return jax.lax.map(
            lambda one: class_probability(_logits(nets, params, features, _drawn(one, *code))),
            draws.split(key, members),
        )

    return lambda key, image: draw(params, key, image)
