"""Texts without the paths of this machine, for pages and records that are sent around.

A path tells a user's name, a hospital's folders, perhaps a patient's; what is left of one is its last part.
"""

import re
import shlex
from pathlib import Path

_PART = r"[^\s/\\'\"`,;:<>|(){}\[\]=]+"
_INSIDE = re.compile(
    rf"(?<![\w./:~\\-])(?:(?:file://)?/(?:{_PART}/)+(?:{_PART})?|[A-Za-z]:[\\/](?:{_PART}[\\/])*(?:{_PART})?|\\\\(?:{_PART}\\)+(?:{_PART})?)"
)


def is_local(text: str) -> bool:
    """Whether a text is a path from the root, from a home folder, or out of the working directory.

    Example:
        >>> [is_local(text) for text in ("/home/me/x.png", "~/x", "../x", "C:/x", "data/x.png", "https://a.org/x")]
        [True, True, True, True, False, False]
    """
    parts = re.split(r"[\\/]", text)
    return text.startswith(("/", "~", "\\", "file:")) or ".." in parts or bool(re.match(r"[A-Za-z]:[\\/]", text))


def base_name(text: str) -> str:
    r"""The last part of a path, of whatever system.

    Example:
        >>> base_name("/home/me/scans/"), base_name(r"C:\Users\me\x.png"), base_name("/")
        ('scans', 'x.png', '/')
    """
    return next((part for part in reversed(re.split(r"[\\/]", text)) if part not in ("", "..")), "/")


def without_paths(text: str) -> str:
    """A text whose absolute paths are cut to their last part; addresses on the web stay.

    Args:
        text: anything: a path as a whole, or a sentence with paths in it.

    Returns:
        The text.

    Example:
        >>> without_paths("read /home/me/scans/a.png, see https://a.org/b/c")
        'read a.png, see https://a.org/b/c'
        >>> without_paths("/home/Jane Doe/scans")
        'scans'
    """
    flag, sign, value = text.partition("=")
    if sign and flag.startswith("--"):
        return f"{flag}={without_paths(value)}"
    if is_local(text) and not re.search(r"[:;,]\s|\s\(|\n|[a-z]://", text):  # no sentence that begins with a path
        return base_name(text)
    for known in sorted(_known(), key=len, reverse=True):  # their names may hold spaces
        text = text.replace(known, "/~/~")
    return _INSIDE.sub(lambda found: base_name(found[0]), text)


def _known() -> set[str]:
    try:
        found = {str(Path.home()), str(Path.cwd())}
    except (OSError, RuntimeError):  # no home folder, or a working directory that was deleted
        return set()
    return {path for path in found if len(path) > 1}


def origin(text: str) -> str:
    """Where data came from, without the folders above it: ``folder PATH`` and ``file PATH`` as `jaxgen.data` says it.

    Example:
        >>> origin("folder /home/Jane Doe/scans"), origin("https://a.org/b")
        ('folder scans', 'https://a.org/b')
    """
    kind, _, path = text.partition(" ")
    return f"{kind} {without_paths(path)}" if kind in ("folder", "file") and path else without_paths(text)


def command_without_paths(line: str) -> str:
    """A line for the shell whose words have no absolute paths.

    Example:
        >>> command_without_paths("jaxgen run flow_sdf --data '/home/Jane Doe/scans' --size=64")
        'jaxgen run flow_sdf --data scans --size=64'
    """
    try:
        return shlex.join(map(without_paths, shlex.split(line)))
    except ValueError:  # no closing quotation
        return without_paths(line)


def place(path: Path) -> str:
    """How a command names a folder: from the working directory where it is inside of it, else by its name alone.

    Example:
        >>> place(Path("runs/a")), place(Path("/somewhere/runs/a"))
        ('runs/a', 'a')
    """
    if not is_local(str(path)) and path.name:
        return str(path)
    whole, here = path.resolve(), Path.cwd()
    return str(whole.relative_to(here)) if whole != here and whole.is_relative_to(here) else whole.name
