"""Errors that a person can act on."""

import re


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
