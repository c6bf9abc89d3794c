"""Devices as a mesh: which part of each array every one of them holds."""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxgen.errors import UserError

AXIS = "data"
"""The mesh axis along which devices have examples of their own and the same parameters."""
SHARD = "shard"
"""The mesh axis along which devices have examples of their own, and each a part of the state."""
SPACE = "space"
"""The mesh axis along which devices share an example: each has a part of its first spatial axis."""
ROWS = (AXIS, SHARD)
"""The mesh axes that batches are split over."""

_SMALLEST = 4096
"""Arrays of fewer numbers are whole on every device: to gather them would take longer than they are worth."""


def make_mesh(devices: int = 0, *, shard: int = 1, space: int = 1) -> Mesh:
    """A mesh over the first `devices` devices (0: all of all processes), ``[data, shard, space]``.

    Args:
        devices: how many.
        shard: devices that share one copy of the state.
        space: devices that share one example.

    Raises:
        UserError: if there are fewer, if they cannot be grouped so, or if several processes are to use only some of
            theirs.

    Example:
        >>> dict(make_mesh(1).shape)
        {'data': 1, 'shard': 1, 'space': 1}
    """
    found = jax.devices()
    if devices > len(found):
        raise UserError(f"--devices {devices}: there are only {len(found)}; use --devices 0 for all of them")
    if devices and devices < len(found) and jax.process_count() > 1:
        raise UserError(f"--devices {devices}: with several processes all {len(found)} are used; leave the flag out")
    used = found[: devices or None]
    if len(used) % (shard * space):
        given = " ".join(f"{flag} {n}" for flag, n in (("--shard-state", shard), ("--space", space)) if n > 1)
        raise UserError(f"{given}: {len(used)} devices cannot be divided into groups of {shard * space}")
    if jax.process_count() > 1 and jax.local_device_count() % space:
        raise UserError(
            f"--space {space}: devices that share an example must belong to one process, which has "
            f"{jax.local_device_count()}"
        )
    # Explicit axes, the default of jax.make_mesh, cost a plain convolutional train step two all-gathers.
    return Mesh(np.array(used).reshape(-1, shard, space), (AXIS, SHARD, SPACE), axis_types=(AxisType.Auto,) * 3)


def part_of(shape: tuple[int, ...], parts: int) -> PartitionSpec:
    """How an array of the state is divided: along the last of its longest axes that divide evenly, if it is large.

    Example:
        >>> tuple(part_of((3, 3, 64, 128), 4)), tuple(part_of((64,), 4))
        ((None, None, None, 'shard'), ())
    """
    divisible = [axis for axis, size in enumerate(shape) if size % parts == 0]
    if prod(shape) < _SMALLEST or not divisible:
        return PartitionSpec()
    chosen = max(divisible, key=lambda axis: (shape[axis], axis))
    return PartitionSpec(*[None] * chosen, SHARD)


def state_shardings(mesh: Mesh, state: Any) -> Any:
    """Where each array of a state lives: a tree of shardings, or one for all where every device has the whole."""
    parts = mesh.shape[SHARD]
    if parts == 1:
        return NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda leaf: NamedSharding(mesh, part_of(leaf.shape, parts)), state)


def whole_of(leaf: jax.Array) -> jax.Array:
    """An array of which every device holds a part, whole on each of them. All processes must ask for it together."""
    if leaf.is_fully_replicated or not isinstance(leaf.sharding, NamedSharding):
        return leaf
    return jax.jit(lambda x: x, out_shardings=NamedSharding(leaf.sharding.mesh, PartitionSpec()))(leaf)


def _unchanged(tree: Any) -> Any:
    return tree


class Placement(NamedTuple):
    """What keeps the arrays inside of a train step where they belong on a mesh; on one device it does nothing.

    Attributes:
        batch: examples, split over devices, and along their first spatial axis.
        whole: parameters as the losses see them, on every device.
        part: gradients, each device its part.
    """

    batch: Callable[[Any], Any] = _unchanged
    whole: Callable[[Any], Any] = _unchanged
    part: Callable[[Any], Any] = _unchanged


def placement(mesh: Mesh) -> Placement:
    """The `Placement` of a mesh.

    With ``space`` above 1 the compiler divides convolutions, norms and all else along that axis, and exchanges the
    rows at the seams (halos); attention alone gathers its keys and values.
    """
    space, shard = mesh.shape[SPACE], mesh.shape[SHARD]

    def constrain(tree: Any, spec: Callable[[tuple[int, ...]], PartitionSpec]) -> Any:
        return jax.tree.map(
            lambda leaf: jax.lax.with_sharding_constraint(leaf, NamedSharding(mesh, spec(leaf.shape))), tree
        )

    def batch(tree: Any) -> Any:
        if not any(_divided(leaf.shape, space) for leaf in jax.tree.leaves(tree)):
            shapes = sorted({leaf.shape[1:] for leaf in jax.tree.leaves(tree)}, key=len)
            raise UserError(
                f"--space {space}: no array of the examples ({', '.join(map(str, shapes))}) has a first spatial axis "
                f"that {space} divides; use another --space, or --size"
            )
        return constrain(
            tree, lambda shape: PartitionSpec(ROWS, SPACE) if _divided(shape, space) else PartitionSpec(ROWS)
        )

    return Placement(
        batch=batch if space > 1 else _unchanged,
        whole=(lambda tree: constrain(tree, lambda shape: PartitionSpec())) if shard > 1 else _unchanged,
        part=(lambda tree: constrain(tree, lambda shape: part_of(shape, shard))) if shard > 1 else _unchanged,
    )


def _divided(shape: tuple[int, ...], space: int) -> bool:
    """Whether it is an array of images or volumes whose first spatial axis can be divided."""
    return len(shape) >= 4 and shape[1] % space == 0


def over_space(function: Callable[..., Any], mesh: Mesh) -> Any:
    """A sampler, or any function whose results are images or volumes, compiled to compute each in parts.

    Args:
        function: ``function(*arrays) -> [n, *spatial, c]``, or a tree of such arrays. Its arguments, parameters among
            them, are whole on every device.
        mesh: of `make_mesh`; the first spatial axis is split along ``space``, the examples over the rest, which must
            divide them.

    Returns:
        The jitted function; its results lie in parts on the devices, and `numpy.asarray` joins them.

    Raises:
        UserError: when it is traced, if ``space`` divides the first spatial axis of no result.

    Example:
        >>> import jax.numpy as jnp
        >>> draw = over_space(lambda key: jax.random.normal(key, (2, 8, 8, 1)), make_mesh(1))
        >>> draw(jax.random.key(0)).shape
        (2, 8, 8, 1)
    """
    whole, placed = NamedSharding(mesh, PartitionSpec()), placement(mesh)
    return jax.jit(lambda *arrays: placed.batch(function(*arrays)), in_shardings=whole)
