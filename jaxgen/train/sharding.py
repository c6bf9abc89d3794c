"""Data parallelism: where the state and the batches live, and how a function is compiled for them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxgen.errors import UserError

AXIS = "data"
"""The mesh axis that batches are split over."""


class Parallel(NamedTuple):
    """How work is spread over devices; the parameters that come out do not depend on it.

    Attributes:
        size: devices in use, over all processes.
        axis_name: the mapped axis of a step that runs inside `jax.pmap`, else None.
        whole: the sharding of an array of which every device holds the whole.
        compile: ``compile(chunk) -> jitted``, for ``chunk(state, arrays, inputs) -> (state, small)``, where `state`
            is donated, `arrays` are whole, and `inputs` are split along their second axis, ``[k, b, ...]``.
        spread: a state of which every device holds the whole -> the state as the compiled function wants it.
        collect: the inverse of `spread`.
        place_batch: ``[local_b, ...]`` arrays of this process -> arrays split along their first axis.
        place_inputs: ``[k, local_b, ...]`` arrays of this process -> `inputs`.
        place_whole: arrays that are the same in every process -> `arrays`.
        fetch: the compiled function's second output -> a numpy array.
    """

    size: int
    axis_name: str | None
    whole: NamedSharding
    compile: Callable[[Callable[..., Any]], Any]
    spread: Callable[[Any], Any]
    collect: Callable[[Any], Any]
    place_batch: Callable[[Any], Any]
    place_inputs: Callable[[Any], Any]
    place_whole: Callable[[Any], Any]
    fetch: Callable[[Any], np.ndarray]


def _local(array: jax.Array) -> np.ndarray:
    return np.asarray(array.addressable_shards[0].data)


def make_mesh(devices: int = 0) -> Mesh:
    """A mesh of one axis, ``data``, over the first `devices` devices (0: all of all processes).

    Raises:
        UserError: if there are fewer, or if several processes are to use only some of theirs.

    Example:
        >>> make_mesh(1).shape["data"]
        1
    """
    found = jax.devices()
    if devices > len(found):
        raise UserError(f"--devices {devices}: there are only {len(found)}; use --devices 0 for all of them")
    if devices and devices < len(found) and jax.process_count() > 1:
        raise UserError(f"--devices {devices}: with several processes all {len(found)} are used; leave the flag out")
    # Explicit axes, the default of jax.make_mesh, cost a plain convolutional train step two all-gathers.
    return Mesh(np.array(found[: devices or None]), (AXIS,), axis_types=(AxisType.Auto,))


def data_parallel(kind: str = "jit", devices: int = 0) -> Parallel:
    """Split every batch over devices, each with the whole state.

    Args:
        kind: ``"jit"`` lets the compiler split one program over a mesh, across processes too; ``"pmap"`` maps a
            program over the devices of one process.
        devices: how many devices (0: all).

    Returns:
        A `Parallel`.

    Raises:
        UserError: if the devices are not there, or ``pmap`` is asked for with several processes.
        ValueError: if `kind` is neither.

    Example:
        >>> data_parallel("jit", devices=1).size
        1
    """
    if kind not in ("jit", "pmap"):
        raise ValueError(f"kind must be 'jit' or 'pmap', not {kind!r}")
    mesh = make_mesh(devices)
    return _over_mesh(mesh) if kind == "jit" else _mapped(mesh)


def _place_whole(whole: NamedSharding) -> Callable[[Any], Any]:
    def place(tree: Any) -> Any:
        return jax.tree.map(lambda x: jax.make_array_from_callback(x.shape, whole, lambda index: x[index]), tree)

    return place


def _place_split(split: NamedSharding) -> Callable[[Any], Any]:
    def place(tree: Any) -> Any:
        if jax.process_count() == 1:
            return jax.device_put(tree, split)
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(split, np.asarray(x)), tree)

    return place


def _over_mesh(mesh: Mesh) -> Parallel:
    whole, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(None, AXIS))
    return Parallel(
        size=mesh.size,
        axis_name=None,
        whole=whole,
        compile=lambda chunk: jax.jit(chunk, in_shardings=(whole, whole, split), out_shardings=whole, donate_argnums=0),
        spread=lambda state: state,
        collect=lambda state: state,
        place_batch=_place_split(NamedSharding(mesh, PartitionSpec(AXIS))),
        # One process: the compiled call itself moves numpy arrays, in half the time that device_put takes.
        place_inputs=_place_split(split) if jax.process_count() > 1 else lambda tree: tree,
        place_whole=_place_whole(whole),
        fetch=_local,
    )


def _mapped(mesh: Mesh) -> Parallel:
    if jax.process_count() > 1:
        raise UserError("--parallel pmap: works within one process only; use --parallel jit")
    whole, rows = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(AXIS))

    def place_inputs(tree: Any) -> Any:
        def rows_of(x: Any) -> np.ndarray:
            k, b, *rest = x.shape
            return np.moveaxis(np.asarray(x).reshape(k, mesh.size, b // mesh.size, *rest), 1, 0)

        return jax.device_put(jax.tree.map(rows_of, tree), rows)

    stack = jax.jit(
        lambda state: jax.tree.map(lambda x: jnp.broadcast_to(x, (mesh.size, *x.shape)), state), out_shardings=rows
    )
    first = jax.jit(lambda state: jax.tree.map(lambda x: x[0], state), out_shardings=whole)
    return Parallel(
        size=mesh.size,
        axis_name=AXIS,
        whole=whole,
        compile=lambda chunk: jax.pmap(
            chunk, axis_name=AXIS, in_axes=(0, None, 0), donate_argnums=0, devices=mesh.devices.flatten().tolist()
        ),
        spread=stack,
        collect=first,
        place_batch=_place_split(rows),
        place_inputs=place_inputs,
        place_whole=_place_whole(whole),
        fetch=lambda x: _local(x)[0],
    )
