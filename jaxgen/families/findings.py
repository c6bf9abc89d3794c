"""A classifier of several findings, any of which an image may show."""

from jaxgen.losses.likelihood import bernoulli
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params


def findings_model(net: Net, *, data: str = "image", findings: str = "findings") -> Model:
    """A classifier trained by the mean over findings of ``-y log p - (1 - y) log(1 - p)``.

    Args:
        net: ``apply(params, x [b, *spatial, c], key=None) -> logits [b, k]``, such as `jaxgen.nets.classifier`.
        data: the entry of the batch with the images.
        findings: the entry with zeros and ones ``[b, k]``, one for each finding.

    Returns:
        A `Model` with one group ``"net"``, which logs the share of findings told right. It draws nothing: ``sample``
        raises `TypeError`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxgen.nets import classifier
        >>> model = findings_model(classifier(3, channels=(8,), blocks=1))
        >>> batch = {"image": jnp.zeros((2, 4, 4, 1)), "findings": jnp.array([[0, 1, 1], [0, 0, 0]])}
        >>> loss, info = model.objectives[0].loss(model.init(jax.random.key(0), batch), jax.random.key(1), batch)
        >>> [round(float(value), 4) for value in loss]
        [0.6931, 0.6931]
    """

    def init(key: Key, batch: Batch) -> Params:
        return {"net": net.init(key, batch[data])}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        logits = net.apply(params["net"], batch[data], key=key)
        right = (logits > 0) == (batch[findings] > 0)
        return bernoulli(logits, batch[findings], reduce="mean"), {"accuracy": right.mean(-1)}

    def sample(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        raise TypeError("a classifier draws nothing")

    return Model(init, (Objective("net", loss),), sample)
