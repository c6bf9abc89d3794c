"""Coupling layers: one part of an example is transformed with parameters computed from the other part."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxgen.bijections.bijection import Bijection, init_net, lift, total, transform_parameters
from jaxgen.bijections.monotonic import MonotonicTransform
from jaxgen.types import Array, Key, Net, Params


def coupling(
    net: Net, transform: MonotonicTransform, *, swap: bool = False, mask: np.ndarray | None = None
) -> Bijection:
    """Keep one part and transform the other: ``y_a = x_a``, ``y_b = f(x_b; net(x_a))``.

    Without a mask the parts are the two halves of the last axis (channels, or the numbers of a vector), which costs
    half as much as a mask.

    Args:
        net: the conditioner, ``apply(params, x_a, condition=...)``, the condition only where there is one. Without a
            mask it gets the half that is kept and answers ``transform.parameters`` channels for each channel of the
            other half, ordered parameter by parameter. With a mask it gets all of x, zero where it is transformed, and
            answers as many for every channel of x.
        transform: f, such as `affine` or `rational_quadratic`.
        swap: keep the second half and transform the first.
        mask: what is kept, booleans that broadcast against one example, such as `masks.checkerboard`.

    Returns:
        A `Bijection`.

    Raises:
        ValueError: if there are not two channels to part, or `swap` is given along with a mask.

    Reference:
        Dinh, Sohl-Dickstein & Bengio 2017, "Density estimation using Real NVP", arXiv 1605.08803, section 3; Durkan et
        al. 2019, "Neural spline flows", section 3.

    Example:
        >>> import jax
        >>> from jaxgen.bijections import affine
        >>> zeros = lambda params, x: jnp.zeros((len(x), 2))  # shift and scale of one number
        >>> layer, x = coupling(Net(lambda key, x: {}, zeros), affine()), jnp.ones((1, 2))
        >>> layer.forward({}, x)[0].tolist()
        [[1.0, 1.0]]
    """
    if swap and mask is not None:
        raise ValueError("swap exchanges halves: flip the mask instead")

    def parts(x: Array) -> tuple[Array, Array]:
        if mask is not None:
            return jnp.where(mask, x, 0), x
        half = x.shape[-1] // 2
        if half == 0:
            raise ValueError("a coupling parts the last axis, which holds one number: squeeze first, or give a mask")
        first, second = x[..., :half], x[..., half:]
        return (second, first) if swap else (first, second)

    def init(key: Key, x: Array, condition: Array | None = None) -> Params:
        return init_net(net, key, parts(lift(x))[0], condition)

    def apply(run: Any, params: Params, x: Array, condition: Array | None) -> tuple[Array, Array]:
        x = lift(x)
        kept, moved = parts(x)
        theta = transform_parameters(net, params, kept, condition, transform.parameters, moved.shape[-1])
        y, log_slope = run(theta, moved)
        if mask is not None:
            return jnp.where(mask, x, y), total(jnp.where(mask, 0, log_slope))
        return jnp.concatenate([y, kept] if swap else [kept, y], axis=-1), total(log_slope)

    def forward(params: Params, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        return apply(transform.forward, params, x, condition)

    def inverse(params: Params, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        return apply(transform.inverse, params, y, condition)

    return Bijection(init, forward, inverse)
