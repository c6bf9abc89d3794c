"""The baseline of methods that draw several masks: one network that gives each pixel a probability."""

import jax

from jaxgen.losses import likelihood
from jaxgen.medical.segmentation.classes import class_numbers
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params


def class_probability(logits: Array) -> Array:
    """The probability of each class: the sigmoid of one logit, or the softmax of K + 1 without that of the background.

    Args:
        logits: ``[..., 1]``, or ``[..., K + 1]`` with the background first.

    Returns:
        ``[..., K]``.

    Example:
        >>> import jax.numpy as jnp
        >>> class_probability(jnp.zeros((1,))).tolist(), class_probability(jnp.zeros((4,))).tolist()
        ([0.5], [0.25, 0.25, 0.25])
    """
    return jax.nn.sigmoid(logits) if logits.shape[-1] == 1 else jax.nn.softmax(logits, axis=-1)[..., 1:]


def deterministic(net: Net) -> Model:
    """The baseline: one network from image to mask, trained by cross-entropy on ``batch["distance"] <= 0``.

    Args:
        net: maps ``[b, *spatial, c]`` to logits ``[b, *spatial, 1]`` of one foreground, or ``[b, *spatial, K + 1]`` of
            the background and K classes (``batch["distance"] [b, *spatial, K]``). Its dropout is active in training.

    Returns:
        A `Model` with one group ``"net"``; ``sample(params, key, n, cond=image)`` gives the probability of the
        foreground or of each class, without drawing anything.
    """

    def init(key: Key, batch: Batch) -> Params:
        return {"net": net.init(key, batch["image"])}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        logits = net.apply(params["net"], batch["image"], key=key)
        if logits.shape[-1] > 1:
            return likelihood.categorical(logits, class_numbers(batch["distance"]), reduce="mean"), {}
        foreground = (batch["distance"] <= 0).astype(logits.dtype)
        return likelihood.bernoulli(logits, foreground, reduce="mean"), {}

    def probability(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        del key
        if cond is None or cond.shape[0] != n:
            raise ValueError("a segmentation network needs images: pass cond=image [n, *spatial, c]")
        return class_probability(net.apply(params["net"], cond))

    return Model(init, (Objective("net", loss),), probability)
