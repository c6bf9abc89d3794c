"""Errors that a person can act on."""

import re
import unicodedata

_JOINERS = "\u200c\u200d"  # they shape letters and emoji, and turn nothing round


def printable(text: object) -> str:
    r"""Text that a terminal or a page shows as it is: what would steer it, or turn it round, is escaped.

    Control characters, direction marks and other invisible format characters, line and paragraph separators, and bytes
    of a file name that are not UTF-8 become escapes such as ``\x1b``, ``\u202e`` and ``\udcff``; all else stays.

    Args:
        text: a file name, or a message that holds one.

    Returns:
        The text, which any UTF-8 stream takes.

    Example:
        >>> print(printable("a\x1b[31m.png"), printable("\u202egnp.exe"), printable("Müller 日本"))
        a\x1b[31m.png \u202egnp.exe Müller 日本
    """
    return "".join(c.encode("unicode_escape", "surrogatepass").decode("ascii") if _steers(c) else c for c in str(text))


def _steers(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind in ("Cc", "Cs", "Zl", "Zp") or (kind == "Cf" and character not in _JOINERS)


class UserError(Exception):
    """A mistake in a file, a flag or a folder that the user can put right.

    The message is one line that names the file or flag, says what is wrong, and says how to fix it. The command line
    prints it as ``jaxgen: error: <message>`` and exits with code 2, without a traceback. Line breaks in the message
    (from another library's error text, or a file name) are folded into spaces, and other characters that would steer
    a terminal are escaped.

    Args:
        message: the line.

    Example:
        >>> str(UserError("a.png: cut short; copy it again from where it came"))
        'a.png: cut short; copy it again from where it came'
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(re.sub(r"[\t\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+\s*", " ", str(message)).strip()))
