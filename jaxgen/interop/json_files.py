"""JSON files from elsewhere: damaged, endless or nested without end, they end in one error that says so."""

import json
from pathlib import Path
from typing import Any

from jaxgen.errors import UserError
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


def read_object(path: Path, advice: str) -> dict[str, Any]:
    """Read a JSON file that a user's folder must have, and that must hold one object.

    Args:
        path: of the file.
        advice: what to do where it is missing.

    Returns:
        The entries of the object.

    Raises:
        UserError: if it is missing, cannot be read, is no JSON or holds something else.

    Example:
        >>> read_object(Path("nowhere/config.json"), "give the folder that save_pretrained wrote")
        Traceback (most recent call last):
        ...
        jaxgen.errors.UserError: nowhere/config.json: no such file; give the folder that save_pretrained wrote
    """
    try:
        content = read(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; {advice}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {advice}") from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); copy it again from where it came") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold one JSON object; copy it again from where it came")
    return content


def written(content: dict[str, Any]) -> str:
    """An object as the text of a JSON file, its names in order.

    Example:
        >>> print(written({"b": 1, "a": None}), end="")
        {
          "a": null,
          "b": 1
        }
    """
    return json.dumps(content, indent=2, sort_keys=True) + "\n"
