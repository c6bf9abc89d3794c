"""Our own files of a network: its tree of parameters and its configuration, in one ``.npz`` or ``.safetensors`` file.

Parameters are named by their path in the tree, ``Conv_0/kernel``. The configuration, as JSON, is the array
``__config__`` (its bytes) of an ``.npz`` file and the metadata ``config`` of a safetensors file.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxgen.errors import UserError
from jaxgen.interop import files, weight_files
from jaxgen.types import Params

SUFFIXES = (".npz", ".safetensors")
_CONFIG = "__config__"
_FORMAT = "jaxgen"


class Tree(NamedTuple):
    """A network's parameters with the configuration that says which network it is."""

    params: Params
    config: dict[str, Any]


def write(path: str | Path, params: Params, config: Mapping[str, Any]) -> None:
    """Write a tree of parameters, replacing a file that is there.

    Args:
        path: ending in ``.npz`` or ``.safetensors``.
        params: a tree of dicts of arrays; written in float32.
        config: entries that JSON can hold.

    Raises:
        UserError: if the file's name ends otherwise.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(f"{folder}/net.npz", {"Dense_0": {"bias": np.zeros(2)}}, {"_class_name": "UNet2DModel"})
        ...     tree = read(f"{folder}/net.npz")
        >>> tree.config, tree.params["Dense_0"]["bias"].tolist()
        ({'_class_name': 'UNet2DModel'}, [0.0, 0.0])
    """
    path, text = Path(path), json.dumps(dict(config), sort_keys=True)
    flat = {
        "/".join(str(key.key) for key in where): np.array(leaf, np.float32, order="C")
        for where, leaf in jax.tree.leaves_with_path(params)
    }
    if path.suffix == ".npz":
        flat[_CONFIG] = np.frombuffer(text.encode(), np.uint8)
        with path.open("wb") as file:
            np.savez(file, **flat)  # type: ignore[arg-type]
    elif path.suffix == ".safetensors":
        save_file(flat, path, metadata={"format": _FORMAT, "config": text})
    else:
        raise UserError(f"{path}: ends in {path.suffix!r}; name a file that ends in {' or '.join(SUFFIXES)}")


def is_tree(path: str | Path) -> bool:
    """Whether a file is one that `write` wrote, by what it says of itself.

    Example:
        >>> is_tree("no such file.npz")
        False
    """
    path = Path(path)
    try:
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                return f"{_CONFIG}.npy" in archive.namelist()
        if path.suffix == ".safetensors":
            with safe_open(path, "numpy") as file:
                return (file.metadata() or {}).get("format") == _FORMAT
    except (OSError, zipfile.BadZipFile, SafetensorError):
        return False
    return False


def read(path: str | Path, *, max_bytes: int | None = None) -> Tree:
    """Read a file that `write` wrote.

    Args:
        path: of the file.
        max_bytes: the most that it may hold; None for ``JAXGEN_MAX_FILE_MIB``, or else 4 GiB.

    Returns:
        The parameters, in float32, and the configuration.

    Raises:
        UserError: if it is missing, damaged, too large, or was not written by `write`.
    """
    path, most = Path(path), files.limit(max_bytes)
    try:
        flat, text = _read_npz(path, most) if path.suffix == ".npz" else _read_safetensors(path, most)
        config = json.loads(text)
    except (*weight_files.DAMAGED, RecursionError) as error:
        said = f"{type(error).__name__}: {error}"[:200]
        raise UserError(f"{path}: cannot be read as a network of jaxgen ({said}); convert it again") from error
    if not isinstance(config, dict):
        raise UserError(f"{path}: its configuration is no JSON object; convert it again")
    params: dict[str, Any] = {}
    for name, x in flat.items():
        *parents, last = name.split("/")
        node = params
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise UserError(f"{path}: {name!r} is a parameter inside of a parameter; convert it again")
        if last in node:
            raise UserError(f"{path}: {name!r} is there twice; convert it again")
        node[last] = jnp.asarray(x, jnp.float32)
    return Tree(params, config)


def _read_npz(path: Path, most: int) -> tuple[dict[str, np.ndarray], str]:
    with files.open_regular(path, most) as file:
        with zipfile.ZipFile(file) as archive:
            files.check(path, sum(info.file_size for info in archive.infolist()), most)
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    return found, found.pop(_CONFIG).astype(np.uint8).tobytes().decode()


def _read_safetensors(path: Path, most: int) -> tuple[dict[str, np.ndarray], str]:
    found = weight_files.read_safetensors(path, max_bytes=most)
    with safe_open(path, "numpy") as file:
        return found, (file.metadata() or {})["config"]
