"""The baseline of methods that draw several masks: one network that gives each pixel a probability."""

import jax

from jaxgen.losses import likelihood
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params


def deterministic(net: Net) -> Model:
    """The baseline: one network from image to mask, trained by cross-entropy on ``batch["distance"] <= 0``.

    Args:
        net: maps ``[b, *spatial, c]`` to logits ``[b, *spatial, 1]``.

    Returns:
        A `Model` with one group ``"net"``; ``sample(params, key, n, cond=image)`` gives the probability of the
        foreground, without drawing anything.
    """

    def init(key: Key, batch: Batch) -> Params:
        return {"net": net.init(key, batch["image"])}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        del key
        logits = net.apply(params["net"], batch["image"])
        foreground = (batch["distance"] <= 0).astype(logits.dtype)
        return likelihood.bernoulli(logits, foreground, reduce="mean"), {}

    def probability(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        del key
        if cond is None or cond.shape[0] != n:
            raise ValueError("a segmentation network needs images: pass cond=image [n, *spatial, c]")
        return jax.nn.sigmoid(net.apply(params["net"], cond))

    return Model(init, (Objective("net", loss),), probability)
