"""LoRA files of diffusers, peft and kohya's scripts, read as updates of our kernels and written again.

Read are ``pytorch_lora_weights.safetensors`` with diffusers' names of now and of before and with peft's
``lora_A`` and ``lora_B``, and kohya's files with their ``alpha``. PyTorch is not needed.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from jaxgen.errors import UserError
from jaxgen.families.lora import put
from jaxgen.interop import weight_files
from jaxgen.interop.entries import shown
from jaxgen.interop.lora_names import FORMS, Named, named, written
from jaxgen.interop.tensors import Entry
from jaxgen.types import Params

_FILE = "pytorch_lora_weights.safetensors"


class Adapted(NamedTuple):
    """A network that updates are for.

    Attributes:
        entries: its parameters and their tensors there, as `jaxgen.interop.diffusers.entries` and
            `jaxgen.interop.clip_text.entries` give them.
        params: its parameters, or their shapes.
    """

    entries: Sequence[Entry]
    params: Params


class _Part(NamedTuple):
    """One low-rank update of one tensor there: ``up [out, r, ...]`` and ``down [r, in, ...]``, the scale in `up`."""

    down: np.ndarray
    up: np.ndarray

    def resized(self, rank: int) -> "_Part":
        more = rank - self.down.shape[0]
        down = np.pad(self.down, ((0, more), *((0, 0),) * (self.down.ndim - 1)))
        return _Part(down, np.pad(self.up, ((0, 0), (0, more), *((0, 0),) * (self.up.ndim - 2))))


def load(path: str | Path, networks: Mapping[str, Adapted], *, max_bytes: int | None = None) -> dict[str, Params]:
    """Read a LoRA file.

    Args:
        path: of the file, or of a folder with ``pytorch_lora_weights.safetensors``.
        networks: by diffusers' names of them, ``"unet"`` and ``"text_encoder"``.
        max_bytes: the most that it may hold; None for ``JAXGEN_MAX_FILE_MIB``, or else 4 GiB.

    Returns:
        The updates of each network that the file has some for, for `jaxgen.families.lora.merge` with a scale of 1:
        ``alpha / rank`` of the file is in ``b`` already. Query, key and value, which are one kernel here, keep their
        own ranks one after the other.

    Raises:
        UserError: if the file is missing or damaged, holds updates of another kind (DoRA, LoHa, LoKr), or an update
            for a network that is not given, for a layer that it has not, or of another shape.

    Example:
        >>> import tempfile
        >>> from jaxgen.interop.tensors import dense
        >>> unet = Adapted(list(dense(("Dense_0",), "proj_in")), {"Dense_0": {"kernel": jnp.zeros((3, 4))}})
        >>> lora = {"Dense_0": {"kernel": {"a": jnp.ones((3, 2)), "b": jnp.ones((2, 4))}}}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(folder, {"unet": lora}, {"unet": unet}, "kohya")
        ...     read = load(folder, {"unet": unet})
        >>> jax.tree.map(jnp.shape, read)
        {'unet': {'Dense_0': {'kernel': {'a': (3, 2), 'b': (2, 4)}}}}
    """
    path = Path(path)
    path = path / _FILE if path.is_dir() else path
    tensors = weight_files.read(path, max_bytes=max_bytes)
    parts = _parts(path, tensors, {name: _modules(network) for name, network in networks.items()})
    found: dict[str, Params] = {}
    for name, network in networks.items():
        shapes = {tuple(k.key for k in at): x.shape for at, x in jax.tree.leaves_with_path(network.params)}
        for entry in network.entries:
            modules = [tensor.removesuffix(".weight") for tensor in entry.names]
            here = [parts.pop((name, module), None) for module in modules]
            if any(part is not None for part in here):
                update = _update(path, entry, here, shapes[entry.path])
                put(found.setdefault(name, {}), entry.path, update)
    if not found:
        raise UserError(f"{path}: holds no update for {' or '.join(networks)}; is it a LoRA file?")
    return found


def _modules(network: Adapted) -> list[str]:
    return [t.removesuffix(".weight") for entry in network.entries for t in entry.names if t.endswith(".weight")]


def _parts(
    path: Path, tensors: Mapping[str, np.ndarray], modules: Mapping[str, list[str]]
) -> dict[tuple[str, str], _Part]:
    """The updates of a file, by network and module, with their scales."""
    found: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for tensor, x in tensors.items():
        what = named(tensor, modules)
        if isinstance(what, Named):
            found.setdefault((what.network, what.module), {})[what.kind] = x
        else:
            raise UserError(f"{path}: {what}")
    settings = _settings(path)
    parts = {}
    for (network, module), halves in found.items():
        down, up = halves.get("down"), halves.get("up")
        if down is None or up is None or min(down.ndim, up.ndim) < 2 or down.shape[0] != up.shape[1]:
            raise UserError(f"{path}: the update of {network} {module} is not one matrix by another; copy it again")
        rank = down.shape[0]
        alpha = halves.get("alpha")
        scale = settings(network, module, rank) if alpha is None else float(np.asarray(alpha).reshape(-1)[0]) / rank
        parts[network, module] = _Part(down.astype(np.float32), up.astype(np.float32) * np.float32(scale))
    return parts


def _settings(path: Path) -> Any:
    """``scale(network, module, rank)`` as the header of a file of diffusers says it; 1 where it says nothing."""
    content: dict[str, Any] = {}
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), 2**23)))
            content = json.loads(header.get("__metadata__", {}).get("lora_adapter_metadata", "{}"))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        content = {}  # a file without a header of this kind, which PyTorch wrote

    def scale(network: str, module: str, rank: int) -> float:
        alpha = content.get(f"{network}.lora_alpha", rank) if isinstance(content, dict) else rank
        pattern = content.get(f"{network}.alpha_pattern") if isinstance(content, dict) else None
        for name, value in (pattern if isinstance(pattern, dict) else {}).items():
            if f".{module}".endswith(f".{name}"):
                alpha = value
        if isinstance(alpha, bool) or not isinstance(alpha, (int, float)):
            raise UserError(f"{path}: lora_alpha is {shown(alpha)}; it must be a number")
        rooted = isinstance(content, dict) and content.get(f"{network}.use_rslora") is True
        return alpha / (rank**0.5 if rooted else rank)

    return scale


def _update(path: Path, entry: Entry, parts: list[_Part | None], shape: tuple[int, ...]) -> Params:
    """Our two matrices of what one of our kernels is updated by."""
    try:
        a, b = _joined(entry, parts, shape) if len(parts) > max(1, entry.layers) else _single(entry, parts, shape)
        lead = shape[:1] if entry.layers else ()
        inputs = math.prod(shape[len(lead) : -1])
        if a.shape != (*lead, inputs, a.shape[-1]) or b.shape != (*lead, a.shape[-1], shape[-1]):
            raise ValueError
    except ValueError as error:
        first = next((part, name) for part, name in zip(parts, entry.names, strict=True) if part is not None)
        sizes = f"{first[0].up.shape} by {first[0].down.shape}"
        raise UserError(
            f"{path}: the update of {first[1]} is {sizes}, which does not fit; is it for another model?"
        ) from error
    return {"a": jnp.asarray(a), "b": jnp.asarray(b)}


def _filled(parts: Sequence[_Part | None]) -> list[_Part]:
    """Parts of one rank, with zeros for layers that have no update."""
    present = [part for part in parts if part is not None]
    rank = max(part.down.shape[0] for part in present)
    nothing = _Part(np.zeros_like(present[0].down), np.zeros_like(present[0].up))
    return [(nothing if part is None else part).resized(rank) for part in parts]


def _single(entry: Entry, parts: Sequence[_Part | None], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    # Seen as weights, `down` is a layer with r outputs, and `up` one with r inputs and a window of 1.
    filled = _filled(parts)
    rank, lead = filled[0].down.shape[0], shape[:1] if entry.layers else ()
    ones = (1,) * (_axes(entry, shape) - 2)
    b = entry.ours(*(part.up.reshape(*part.up.shape[:2], *ones) for part in filled)).reshape(*lead, rank, -1)
    if len(shape) - len(lead) > 2 or filled[0].down[0, 0].size > 1:
        a = entry.ours(*(part.down for part in filled)).reshape(*lead, -1, rank)
    else:
        a = np.stack([_flat(part.down).T for part in filled])
        a = a if lead else a[0]
    return a, b


def _axes(entry: Entry, shape: tuple[int, ...]) -> int:
    """How many axes the tensors of an entry have there."""
    return entry.theirs(np.broadcast_to(np.float32(0), shape))[0].ndim


def _joined(entry: Entry, parts: Sequence[_Part | None], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    # Query, key and value are one kernel here: their ranks stand one after the other, with zeros for the others.
    layers = max(1, entry.layers)
    each = len(parts) // layers
    if _share(parts, each):
        filled = _filled(parts)
        a = np.stack([_flat(part.down).T for part in filled[::each]])
        return (a if entry.layers else a[0]), entry.ours(*(_flat(part.up) for part in filled))
    first, second = [], []
    for i in range(each):
        if all(part is None for part in parts[i::each]):
            continue
        mine = _filled(parts[i::each])
        nothing = np.zeros((shape[-1] // each, mine[0].down.shape[0]), np.float32)
        ups = [_flat(mine[k // each].up) if k % each == i else nothing for k in range(len(parts))]
        a = np.stack([_flat(part.down).T for part in mine])
        first.append(a if entry.layers else a[0])
        second.append(entry.ours(*ups))
    return np.concatenate(first, -1), np.concatenate(second, -2)


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(x.shape[:2])


def _share(parts: Sequence[_Part | None], each: int) -> bool:
    """Whether query, key and value of every layer are reached from one matrix, as those that are trained here."""
    if any(part is None for part in parts):
        return False
    downs = [part.down for part in parts if part is not None]
    return all(np.array_equal(down, downs[k - k % each]) for k, down in enumerate(downs))


def save(
    path: str | Path, lora: Mapping[str, Params], networks: Mapping[str, Adapted], form: str = "diffusers"
) -> None:
    """Write a LoRA file that diffusers' ``load_lora_weights`` (and `load`) reads.

    Args:
        path: of the safetensors file, or an existing folder, in which it is ``pytorch_lora_weights.safetensors``.
        lora: the updates by network, to be merged there with a scale of 1.
        networks: as for `load`.
        form: the names: ``"diffusers"``, ``"peft"`` or ``"kohya"``.

    Raises:
        ValueError: if the form is another, or an update is of a parameter that is no layer there.
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    tensors: dict[str, np.ndarray] = {}
    for name, updates in lora.items():
        entries = {entry.path: entry for entry in networks[name].entries}
        shapes = {tuple(k.key for k in at): x.shape for at, x in jax.tree.leaves_with_path(networks[name].params)}
        for at, a, b in _leaves(updates):
            if at not in entries:
                raise ValueError(f"{name} has no tensor for {'/'.join(at)}, so that its update cannot be written")
            for module, part in _apart(entries[at], a, b, shapes[at]):
                tensors |= written(form, name, module, part.down, part.up)
    path = Path(path)
    whole = {name: np.asarray(x, order="C") for name, x in tensors.items()}
    save_file(whole, path / _FILE if path.is_dir() else path, metadata={"format": "pt"})


