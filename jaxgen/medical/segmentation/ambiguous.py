"""Ambiguous segmentation: mask diffusion with two Gaussian encoders, of a rater's mask and of the network's answer."""

from typing import NamedTuple

import jax.numpy as jnp

from jaxgen import draws
from jaxgen.losses.autoencoding import gaussian_kl
from jaxgen.losses.matching import flow_matching
from jaxgen.losses.times import uniform_time
from jaxgen.medical.segmentation.conditional import ConditionalNet
from jaxgen.medical.segmentation.flow_sdf import flow_sdf
from jaxgen.paths import perturb
from jaxgen.samplers import Sampling
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params

CLAMPED = 10.0
"""Largest absolute logarithm of a variance that an encoder gives."""


class Encoders(NamedTuple):
    """The two encoders of images with a mask, each to the mean and the logarithm of the variance of a Gaussian code.

    Attributes:
        rater: the ambiguity modelling network (AMN), of the image and a rater's mask: ``[b, *spatial, c + d]`` to
            ``[b, 2 k]``.
        answer: the ambiguity controlling network (ACN), of the image and what the diffusion network predicts.
        weight: of their divergence in the loss.
        trained: whether the encoders learn (the paper), or stay as they started (the published code, whose optimizer
            holds the diffusion network alone).
    """

    rater: Net
    answer: Net
    weight: float = 1e-3
    trained: bool = True


def ambiguous_diffusion(net: ConditionalNet, sampling: Sampling, encoders: Encoders) -> Model:
    """Diffusion of one rater's mask given the image, whose answer is held close to the masks of raters as a code.

    The loss of an example is ``|net(x_t, t, image) - target|^2 + w KL(Q(z | image, mask) || P(z | image, net(...)))``
    with one rater's mask, drawn anew in each step. The codes z are not seen by the diffusion network, and sampling
    needs no encoder: different noise gives the masks of different raters.

    Args:
        net: the network.
        sampling: the path, the sampler and what the network predicts, which is also the target.
        encoders: the two encoders.

    Returns:
        A `Model` with the groups ``"net"``, ``"rater"`` and ``"answer"``; batches hold ``image`` and ``distance``, the
        mask's map. ``sample(params, key, n, cond=image)`` gives one map an image.

    Reference:
        Rahman et al. 2023, "Ambiguous medical image segmentation using diffusion models", arXiv 2304.04745, section 3.

    Example:
        >>> import jax
        >>> from jaxgen.medical.segmentation.conditional import concatenated_net
        >>> from jaxgen.nets import classifier, unet
        >>> from jaxgen.paths import cosine
        >>> from jaxgen.samplers import ddim, grids
        >>> code = lambda: classifier(4, channels=(8,), blocks=1)
        >>> sampling = Sampling(cosine(), ddim(cosine()), grids.uniform(cosine(), 2), "x0")
        >>> net = concatenated_net(unet(1, channels=(8,), blocks=1))
        >>> model = ambiguous_diffusion(net, sampling, Encoders(code(), code()))
        >>> batch = {"image": jnp.zeros((2, 8, 8, 1)), "distance": jnp.ones((2, 8, 8, 1))}
        >>> sorted(jax.eval_shape(model.init, jax.random.key(0), batch))
        ['answer', 'net', 'rater']
    """

    def init(key: Key, batch: Batch) -> Params:
        image, mask = batch["image"], batch["distance"]
        keys, both = draws.split(key, 3), jnp.concatenate([image, mask], axis=-1)
        parts = {"rater": encoders.rater.init(keys[1], both), "answer": encoders.answer.init(keys[2], both)}
        return {"net": net.init(keys[0], image, mask), **parts}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        path, x, image = sampling.path, batch["distance"], batch["image"]
        time_key, noise_key, error_key = draws.split(key, 3)
        t, noise = uniform_time(path, time_key, len(x)), draws.normal(noise_key, x.shape)
        answer = net.apply(params["net"], perturb(path, x, noise, t), t, net.encode(params["net"], image))
        space = sampling.prediction
        error = flow_matching(
            lambda x_t, t: answer, path, error_key, x, noise=noise, t=t, prediction=space, target=space
        )
        wanted = code_of(encoders.rater, params["rater"], jnp.concatenate([image, x], axis=-1))
        said = code_of(encoders.answer, params["answer"], jnp.concatenate([image, answer], axis=-1))
        divergence = gaussian_kl(*wanted, *said)
        return error + encoders.weight * divergence, {"error": error, "divergence": divergence}

    trains = ("net", "rater", "answer") if encoders.trained else "net"
    return Model(init, (Objective(trains, loss),), flow_sdf(net, sampling).sample)


def code_of(encoder: Net, params: Params, x: Array) -> tuple[Array, Array]:
    """The mean and the logarithm of the variance ``[b, k]`` of a code, from an encoder that gives ``[b, 2 k]``.

    Example:
        >>> code_of(Net(lambda key, x: {}, lambda params, x: x), {}, jnp.array([[1.0, 99.0]]))[1].tolist()
        [[10.0]]
    """
    mean, log_variance = jnp.split(encoder.apply(params, x), 2, axis=-1)
    return mean, jnp.clip(log_variance, -CLAMPED, CLAMPED)
