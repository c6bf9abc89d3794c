"""Bijections one after the other."""

from collections.abc import Callable

import jax

from jaxgen.bijections.bijection import Bijection, lift, no_change
from jaxgen.types import Array, Key, Params


def chain(*bijections: Bijection) -> Bijection:
    """Bijections one after the other, the first one next to the data.

    Args:
        *bijections: any number of them.

    Returns:
        A `Bijection`; its parameters are a dict by position, ``"0"``, ``"1"`` and so on.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxgen.bijections import reverse, squeeze
        >>> bijection = chain(squeeze(), reverse())
        >>> x = jnp.arange(4.0).reshape(1, 2, 2, 1)
        >>> bijection.forward(bijection.init(jax.random.key(0), x), x)[0].ravel().tolist()
        [3.0, 2.0, 1.0, 0.0]
    """

    def init(key: Key, x: Array, condition: Array | None = None) -> Params:
        params = {}
        for i, bijection in enumerate(bijections):
            params[str(i)] = bijection.init(jax.random.fold_in(key, i), x, condition)
            x, _ = bijection.forward(params[str(i)], x, condition)
        return params

    def forward(params: Params, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        x, total = lift(x), no_change(x)
        for i, bijection in enumerate(bijections):
            x, log_det = bijection.forward(params[str(i)], x, condition)
            total = total + log_det
        return x, total

    def inverse(params: Params, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        y, total = lift(y), no_change(y)
        for i, bijection in reversed(list(enumerate(bijections))):
            y, log_det = bijection.inverse(params[str(i)], y, condition)
            total = total + log_det
        return y, total

    return Bijection(init, forward, inverse)


def scan_chain(bijection: Bijection, layers: int) -> Bijection:
    """Equal bijections one after the other, each with parameters of its own, as one loop.

    The time to compile does not grow with the number of layers, as that of a `chain` does.

    Args:
        bijection: one layer, which must keep the shape of what it maps.
        layers: how many of them.

    Returns:
        A `Bijection`; its parameters are those of one layer with a new first axis ``[layers, ...]``.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxgen.bijections import actnorm, conv1x1
        >>> bijection, x = scan_chain(chain(actnorm(), conv1x1()), 12), jnp.eye(3)
        >>> params = bijection.init(jax.random.key(0), x)
        >>> params["1"]["lower"].shape, bijection.forward(params, x)[0].shape
        ((12, 3, 3), (3, 3))
    """

    def init(key: Key, x: Array, condition: Array | None = None) -> Params:
        def layer(x: Array, key: Key) -> tuple[Array, Params]:
            params = bijection.init(key, x, condition)
            return bijection.forward(params, x, condition)[0], params

        return jax.lax.scan(layer, lift(x), jax.random.split(key, layers))[1]

    def run(
        way: Callable[..., tuple[Array, Array]], params: Params, x: Array, condition: Array | None, backwards: bool
    ) -> tuple[Array, Array]:
        # To compute a layer again for its gradient is faster on CPU than to keep, layer by layer, all it computed.
        @jax.checkpoint
        def layer(carry: tuple[Array, Array], params: Params) -> tuple[tuple[Array, Array], None]:
            x, total = carry
            y, log_det = way(params, x, condition)
            return (y, total + log_det), None

        return jax.lax.scan(layer, (lift(x), no_change(x)), params, length=layers, reverse=backwards)[0]

    def forward(params: Params, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        return run(bijection.forward, params, x, condition, False)

    def inverse(params: Params, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        return run(bijection.inverse, params, y, condition, True)

    return Bijection(init, forward, inverse)
