"""JSON files from elsewhere: damaged, endless or nested without end, they end in one error that says so."""

import json
from pathlib import Path
from typing import Any

from jaxgen.interop import files

MOST_BYTES = 16 * 2**20


def read(path: Path) -> Any:
    """Read a JSON file.

    Args:
        path: of the file.

    Returns:
        What it holds. ``Infinity`` and ``NaN`` are numbers, as diffusers writes them: check what you use.

    Raises:
        OSError: if it cannot be opened.
        ValueError: if it is no JSON, or larger than 16 MiB.
        UserError: if it is no regular file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a.json").write_text("[" * 100000)
        ...     read(Path(folder, "a.json"))
        Traceback (most recent call last):
        ...
        ValueError: nested too deeply
    """
    with files.open_regular(path, 2**63) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES // 2**20} MiB")
    try:
        return json.loads(content.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
