"""The way out of a network: whatever it computes in, what it answers is float32."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.types import Array, Key, Net, Params


def float32_answer(net: Net) -> Net:
    """The network with its answers in float32 at least, so that losses and densities are computed from no less.

    Inputs need no cast: layers bring them to the dtype of their kernels, and times are embedded in float32 before.

    Args:
        net: a network that computes in the dtype of its parameters.

    Returns:
        A `Net` with the same parameters.

    Example:
        >>> net = float32_answer(Net(lambda key, x: {}, lambda params, x, key=None: x.astype(jnp.bfloat16)))
        >>> net.apply({}, jnp.ones(2)).dtype
        dtype('float32')
    """

    def apply(params: Params, *inputs: Any, key: Key | None = None, **options: Any) -> Any:
        answer = net.apply(params, *inputs, key=key, **options)
        return jax.tree.map(_lift, answer)

    return Net(net.init, apply)


def _lift(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
