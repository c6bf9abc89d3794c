"""How much arithmetic a function does: what makes the training of different models comparable."""

from collections.abc import Callable
from math import prod
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr


def count_flops(function: Callable[..., Any], *examples: Any) -> float:
    """Floating-point operations of the matrix products and convolutions that a call of `function` makes.

    A product of ``[m, k]`` and ``[k, n]`` counts ``2 m k n``, a convolution ``2 * window * c_in`` for each number of
    its result; element-wise work is left out. A scan counts its body as often as it runs, which XLA's own count of a
    compiled program does not, and a branch counts as the most costly one.

    Args:
        function: what to count; it is traced, not run.
        *examples: its arguments, or their `jax.ShapeDtypeStruct`.

    Returns:
        The number of operations.

    Raises:
        ValueError: if a loop runs for a number of times that is known only when it runs, and does such work.

    Example:
        >>> import jax.numpy as jnp
        >>> count_flops(lambda a, b: a @ b, jnp.ones((2, 3)), jnp.ones((3, 5)))
        60.0
    """
    return _count(jax.make_jaxpr(function)(*examples).jaxpr)


def _count(jaxpr: Jaxpr) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        name, given = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = given["dimension_numbers"]
            summed = prod(_shape(equation.invars[0])[axis] for axis in contracted)
            total += 2.0 * summed * prod(_shape(equation.outvars[0]))
        elif name == "conv_general_dilated":
            spec, kernel = given["dimension_numbers"].rhs_spec, _shape(equation.invars[1])
            summed = prod(kernel[axis] for axis in spec[2:]) * kernel[spec[1]]
            total += _convolution(equation, summed, given["lhs_dilation"])
        elif name == "canonical_convolution":
            total += _convolution(equation, prod(_shape(equation.invars[1])[:-1]), given["x_dilation"])
        elif name == "scan":
            total += given["length"] * _count(given["jaxpr"].jaxpr)
        elif name == "cond":
            total += max(_count(branch.jaxpr) for branch in given["branches"])
        elif name == "while":
            if _count(given["body_jaxpr"].jaxpr) + _count(given["cond_jaxpr"].jaxpr):
                raise ValueError("a loop of unknown length: its operations cannot be counted before it runs")
        else:
            total += sum(_count(inner) for value in given.values() for inner in _inside(value))
    return total


def _convolution(equation: Any, summed: int, dilation: tuple[int, ...]) -> float:
    # Of a dilated input, as in the gradient of a strided convolution, all but one in so many are zeros.
    return 2.0 * summed * prod(_shape(equation.outvars[0])) / prod(dilation)


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _inside(value: Any) -> list[Jaxpr]:
    """The programs inside of a parameter of an operation."""
    if isinstance(value, ClosedJaxpr):
        return [value.jaxpr]
    if isinstance(value, Jaxpr):
        return [value]
    if isinstance(value, (tuple, list)):
        return [inner for item in value for inner in _inside(item)]
    return []
