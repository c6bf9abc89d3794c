"""What the user agreed to on this command line: code of a run folder, and downloads.

A run folder may come from a stranger. Opening it runs no code of its own and reaches for no network, unless the person
at the keyboard said so. What was said is kept for as long as the command runs.
"""

import contextlib
import contextvars
import shlex
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple


class Consent(NamedTuple):
    """What was agreed to.

    Attributes:
        code: the Python file that a run folder names may be executed.
        downloads: the data sets that may be downloaded, ``True`` for any; None where nobody was asked, as in a program
            that names its data itself.
    """

    code: bool = False
    downloads: Collection[str] | bool | None = None
    command: tuple[str, ...] = ()


_NOTHING = Consent()
_AGREED: contextvars.ContextVar[Consent] = contextvars.ContextVar("agreed", default=_NOTHING)


@contextlib.contextmanager
def given(
    *, code: bool = False, download: bool = False, typed: str | None = None, command: Sequence[str] = ()
) -> Iterator[None]:
    """Within this block the user agrees, in addition to what was agreed to before.

    Args:
        code: the Python file of a run folder may be executed.
        download: any data set may be downloaded.
        typed: the data set that the user typed, which may be downloaded; None for none.
        command: the words of the command line, for messages.

    Example:
        >>> with given(code=True, typed="mnist"):
        ...     may_run_code(), may_download("mnist"), may_download("cifar10")
        (True, True, False)
        >>> may_run_code()
        False
    """
    before = _AGREED.get()
    downloads = before.downloads
    if download or downloads is True:
        downloads = True
    elif command or typed or downloads:
        downloads = {*(downloads or ()), *([typed] if typed else ())}
    with exactly(Consent(before.code or code, downloads, tuple(command) or before.command)):
        yield


@contextlib.contextmanager
def exactly(agreed: Consent) -> Iterator[None]:
    """Within this block the user agrees to this and no more.

    Example:
        >>> with exactly(Consent(downloads=())):
        ...     may_download("mnist")
        False
    """
    token = _AGREED.set(agreed)
    try:
        yield
    finally:
        _AGREED.reset(token)


def may_run_code() -> bool:
    """Whether the Python file that a run folder names may be executed."""
    return _AGREED.get().code


def may_download(name: str) -> bool:
    """Whether this data set may be downloaded.

    Example:
        >>> may_download("mnist")
        True
    """
    downloads = _AGREED.get().downloads
    return True if downloads is None else downloads if isinstance(downloads, bool) else name in downloads


def command_with(flag: str, otherwise: str) -> str:
    """The command that runs now, with one more flag.

    Args:
        flag: such as ``--trust-code``.
        otherwise: the command to give where none runs.

    Returns:
        A line for the shell.

    Example:
        >>> with given(command=("jaxgen", "sample", "a run")):
        ...     command_with("--download", "")
        "jaxgen sample 'a run' --download"
    """
    words = _AGREED.get().command
    return f"{shlex.join(words) if words else otherwise} {flag}"


def guarded(load: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A loader that downloads what was agreed to alone: where nobody was asked, nothing.

    Args:
        load: ``load(config) -> Splits``.

    Returns:
        The same for data named by a run folder rather than by the user.

    Example:
        >>> guarded(lambda config: may_download("mnist"))({})
        False
    """

    def careful(config: Any) -> Any:
        before = _AGREED.get()
        with exactly(before._replace(downloads=() if before.downloads is None else before.downloads)):
            return load(config)

    return careful
