"""Diffusion of images that is told attributes: a vector of parts, such as class and hospital, any of them unknown."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.guidance import classifier_free_batched
from jaxgen.losses.diffusion import denoising
from jaxgen.samplers import Sampling, denoiser, sample
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params, Step


class Attributes(NamedTuple):
    """What a network is told as one vector ``[b, sum(parts)]``: each part is one-hot or multi-hot, zeros if unknown.

    Attributes:
        parts: the width of each.
        drop: the probability that training hides a part, each part of each example on its own.

    Reference:
        Frisch et al. 2023, "Synthesising rare cataract surgery samples with guided diffusion models", arXiv 2308.02587,
        section 2.1, for a phase and a set of tools that are dropped on their own; there for a whole batch at a time.
    """

    parts: Sequence[int]
    drop: float = 0.1

    def training(self, key: Key, told: Array) -> Array:
        """The vectors of a batch, some parts hidden.

        Example:
            >>> import jax
            >>> told = jnp.ones((2, 3))
            >>> shown = Attributes((1, 2), drop=0.5).training(jax.random.key(0), jnp.ones((1000, 3)))
            >>> bool((shown[:, 1] == shown[:, 2]).all()), 0.4 < float(shown[:, 0].mean()) < 0.6
            (True, True)
        """
        kept = draws.bernoulli(key, 1 - self.drop, (told.shape[0], len(self.parts)))
        return told * jnp.repeat(kept, np.array(self.parts), axis=1, total_repeat_length=sum(self.parts))


def attribute_diffusion_model(
    net: Net,
    shape: Sequence[int],
    sampling: Sampling,
    attributes: Attributes,
    *,
    weight: Callable[[Array], Array] | None = None,
    data: str = "image",
) -> Model:
    """A diffusion model of ``batch[data]`` given the vector ``batch["told"]`` ``[b, k]`` of attributes.

    Trained on ``w(t) mean |net(x_t, t, told) - target|^2`` at ``x_t = alpha x0 + sigma noise``, with some parts of each
    vector hidden. Images of which nothing is known, a vector of zeros, are learnt from as well.

    Args:
        net: ``apply(params, x [b, *shape], t, vector=[b, k], key=None)``, such as `jaxgen.nets.unet`.
        shape: of one example, ``(*spatial, c)``.
        sampling: the path, the sampler's step and grid, and what the network predicts.
        attributes: the parts of the vector, and how often they are hidden.
        weight: ``w(t [b]) -> [b]``, one of `jaxgen.losses.weights`; None weighs all times alike.
        data: the entry of the batch to model.

    Returns:
        A `Model` with one group ``"net"``. ``sample(params, key, n, cond=None, guidance=1.0)`` gives ``[n, *shape]``;
        `cond` is vectors ``[n, k]``, and None tells nothing. A `guidance` of 1 is none, and may be a traced number.

    Raises:
        ValueError: when sampling, if there is not one vector of that width per image.

    Reference:
        Ktena et al. 2024, "Generative models improve fairness of medical classifiers under distribution shifts", arXiv
        2304.09218, methods, for images without labels in training; Ho & Salimans 2022, "Classifier-free diffusion
        guidance", algorithm 1, for the dropped parts.

    Example:
        >>> import jax
        >>> from jaxgen.nets import unet
        >>> from jaxgen.paths import cosine
        >>> from jaxgen.samplers import ddim, grids
        >>> sampling = Sampling(cosine(), ddim(cosine()), grids.uniform(cosine(), 2), "v")
        >>> model = attribute_diffusion_model(unet(1, channels=(8,), blocks=1), (4, 4, 1), sampling, Attributes((2, 3)))
        >>> batch = {"image": jnp.zeros((2, 4, 4, 1)), "told": jnp.eye(5)[:2]}
        >>> params = jax.eval_shape(model.init, jax.random.key(0), batch)
        >>> draw = lambda params: model.sample(params, jax.random.key(1), 2, batch["told"], guidance=2.0)
        >>> jax.eval_shape(draw, params).shape
        (2, 4, 4, 1)
    """
    path, step, grid, prediction = sampling
    assert isinstance(step, Step)
    width = sum(attributes.parts)

    def init(key: Key, batch: Batch) -> Params:
        x = batch[data]
        return {"net": net.init(key, x, jnp.zeros(x.shape[:1]), vector=jnp.zeros((x.shape[0], width)))}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        loss_key, told_key, dropout_key = draws.split(key, 3)
        told = attributes.training(told_key, batch["told"])

        def predict(x_t: Array, t: Array) -> Array:
            return net.apply(params["net"], x_t, t, vector=told, key=dropout_key)

        return denoising(predict, path, loss_key, batch[data], prediction=prediction, weight=weight), {}

    def draw(params: Params, key: Key, n: int, cond: Array | None = None, guidance: float | Array = 1.0) -> Array:
        nothing = jnp.zeros((n, width))
        if cond is not None and cond.shape != nothing.shape:
            raise ValueError(f"attributes of shape {cond.shape} for {n} images: give {width} numbers for each")
        noise_key, step_key = draws.split(key, 2)
        start = path.sigma(jnp.asarray(path.t_noise, jnp.float32)) * draws.normal(noise_key, (n, *shape))

        def denoise(x: Array, t: Array, told: Array) -> Array:
            return denoiser(lambda x, t: net.apply(params["net"], x, t, vector=told), path, prediction)(x, t)

        if cond is None:
            return sample(step, lambda x, t: denoise(x, t, nothing), step_key, start, grid)
        return sample(step, classifier_free_batched(denoise, cond, nothing, guidance), step_key, start, grid)

    return Model(init, (Objective("net", loss),), draw)