def _leaves(updates: Params, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], np.ndarray, np.ndarray]]:
    if set(updates) == {"a", "b"} and not isinstance(updates["a"], Mapping):
        yield prefix, np.asarray(updates["a"], np.float32), np.asarray(updates["b"], np.float32)
    else:
        for name, below in updates.items():
            yield from _leaves(below, (*prefix, name))


def _apart(entry: Entry, a: np.ndarray, b: np.ndarray, shape: tuple[int, ...]) -> Iterator[tuple[str, _Part]]:
    """The update of each of their layers that one of our kernels is."""
    modules = [tensor.removesuffix(".weight") for tensor in entry.names]
    rank, lead = a.shape[-1], shape[:1] if entry.layers else ()
    each, window = len(modules) // max(1, entry.layers), len(shape) - len(lead) - 2
    ups = entry.theirs(b.reshape(*lead, *(1,) * window, rank, shape[-1]))
    if any(up.shape[1] != rank or up[0, 0].size != 1 for up in ups):
        raise ValueError(f"{modules[0]} is laid out otherwise there, so that its update cannot be written")
    if window:
        downs = list(entry.theirs(a.reshape(*shape[:-1], rank)))
    else:
        layers = a if lead else a[None]
        downs = [layers[k // each].T.reshape(rank, -1, *ups[0].shape[2:]) for k in range(len(modules))]
    for k, module in enumerate(modules):
        layer = ups[k - k % each : k - k % each + each]
        trained = any(np.any(up) for up in layer)
        # Of ranks that stand one after the other, each layer there has those that reach it.
        kept = np.abs(ups[k]).reshape(-1, rank).max(0) > 0 if trained and each > 1 else np.ones(rank, bool)
        if kept.any():
            yield module, _Part(downs[k][kept], ups[k][:, kept])
