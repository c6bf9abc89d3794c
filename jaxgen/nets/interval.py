"""A network of two times, from one that takes an embedding."""

from typing import Any

import jax.numpy as jnp

from jaxgen.nets.embedding import sinusoidal
from jaxgen.types import Array, Key, Net, Params


def interval(
    net: Net, argument: str = "vector", *, features: int = 32, scale: float = 10.0, period: float = 100.0
) -> Net:
    """A network of an interval of time, ``apply(params, x, t, s, key=None)``, as MeanFlow needs.

    It hands sinusoidal features of t and of ``s - t`` to the network as an embedding, in place of its own embedding
    of time. They change more slowly than those that are usual for time: their rate of change enters MeanFlow's target.

    Args:
        net: a network that takes an embedding ``[b, e]`` and can do without a time, such as `unet` or `mlp`.
        argument: the name of that embedding, ``"vector"`` of `unet` or ``"condition"`` of `mlp`.
        features: number of features of each of the two, even.
        scale: what times in [0, 1] are multiplied by; the highest frequency.
        period: the ratio of the highest frequency to the lowest, nearly.

    Returns:
        A `Net`; further arguments, such as a label, are handed on by name.

    Reference:
        Geng et al. 2025, "Mean flows for one-step generative modeling", arXiv 2505.13447, for t and the length of the
        interval; Lu & Song 2025, "Simplifying, stabilizing and scaling continuous-time consistency models", for the
        slow features.

    Example:
        >>> import jax
        >>> from jaxgen.nets import mlp
        >>> net = interval(mlp(2, widths=(8,)), "condition")
        >>> x, t = jnp.zeros((3, 2)), jnp.zeros(3)
        >>> net.apply(net.init(jax.random.key(0), x, t, t), x, t, 1.0).shape
        (3, 2)
    """

    def embed(x: Array, t: Any, s: Any) -> dict[str, Array]:
        t, s = (jnp.broadcast_to(jnp.asarray(time, jnp.float32), x.shape[:1]) for time in (t, s))
        parts = [sinusoidal(time, features, scale=scale, max_period=period) for time in (t, s - t)]
        return {argument: jnp.concatenate(parts, axis=-1)}

    def init(key: Key, x: Array, t: Any, s: Any, **others: Any) -> Params:
        return net.init(key, x, **embed(x, t, s), **others)

    def apply(params: Params, x: Array, t: Any, s: Any, *, key: Key | None = None, **others: Any) -> Array:
        return net.apply(params, x, **embed(x, t, s), **others, key=key)

    return Net(init, apply)
