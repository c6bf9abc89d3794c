"""Flax modules whose activations are computed anew in the backward pass, with the same names of parameters."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
from flax.core import lift
from flax.linen.transforms import lift_transform

from jaxgen.nets import ops


def _lifted(fn: Callable[..., Any]) -> Callable[..., Any]:
    def inner(scope_fn: Any, repack_fn: Any, variables: Any, rngs: Any, *args: Any) -> Any:
        def pure(variables: Any, rngs: Any, *args: Any) -> Any:
            scope = scope_fn(variables, rngs)
            return fn(scope, *args), repack_fn(scope)

        return ops.recomputed(pure, fixed=2)(variables, rngs, *args)

    return lift.pack(inner, (True,), (True,), (True,), name="remat")


def rematerialised(module: type[nn.Module]) -> type[nn.Module]:
    """The class of a module that keeps only its inputs for the backward pass, see `jaxgen.nets.ops.recomputed`.

    Flax's own `nn.remat` saves no memory on CPU, and changes the names of parameters.

    Args:
        module: the class of a module; it is called with arguments by place.

    Returns:
        A class of the same name, so that the names of parameters do not change.

    Example:
        >>> rematerialised(nn.Dense).__name__
        'Dense'
    """
    lifted = lift_transform(_lifted, module)
    lifted.__name__ = module.__name__
    return lifted
