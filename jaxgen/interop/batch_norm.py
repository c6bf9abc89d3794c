"""Convolutions with the batch normalisation behind them, as one convolution."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.errors import UserError
from jaxgen.types import Params


def fold(
    tensors: Mapping[str, np.ndarray],
    shapes: Params,
    names: Callable[[tuple[str, ...]], tuple[str, str]],
    *,
    epsilon: float,
    file: str | Path,
    unused: Iterable[str] = (),
) -> Params:
    """Parameters of a network of convolutions ``{"kernel", "bias"}`` from convolutions and batch normalisations.

    Trained batch normalisation is the fixed affine map ``(y - mean) weight / sqrt(var + epsilon) + bias``, so that
    the kernel becomes ``kernel weight / sqrt(var + epsilon)``, computed in float64.

    Args:
        tensors: theirs, by name, in PyTorch's layout.
        shapes: the tree of our parameters, of anything with a shape.
        names: the path of one of our convolutions -> the names of their convolution and normalisation.
        epsilon: what they add to the variance.
        file: where the tensors are from.
        unused: names' beginnings of tensors that may be there and are not needed.

    Returns:
        A tree like `shapes`, of float32 arrays.

    Raises:
        UserError: if a tensor is missing, is one too many, or has another shape.

    Example:
        >>> theirs = {"c.weight": np.full((1, 1, 1, 1), 6.0), "n.weight": np.ones(1), "n.bias": np.ones(1),
        ...           "n.running_mean": np.full(1, 4.0), "n.running_var": np.full(1, 3.0)}
        >>> shapes = {"a": {"kernel": jax.ShapeDtypeStruct((1, 1, 1, 1), jnp.float32)}}
        >>> ours = fold(theirs, shapes, lambda path: ("c", "n"), epsilon=1.0, file="net.pth")["a"]
        >>> ours["kernel"].item(), ours["bias"].item()
        (3.0, -1.0)
    """
    flat: dict[tuple[str, ...], Any] = {}
    taken: set[str] = set()

    def take(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name not in tensors:
            raise UserError(f"{file}: lacks tensor {name}; is it of another network?")
        if tensors[name].shape != shape:
            raise UserError(f"{file}: tensor {name} has shape {tensors[name].shape} in place of {shape}")
        taken.add(name)
        return tensors[name].astype(np.float64)

    for place, leaf in jax.tree.leaves_with_path(shapes):
        path = tuple(key.key for key in place)
        if path[-1] != "kernel":
            continue
        convolution, norm = names(path[:-1])
        *window, into, out = leaf.shape
        kernel = take(f"{convolution}.weight", (out, into, *window))
        bias = take(f"{convolution}.bias", (out,)) if f"{convolution}.bias" in tensors else np.zeros(out)
        scale, shift, mean, variance = (
            take(f"{norm}.{name}", (out,)) for name in ("weight", "bias", "running_mean", "running_var")
        )
        factor = scale / np.sqrt(variance + epsilon)
        flat[(*path[:-1], "kernel")] = np.moveaxis(kernel, (1, 0), (-2, -1)) * factor
        flat[(*path[:-1], "bias")] = (bias - mean) * factor + shift
    others = {n for n in tensors if not n.startswith(tuple(unused)) and not n.endswith("num_batches_tracked")} - taken
    if others:
        raise UserError(f"{file}: has an unexpected tensor {min(others)} ({len(others)} in all); is it of another one?")
    tree: Params = {}
    for path, x in flat.items():
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = jnp.asarray(x, jnp.float32)
    return tree
