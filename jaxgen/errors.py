"""Errors that a person can act on."""

import re
import unicodedata


class UserError(Exception):
    """A mistake in a file, a flag or a folder that the user can put right.

    The message is one line that names the file or flag, says what is wrong, and says how to fix it. The command line
    prints it as ``jaxgen: error: <message>`` and exits with code 2, without a traceback. Line breaks in the message
    (from another library's error text, or a file name) are folded into spaces.

    Args:
        message: the line.

    Example:
        >>> str(UserError("a.png: cut short; copy it again from where it came"))
        'a.png: cut short; copy it again from where it came'
    """

    def __init__(self, message: str):
        super().__init__(re.sub(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+\s*", " ", str(message)).strip())


def printable(text: str) -> str:
    r"""Text that shows what it holds: control characters, direction marks and lone surrogates are escaped.

    Names and texts of files come from strangers. Shown as they are, a control character can rewrite a line of the
    terminal and a direction mark can make one name look like another.

    Args:
        text: any text, such as the name of a file.

    Returns:
        The text, with ``\uXXXX`` for each such character; it can be encoded as UTF-8.

    Example:
        >>> print(printable("scan\u202egnp.exe\x1b[2J"))
        scan\u202egnp.exe\u001b[2J
    """
    hidden = ("Cc", "Cf", "Cs", "Zl", "Zp")
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(letter) if unicodedata.category(letter) in hidden else letter for letter in text)


def _escape(letter: str) -> str:
    code = ord(letter)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
