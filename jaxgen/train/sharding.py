"""Work on several devices: where the state and the batches live, and how a function is compiled for them."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxgen.errors import UserError
from jaxgen.train.mesh import AXIS, ROWS, SHARD, SPACE, Placement, make_mesh, placement, state_shardings, whole_of


class Parallel(NamedTuple):
    """How work is spread over devices; the parameters that come out do not depend on it.

    Attributes:
        size: devices, or groups of devices that share an example, over all processes: a batch is split over them.
        axis_name: the mapped axis of a step that runs inside `jax.pmap`, else None.
        placement: what a step is to do about its arrays.
        kept: a state, or its shapes -> the shardings of its arrays.
        compile: ``compile(chunk, state) -> jitted``, for ``chunk(state, arrays, inputs) -> (state, small)``, where
            `state` is donated, `arrays` are whole, and `inputs` are split along their second axis, ``[k, b, ...]``.
        spread: a state placed by `kept` -> the state as the compiled function wants it.
        collect: the inverse of `spread`.
        local: arrays as `collect` gives them -> the same, whole, on one device of this process. All processes must ask
            for it together.
        place_batch: ``[local_b, ...]`` arrays of this process -> arrays split along their first axis.
        place_inputs: ``[k, local_b, ...]`` arrays of this process -> `inputs`.
        place_whole: arrays that are the same in every process -> `arrays`.
        fetch: the compiled function's second output -> a numpy array.
    """

    size: int
    axis_name: str | None
    placement: Placement
    kept: Callable[[Any], Any]
    compile: Callable[[Callable[..., Any], Any], Any]
    spread: Callable[[Any], Any]
    collect: Callable[[Any], Any]
    local: Callable[[Any], Any]
    place_batch: Callable[[Any], Any]
    place_inputs: Callable[[Any], Any]
    place_whole: Callable[[Any], Any]
    fetch: Callable[[Any], np.ndarray]


def _local(array: jax.Array) -> np.ndarray:
    return np.asarray(array.addressable_shards[0].data)


def _on_one_device(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: whole_of(leaf).addressable_data(0), tree)


def data_parallel(kind: str = "jit", devices: int = 0, *, shard: int = 1, space: int = 1) -> Parallel:
    """Split every batch over devices, and where asked the state and the examples themselves.

    Args:
        kind: ``"jit"`` lets the compiler split one program over a mesh, across processes too; ``"pmap"`` maps a
            program over the devices of one process.
        devices: how many devices (0: all).
        shard: devices that share one copy of parameters, averages and optimizer state: each keeps a part, and
            gathers the parameters for its step (Rajbhandari et al. 2020, arXiv 1910.02054, stage 3).
        space: devices that share one example, each with a part of its first spatial axis.

    Returns:
        A `Parallel`.

    Raises:
        UserError: if the devices are not there or cannot be grouped so, or ``pmap`` is asked for with several
            processes or with a state or examples in parts.
        ValueError: if `kind` is neither.

    Example:
        >>> data_parallel("jit", devices=1).size
        1
    """
    if kind not in ("jit", "pmap"):
        raise ValueError(f"kind must be 'jit' or 'pmap', not {kind!r}")
    mesh = make_mesh(devices, shard=shard, space=space)
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
    whole, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(None, ROWS))

    def compile(chunk: Callable[..., Any], state: Any) -> Any:
        kept = state_shardings(mesh, state)
        return jax.jit(chunk, in_shardings=(kept, whole, split), out_shardings=(kept, whole), donate_argnums=0)

    return Parallel(
        size=mesh.size // mesh.shape[SPACE],
        axis_name=None,
        placement=placement(mesh),
        kept=partial(state_shardings, mesh),
        compile=compile,
        spread=lambda state: state,
        collect=lambda state: state,
        local=_on_one_device,
        place_batch=_place_split(NamedSharding(mesh, PartitionSpec(ROWS))),
        # One process: the compiled call itself moves numpy arrays, in half the time that device_put takes.
        place_inputs=_place_split(split) if jax.process_count() > 1 else lambda tree: tree,
        place_whole=_place_whole(whole),
        fetch=_local,
    )


def _mapped(mesh: Mesh) -> Parallel:
    if jax.process_count() > 1:
        raise UserError("--parallel pmap: works within one process only; use --parallel jit")
    if mesh.shape[SHARD] * mesh.shape[SPACE] > 1:
        raise UserError("--parallel pmap: every device holds the whole; --shard-state and --space need --parallel jit")
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
        placement=Placement(),
        kept=lambda state: whole,
        compile=lambda chunk, state: jax.pmap(
            chunk, axis_name=AXIS, in_axes=(0, None, 0), donate_argnums=0, devices=mesh.devices.flatten().tolist()
        ),
        spread=stack,
        collect=first,
        local=_on_one_device,
        place_batch=_place_split(rows),
        place_inputs=place_inputs,
        place_whole=_place_whole(whole),
        fetch=lambda x: _local(x)[0],
    )
