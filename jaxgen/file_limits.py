"""The limit on what a file may hold or decode to, as ``--max-file-mib`` and the environment variable say it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from jaxgen.errors import UserError

VARIABLE = "JAXGEN_MAX_FILE_MIB"


def set_limit(mib: int) -> None:
    """Let every file decode to this many MiB, in this process and those it starts.

    Example:
        >>> with restored():
        ...     set_limit(1024)
        ...     most_bytes(256) // 2**20
        1024
    """
    os.environ[VARIABLE] = str(mib)


def most_bytes(default_mib: int) -> int:
    """The limit in bytes.

    Args:
        default_mib: MiB where the variable is not set.

    Returns:
        Bytes.

    Raises:
        UserError: if the variable is no whole number from 1.
    """
    text = os.environ.get(VARIABLE, str(default_mib))
    if not (text.isascii() and text.isdecimal() and len(text) <= 12) or int(text) < 1:
        raise UserError(f"{VARIABLE}={text[:40]}: not a whole number of MiB from 1; set it anew, or unset it")
    return int(text) * 2**20


@contextmanager
def restored() -> Iterator[None]:
    """Put the limit back at the end, so that a flag counts for one command alone."""
    before = os.environ.get(VARIABLE)
    try:
        yield
    finally:
        if os.environ.get(VARIABLE) != before:
            os.environ.pop(VARIABLE, None)
            os.environ.update({VARIABLE: before} if before is not None else {})
