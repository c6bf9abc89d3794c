"""Flows put together: RealNVP, neural spline flows, masked autoregressive flows of vectors, and Glow of images."""

import math
from collections.abc import Sequence

import jax.numpy as jnp

from jaxgen.bijections import (
    Bijection,
    MonotonicTransform,
    actnorm,
    affine,
    autoregressive,
    chain,
    conv1x1,
    coupling,
    elementwise,
    level_shapes,
    multiscale,
    rational_quadratic,
    reverse,
    scan_chain,
)
from jaxgen.nets import conditioner, dense_conditioner, masked_mlp
from jaxgen.types import Net


def _couplings(
    d: int, layers: int, transform: MonotonicTransform, widths: Sequence[int], first: Bijection
) -> Bijection:
    if d < 2 or layers < 2 or layers % 2:
        raise ValueError(f"{layers} couplings of {d} numbers: couplings come in pairs, of two numbers at least")
    count = transform.parameters
    pair = chain(
        first,
        coupling(dense_conditioner(count * (d - d // 2), widths=widths), transform),
        coupling(dense_conditioner(count * (d // 2), widths=widths), transform, swap=True),
    )
    return chain(actnorm(), scan_chain(pair, layers // 2))


def real_nvp(d: int, *, layers: int = 16, widths: Sequence[int] = (64, 64), bound: float = 3.0) -> Bijection:
    """RealNVP of vectors: affine couplings that transform the two halves in turn, after one `actnorm`.

    Args:
        d: numbers in a vector, at least 2.
        layers: couplings, an even number.
        widths: hidden layers of each conditioner.
        bound: of the logarithm of a coupling's scale, see `affine`.

    Returns:
        A `Bijection`, conditional where it is given a condition ``[b, e]``.

    Raises:
        ValueError: if the couplings do not come in pairs, or there is but one number.

    Reference:
        Dinh, Sohl-Dickstein & Bengio 2017, "Density estimation using Real NVP", arXiv 1605.08803.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> flow, x = real_nvp(3, layers=4, widths=(8,)), jnp.eye(3)
        >>> flow.forward(flow.init(jax.random.key(0), x), x)[0].shape
        (3, 3)
    """
    return _couplings(d, layers, affine(bound), widths, chain())


def neural_spline_flow(
    d: int, *, layers: int = 8, widths: Sequence[int] = (64, 64), bins: int = 8, bound: float = 5.0, mix: bool = True
) -> Bijection:
    """Neural spline flow of vectors: rational-quadratic couplings that transform the two halves in turn.

    An `actnorm` comes first, for the splines live on ``[-bound, bound]``.

    Args:
        d: numbers in a vector, at least 2.
        layers: couplings, an even number.
        widths: hidden layers of each conditioner.
        bins: pieces of a spline.
        bound: half the width of the square in which the splines live.
        mix: whether a learned matrix (`conv1x1`) mixes the numbers before each pair of couplings.

    Returns:
        A `Bijection`, conditional where it is given a condition ``[b, e]``.

    Raises:
        ValueError: if the couplings do not come in pairs, or there is but one number.

    Reference:
        Durkan, Bekasov, Murray & Papamakarios 2019, "Neural spline flows", arXiv 1906.04032, section 4.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> flow, x = neural_spline_flow(2, layers=2, widths=(8,)), jnp.eye(2)
        >>> flow.forward(flow.init(jax.random.key(0), x), x)[0].shape
        (2, 2)
    """
    return _couplings(d, layers, rational_quadratic(bins, bound), widths, conv1x1() if mix else chain())


def masked_autoregressive_flow(
    d: int, *, layers: int = 5, widths: Sequence[int] = (64, 64), transform: MonotonicTransform | None = None
) -> Bijection:
    """Masked autoregressive flow of vectors; the order of the numbers turns round from layer to layer.

    A density costs one pass of each network, a sample d of them.

    Args:
        d: numbers in a vector.
        layers: autoregressive layers.
        widths: hidden layers of each masked network.
        transform: of one number; None for `affine`, or such as `rational_quadratic` for an autoregressive spline flow.

    Returns:
        A `Bijection`, conditional where it is given a condition ``[b, e]``.

    Reference:
        Papamakarios, Pavlakou & Murray 2017, "Masked autoregressive flow for density estimation", arXiv 1705.07057.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> flow, x = masked_autoregressive_flow(3, layers=2, widths=(8,)), jnp.eye(3)
        >>> flow.forward(flow.init(jax.random.key(0), x), x)[0].shape
        (3, 3)
    """
    transform = affine() if transform is None else transform
    layer = chain(autoregressive(masked_mlp(d, transform.parameters, widths=widths), transform), reverse())
    return chain(actnorm(), scan_chain(layer, layers))


def glow(
    shape: Sequence[int],
    *,
    levels: int = 3,
    steps: int = 16,
    width: int = 64,
    bound: float = 2.0,
    classes: int | None = None,
) -> Bijection:
    """Glow of images: at every scale steps of actnorm, 1x1 convolution and affine coupling, then half factored out.

    What goes on predicts mean and scale of what is factored out. A condition, such as a one-hot label, is given to
    every conditioner; with `classes` the base has a mean and a scale for each label as well.

    Args:
        shape: of one image, ``(*spatial, c)``; every spatial axis a multiple of ``2^levels``.
        levels: scales.
        steps: couplings a scale.
        width: hidden channels of the conditioners.
        bound: of the logarithm of a coupling's scale, see `affine`.
        classes: length of the one-hot condition whose classes get distributions of their own in the base.

    Returns:
        A `Bijection` from ``[b, *shape]`` to ``[b, prod(shape)]``.

    Raises:
        ValueError: if an axis cannot be halved `levels` times.

    Reference:
        Kingma & Dhariwal 2018, "Glow: generative flow with invertible 1x1 convolutions", arXiv 1807.03039.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> flow, x = glow((8, 8, 1), levels=2, steps=2, width=8), jnp.zeros((2, 8, 8, 1))
        >>> params = jax.jit(flow.init)(jax.random.key(0), x)
        >>> jax.jit(flow.forward)(params, x)[0].shape
        (2, 64)
    """
    transform = affine(bound)

    def level(channels: int, last: bool) -> Bijection:
        # The second half of the channels takes a shift and a scale each: as many answers as there are channels.
        layer = coupling(conditioner(channels, width=width), transform)
        step = scan_chain(chain(actnorm(), conv1x1(), layer), steps)
        return step if last else chain(step, layer)

    shapes = level_shapes(shape, levels)
    scales = multiscale(shape, [level(s[-1], i == levels - 1) for i, s in enumerate(shapes)])
    if classes is None:
        return scales
    size = (classes, 2 * math.prod(shape))
    table = Net(lambda key, label: {"table": jnp.zeros(size)}, lambda params, label: label @ params["table"])
    return chain(scales, elementwise(transform, table))
