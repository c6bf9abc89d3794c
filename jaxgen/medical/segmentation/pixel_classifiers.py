"""Classifiers of single pixels by their features, several at once, on a network that is left as it is."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.losses import likelihood
from jaxgen.medical.segmentation.classes import class_numbers
from jaxgen.medical.segmentation.deterministic import class_probability
from jaxgen.medical.segmentation.pixel_features import Features
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params


def pixel_classifiers(
    net: Net, features: Features, frozen: Params, *, members: int, pixels: int = 256, apart: bool = False
) -> Model:
    """Networks that classify each pixel by its features alone, trained by cross-entropy on some pixels of each image.

    They begin from different weights and see the same pixels. Features are brought to mean 0 and standard deviation 1
    over the images of the first batch. What makes the features is kept with the classifiers and is not trained.

    Args:
        net: from features ``[n, d]`` to logits ``[n, K + 1]`` of the background and K classes (``batch["distance"]
            [b, *spatial, K]``), such as `jaxgen.nets.mlp`.
        features: of images, see `jaxgen.medical.segmentation.pixel_features`.
        frozen: what they are computed with.
        members: how many classifiers.
        pixels: how many of each image a step sees, drawn anew.
        apart: whether each classifier sees the features of one time, the first those of the first, in place of all:
            there are then as many classifiers as times.

    Returns:
        A `Model` with the groups ``"classifiers"``, which is trained, ``"norm"`` and ``"frozen"``;
        ``sample(params, key, n, cond=image)`` gives the mean probability of the classes.

    Reference:
        Baranchuk et al. 2022, "Label-efficient semantic segmentation with diffusion models", arXiv 2112.03126,
        section 4; after Zhang et al. 2021, "DatasetGAN", arXiv 2104.06490.

    Example:
        >>> from jaxgen.medical.segmentation.pixel_features import pyramid_features
        >>> from jaxgen.nets import mlp
        >>> model = pixel_classifiers(mlp(3, widths=(4,)), pyramid_features(2), {}, members=5, pixels=8)
        >>> batch = {"image": jnp.ones((2, 8, 8, 1)), "distance": jnp.ones((2, 8, 8, 2))}
        >>> params = model.init(jax.random.key(0), batch)
        >>> params["classifiers"]["Dense_0"]["kernel"].shape, model.sample(params, None, 2, batch["image"]).shape
        ((5, 2, 4), (2, 8, 8, 2))
    """

    def init(key: Key, batch: Batch) -> Params:
        found = features(frozen, batch["image"])
        found = found.reshape(-1, *found.shape[-2:])
        mean, deviation = jnp.mean(found, axis=0), jnp.std(found, axis=0)
        seen = _seen(found[:1], members, apart)
        classifiers = jax.vmap(net.init)(jax.random.split(key, members), seen)
        norm = {"shift": -mean, "scale": 1 / jnp.maximum(deviation, 1e-6)}
        return {"classifiers": classifiers, "norm": norm, "frozen": frozen}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        found = features(jax.lax.stop_gradient(params["frozen"]), batch["image"])
        b = len(found)
        found, truth = found.reshape(b, -1, *found.shape[-2:]), class_numbers(batch["distance"]).reshape(b, -1)
        chosen = jnp.floor(draws.uniform(key, (b, pixels)) * truth.shape[1]).astype(jnp.int32)
        found = jnp.take_along_axis(found, chosen[..., None, None], axis=1)
        truth = jnp.take_along_axis(truth, chosen, axis=1)
        logits = classify(net, params, found, members=members, apart=apart)
        each = jax.vmap(lambda one: likelihood.categorical(one, truth, reduce="mean"))(logits)
        return jnp.mean(each, axis=0), {}

    def probability(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        del key
        if cond is None or cond.shape[0] != n:
            raise ValueError("classifiers of pixels need images: pass cond=image [n, *spatial, c]")
        found = features(params["frozen"], cond)
        return jnp.mean(class_probability(classify(net, params, found, members=members, apart=apart)), axis=0)

    return Model(init, (Objective("classifiers", loss),), probability)


def classify(net: Net, params: Params, features: Array, *, members: int, apart: bool = False) -> Array:
    """The logits of every classifier of `pixel_classifiers`.

    Args:
        net: the classifier.
        params: all groups of the model.
        features: ``[..., times, d]``.
        members: how many classifiers.
        apart: see there.

    Returns:
        ``[members, ..., K + 1]``.
    """
    norm = params["norm"]
    found = ((features + norm["shift"]) * norm["scale"]).reshape(-1, *features.shape[-2:])
    logits = jax.vmap(net.apply)(params["classifiers"], _seen(found, members, apart))
    return logits.reshape(members, *features.shape[:-2], logits.shape[-1])


def _seen(features: Array, members: int, apart: bool) -> Array:
    """What each classifier sees of ``[n, times, d]``: ``[members, n, d]`` of its own time, or all of it."""
    if apart:
        return jnp.moveaxis(features, 1, 0)
    flat = features.reshape(len(features), -1)
    return jnp.broadcast_to(flat, (members, *flat.shape))


def compiled_classifiers(
    net: Net, features: Features, params: Params, *, members: int, apart: bool = False
) -> Callable[[Key, Array], Array]:
    """The probabilities that every classifier gives, image by image: features of many images take much memory.

    Args:
        net: the classifier.
        features: of images.
        params: all groups of the trained model.
        members: how many classifiers.
        apart: see `pixel_classifiers`.

    Returns:
        ``draw(keys, image [b, *spatial, c]) -> [members, b, *spatial, K]``; nothing is drawn.
    """

    @jax.jit
    def draw(params: Params, image: Array) -> Array:
        def one(x: Array) -> Array:
            found = features(params["frozen"], x[None])
            return class_probability(classify(net, params, found, members=members, apart=apart))[:, 0]

        return jnp.moveaxis(jax.lax.map(one, image), 0, 1)

    return lambda key, image: draw(params, image)
