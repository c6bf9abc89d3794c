"""Whose image is it: an embedding that retrieves the images of a person, and a network that compares two images.

Both learn from pairs of images of one person: a batch holds ``image`` and ``other``, and who it is in ``owner``. Images
of two people are those of different rows.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.losses.contrastive import info_nce
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params


class Views(NamedTuple):
    """The entries of a batch.

    Attributes:
        first: an image of each person.
        second: another one.
        owner: who it is, ``[b]``.
    """

    first: str = "image"
    second: str = "other"
    owner: str = "owner"


def embed(net: Net, params: Params, x: Array) -> Array:
    """Embeddings ``[b, d]`` of length 1, by the network of `retrieval_model`."""
    z = net.apply(params["net"], x).astype(jnp.float32)
    return z / jnp.maximum(jnp.linalg.norm(z, axis=-1, keepdims=True), 1e-6)


def retrieval_model(net: Net, *, temperature: float = 0.1, views: Views = Views()) -> Model:  # noqa: B008
    """An embedding whose nearest neighbours are images of the same person, trained by `jaxgen.losses.info_nce`.

    Args:
        net: ``apply(params, x [b, *spatial, c]) -> [b, d]``, such as `jaxgen.nets.encoder` with ``vector=True``.
        temperature: of the loss.
        views: the entries of a batch.

    Returns:
        A `Model` with one group ``"net"``, which logs how often the other image is the nearest of the batch. It draws
        nothing: ``sample`` raises `TypeError`.

    Reference:
        Packhaeuser et al. 2023, "Generation of anonymous chest radiographs using latent diffusion models for training
        thoracic abnormality classification systems", arXiv 2211.01323, section 2.2, whose retrieval network learns
        from a memory of earlier batches; here the batch itself holds the other people.

    Example:
        >>> flat = Net(lambda key, x: {}, lambda params, x: x.reshape(len(x), -1))
        >>> model, x = retrieval_model(flat), jnp.eye(2).reshape(2, 2, 1, 1)
        >>> batch = {"image": x, "other": x, "owner": jnp.arange(2)}
        >>> loss, info = model.objectives[0].loss({"net": {}}, jax.random.key(0), batch)
        >>> bool((loss < 1e-3).all()), info["accuracy"].tolist()
        (True, [1.0, 1.0])
    """

    def init(key: Key, batch: Batch) -> Params:
        return {"net": net.init(key, batch[views.first])}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        a, b = (embed(net, params, batch[name]) for name in views[:2])
        owner = batch[views.owner]
        nearest = owner[jnp.argmax(a @ b.T, axis=-1)] == owner
        return info_nce(a, b, owner, temperature=temperature), {"accuracy": nearest.astype(jnp.float32)}

    return Model(init, (Objective("net", loss),), _draws_nothing)


def same_person(net: Net, params: Params, first: Array, second: Array) -> Array:
    """Logits ``[b]`` that two images each show one person, by the network of `verification_model`."""
    return _compare(params["head"], *(_bounded(net, params, x) for x in (first, second)))


def verification_model(net: Net, *, views: Views = Views()) -> Model:  # noqa: B008
    """A siamese network: ``p(same) = sigmoid(w . |f(a) - f(b)| + c)`` with ``f`` in [0, 1], by binary cross-entropy.

    The loss of a row is the mean of those of its pair and, averaged, of all pairs with images of other people in the
    batch: pairs of one person and of two weigh the same.

    Args:
        net: ``apply(params, x [b, *spatial, c]) -> [b, d]``, such as `jaxgen.nets.encoder` with ``vector=True``.
        views: the entries of a batch.

    Returns:
        A `Model` with the groups ``"net"`` and ``"head"``, which logs the share of pairs told right; `same_person`
        compares images. It draws nothing: ``sample`` raises `TypeError`.

    Reference:
        Packhaeuser et al. 2022, "Deep learning-based patient re-identification is able to exploit the biometric nature
        of medical chest X-ray data", Scientific Reports 12:14851, section "Siamese neural network".

    Example:
        >>> flat = Net(lambda key, x: {}, lambda params, x: x.reshape(len(x), -1))
        >>> model = verification_model(flat)
        >>> batch = {"image": jnp.zeros((2, 1, 1, 1)), "other": jnp.zeros((2, 1, 1, 1)), "owner": jnp.arange(2)}
        >>> loss, _ = model.objectives[0].loss(model.init(jax.random.key(0), batch), jax.random.key(1), batch)
        >>> [round(float(value), 4) for value in loss]
        [0.6931, 0.6931]
    """

    def init(key: Key, batch: Batch) -> Params:
        x = batch[views.first]
        trunk = net.init(key, x)
        width = jax.eval_shape(net.apply, trunk, x).shape[-1]
        # Far apart is another person from the first step on.
        return {"net": trunk, "head": {"kernel": jnp.full((width,), -1 / width**0.5), "bias": jnp.zeros(())}}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        a, b = (_bounded(net, params, batch[name]) for name in views[:2])
        logits = _compare(params["head"], a[:, None], b[None])
        own, owner = jnp.diagonal(logits), batch[views.owner]
        others = owner[:, None] != owner[None]
        count = jnp.maximum(others.sum(1), 1)
        apart, together = jax.nn.softplus(logits) * others, jax.nn.softplus(-own)
        right = ((own > 0) + ((logits <= 0) & others).sum(1) / count) / 2
        return (together + apart.sum(1) / count) / 2, {"accuracy": right}

    return Model(init, (Objective(("net", "head"), loss),), _draws_nothing)


def _bounded(net: Net, params: Params, x: Array) -> Array:
    return jax.nn.sigmoid(net.apply(params["net"], x).astype(jnp.float32))


def _compare(head: Params, a: Array, b: Array) -> Array:
    return jnp.abs(a - b) @ head["kernel"] + head["bias"]


def _draws_nothing(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
    raise TypeError("a network that compares people draws nothing")
