"""Files of named tensors, and how the tensors of another library become a tree of parameters and back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from jaxgen.errors import UserError
from jaxgen.interop import files, json_files, weight_files
from jaxgen.types import Params


def read(folder: Path, stem: str, *, max_bytes: int | None = None) -> tuple[Path, dict[str, np.ndarray]]:
    """Read ``<stem>.safetensors``, or the shards that ``<stem>.safetensors.index.json`` names.

    Args:
        folder: where the files are.
        stem: their name before the suffix.
        max_bytes: the most that they may hold together; None for ``JAXGEN_MAX_FILE_MIB``, or else 4 GiB.

    Returns:
        The file that was read (or the index), and its tensors by name, in float32 where they are floating point.

    Raises:
        UserError: if there is no such file, or it is damaged or too large, or there are pickled weights only, or the
            index names what is no file of this folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(Path(folder), "model", {"a": np.zeros(3)})
        ...     read(Path(folder), "model")[1]["a"].shape
        (3,)
    """
    whole, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    left = files.limit(max_bytes)
    if whole.exists():
        return whole, _load(files.inside(folder, whole.name), left)
    if index.exists():
        try:
            shards = sorted({str(name) for name in json_files.read(index)["weight_map"].values()})
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise UserError(f"{index}: not an index of shards ({error}); copy it again from where it came") from error
        found = [files.inside(folder, shard) for shard in shards]
        wrong = next((file for file in found if file.suffix != ".safetensors"), None)
        if wrong is not None:
            raise UserError(f"{index}: names {wrong.name!r}, which is no safetensors file")
        files.check(index, sum(file.stat().st_size for file in found if file.exists()), left)
        return index, {name: tensor for file in found for name, tensor in _load(file, left).items()}
    pickled = next((file for name in (stem, f"pytorch_{stem}") if (file := folder / f"{name}.bin").exists()), None)
    if pickled is not None:
        raise UserError(
            f"{pickled}: pickled weights can run code and are never opened; in PyTorch load the model and save it with "
            "save_pretrained(folder, safe_serialization=True)"
        )
    raise UserError(f"{whole}: no such file; give the folder that save_pretrained wrote")


def _load(path: Path, most: int) -> dict[str, np.ndarray]:
    try:
        return weight_files.read_safetensors(path, max_bytes=most)
    except weight_files.DAMAGED as error:
        raise UserError(f"{path}: cannot be read ({str(error)[:200]}); copy it again from where it came") from error


def write(folder: Path, stem: str, tensors: Mapping[str, np.ndarray]) -> None:
    """Write ``<stem>.safetensors``, replacing one that is there.

    Args:
        folder: an existing folder.
        stem: name of the file before the suffix.
        tensors: by name.
    """
    whole = {name: np.ascontiguousarray(x) for name, x in tensors.items()}
    save_file(whole, folder / f"{stem}.safetensors", metadata={"format": "pt"})


class Entry(NamedTuple):
    """One of our parameters and the tensors of the other library that hold it.

    Attributes:
        path: of our parameter in its tree.
        names: of their tensors.
        ours: their tensors -> our array.
        theirs: our array -> their tensors.
        layers: of equal layers stacked along a first axis here, how many; 0 where it is one layer's own.
    """

    path: tuple[str, ...]
    names: tuple[str, ...]
    ours: Callable[..., np.ndarray]
    theirs: Callable[[np.ndarray], Sequence[np.ndarray]]
    layers: int = 0


def same(path: tuple[str, ...], name: str) -> Entry:
    """A tensor that both hold alike."""
    return Entry(path, (name,), lambda x: x, lambda x: (x,))


def norm(path: tuple[str, ...], name: str) -> Iterator[Entry]:
    """A normalisation with scale and shift."""
    yield same((*path, "scale"), f"{name}.weight")
    yield same((*path, "shift"), f"{name}.bias")


def dense(path: tuple[str, ...], name: str) -> Iterator[Entry]:
    """An affine map: ``[in, out]`` here, ``[out, in]`` there."""
    yield Entry((*path, "kernel"), (f"{name}.weight",), np.transpose, lambda x: (x.T,))
    yield same((*path, "bias"), f"{name}.bias")


def convolution(path: tuple[str, ...], name: str) -> Iterator[Entry]:
    """A convolution: ``[*window, in, out]`` here, ``[out, in, *window]`` there."""
    yield Entry(
        (*path, "kernel"),
        (f"{name}.weight",),
        lambda x: np.moveaxis(x, (1, 0), (-2, -1)),
        lambda x: (np.moveaxis(x, (-2, -1), (1, 0)),),
    )
    yield same((*path, "bias"), f"{name}.bias")


def transposed_convolution(path: tuple[str, ...], name: str) -> Iterator[Entry]:
    """A transposed convolution: ``[*window, in, out]`` here, ``[in, out, *window]`` there."""
    yield Entry(
        (*path, "kernel"),
        (f"{name}.weight",),
        lambda x: np.moveaxis(x, (0, 1), (-2, -1)),
        lambda x: (np.moveaxis(x, (-2, -1), (0, 1)),),
    )
    yield same((*path, "bias"), f"{name}.bias")


def pointwise(path: tuple[str, ...], name: str, rank: int = 2) -> Iterator[Entry]:
    """A convolution of width 1: the matrix ``[in, out]`` here, ``[out, in, 1, ...]`` there."""
    ones = (1,) * rank
    yield Entry(
        (*path, "kernel"),
        (f"{name}.weight",),
        lambda x: x.reshape(x.shape[0], -1).T if x.shape[2:] == ones else x,  # any other is refused for its shape
        lambda x: (x.T.reshape(*x.T.shape, *ones),),
    )
    yield same((*path, "bias"), f"{name}.bias")


def attention_inputs(
    path: tuple[str, ...],
    name: str,
    heads: int,
    layers: Sequence[str] = ("to_q", "to_k", "to_v"),
    *,
    bias: bool = True,
) -> Iterator[Entry]:
    """Query, key and value: one layer here, with those of a head side by side, and a layer each there."""

    def join(*parts: np.ndarray) -> np.ndarray:  # each [c, ...] -> [len(layers) c, ...]
        split = [x.reshape(heads, -1, *x.shape[1:]) for x in parts]
        return np.stack(split, axis=1).reshape(-1, *parts[0].shape[1:])

    def part(x: np.ndarray) -> list[np.ndarray]:
        split = x.reshape(heads, len(layers), -1, *x.shape[1:])
        return [split[:, i].reshape(-1, *x.shape[1:]) for i in range(len(layers))]

    yield Entry(
        (*path, "kernel"),
        tuple(f"{name}.{n}.weight" for n in layers),
        lambda *parts: join(*parts).T,
        lambda x: part(x.T),
    )
    if bias:
        yield Entry((*path, "bias"), tuple(f"{name}.{n}.bias" for n in layers), join, part)


def combined_attention_inputs(path: tuple[str, ...], name: str, heads: int, *, bias: bool) -> Iterator[Entry]:
    """Query, key and value in one layer: those of a head side by side here, all queries before all keys there."""

    def ours(x: np.ndarray) -> np.ndarray:  # [3 c, ...]
        return x.reshape(3, heads, -1, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)

    def theirs(x: np.ndarray) -> np.ndarray:
        return x.reshape(heads, 3, -1, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)

    yield Entry((*path, "kernel"), (f"{name}.weight",), lambda x: ours(x).T, lambda x: (theirs(x.T),))
    if bias:
        yield Entry((*path, "bias"), (f"{name}.bias",), ours, lambda x: (theirs(x),))


def stacked(layers: Sequence[Sequence[Entry]]) -> Iterator[Entry]:
    """Equal layers, whose parameters are stacked along a first axis here and named apart there."""
    for same_entry in zip(*layers, strict=True):
        first, size = same_entry[0], len(same_entry[0].names)

        def ours(*tensors: np.ndarray, first: Entry = first, size: int = size) -> np.ndarray:
            return np.stack([first.ours(*tensors[i : i + size]) for i in range(0, len(tensors), size)])

        def theirs(x: np.ndarray, first: Entry = first) -> list[np.ndarray]:
            return [tensor for layer in x for tensor in first.theirs(layer)]

        names = tuple(name for entry in same_entry for name in entry.names)
        yield Entry(first.path, names, ours, theirs, len(layers))


def to_params(entries: Sequence[Entry], tensors: Mapping[str, np.ndarray], shapes: Params, file: Path) -> Params:
    """A tree of parameters from named tensors.

    Args:
        entries: one for each parameter.
        tensors: theirs, by name.
        shapes: the tree of our parameters, of anything with a shape.
        file: where the tensors are from.

    Returns:
        A tree like `shapes`, of float32 arrays.

    Raises:
        UserError: if a tensor is missing, is one too many, or has another shape.
    """
    expected = {name for entry in entries for name in entry.names}
    for what, names in (("lacks", expected - tensors.keys()), ("has an unexpected", tensors.keys() - expected)):
        if names:
            raise UserError(f"{file}: {what} tensor {min(names)} ({len(names)} in all); is the configuration its own?")
    flat: dict[tuple[str, ...], Any] = {}
    shape_of = {tuple(k.key for k in path): leaf.shape for path, leaf in jax.tree.leaves_with_path(shapes)}
    for entry in entries:
        try:
            x = entry.ours(*(tensors[name] for name in entry.names))
        except ValueError:  # the shapes do not even go together
            x = np.zeros(0)
        if x.shape != shape_of[entry.path]:
            given = tensors[entry.names[0]].shape
            raise UserError(
                f"{file}: tensor {entry.names[0]} has shape {given}, which the configuration does not describe"
            )
        flat[entry.path] = jnp.asarray(x, jnp.float32)
    return jax.tree.map_with_path(lambda path, _: flat[tuple(k.key for k in path)], shapes)


def from_params(entries: Sequence[Entry], params: Params) -> dict[str, np.ndarray]:
    """Named tensors from a tree of parameters, in float32: the inverse of `to_params`."""
    flat = {tuple(k.key for k in path): leaf for path, leaf in jax.tree.leaves_with_path(params)}
    tensors: dict[str, np.ndarray] = {}
    for entry in entries:
        x = np.asarray(flat[entry.path], np.float32)
        tensors |= dict(zip(entry.names, entry.theirs(x), strict=True))
    return tensors
