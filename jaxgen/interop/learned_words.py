"""Files of textual inversion as diffusers has them: a word, and its embeddings."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from jaxgen.errors import UserError
from jaxgen.interop import weight_files

_FILE = "learned_embeds.safetensors"


def load(path: str | Path, *, word: str | None = None, max_bytes: int | None = None) -> tuple[str, np.ndarray]:
    """Read a learned word.

    Args:
        path: of the file, or of a folder with ``learned_embeds.safetensors``.
        word: what to call it here; None for its name in the file.
        max_bytes: the most that the file may hold; None for ``JAXGEN_MAX_FILE_MIB``, or else 4 GiB.

    Returns:
        The word, and its embeddings ``[n, width]``: to be added to a tokenizer (`jaxgen.interop.tokens.load` with
        ``added={word: n}``) and to a text encoder (`jaxgen.families.textual_inversion.extend`).

    Raises:
        UserError: if the file is missing, damaged, or does not hold the embeddings of one word.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(folder, "<my-lung>", np.ones((2, 8)))
        ...     word, rows = load(folder)
        >>> word, rows.shape
        ('<my-lung>', (2, 8))
    """
    path = Path(path)
    path = path / _FILE if path.is_dir() else path
    tensors = weight_files.read(path, max_bytes=max_bytes)
    if len(tensors) != 1:
        raise UserError(
            f"{path}: holds {len(tensors)} tensors; a file of textual inversion holds one, named by its word"
        )
    name, rows = next(iter(tensors.items()))
    rows = rows[None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or not rows.size:
        raise UserError(
            f"{path}: the embedding has shape {rows.shape}; it must be [width], or [n, width] for n vectors"
        )
    return word or name, rows.astype(np.float32)


def save(path: str | Path, word: str, rows: np.ndarray) -> None:
    """Write a learned word, for ``load_textual_inversion`` of diffusers (and `load`).

    Args:
        path: of the safetensors file, or of an existing folder, in which it is ``learned_embeds.safetensors``.
        word: as it is written in prompts.
        rows: its embeddings ``[n, width]``.
    """
    path = Path(path)
    content = {word: np.ascontiguousarray(rows, np.float32)}
    save_file(content, path / _FILE if path.is_dir() else path, metadata={"format": "pt"})
