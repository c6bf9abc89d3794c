"""Prompts: what is said of one that a text encoder cannot take whole."""

import warnings

from jaxgen.errors import UserError


def too_long(text: str, tokens: int, length: int, lost: str, *, cut: bool) -> None:
    """Say that a prompt is too long: as a warning where it is cut, else as an error.

    In training a caption that loses its end teaches what is not in it, so that is an error; whoever samples is told
    what had no effect.

    Args:
        text: the prompt.
        tokens: how many it has, begin and end included.
        length: how many it may have.
        lost: the part that does not fit.
        cut: whether it is cut.

    Raises:
        UserError: if it is not cut.

    Example:
        >>> too_long("a red disc on a green square", 9, 6, "a green square", cut=False)
        Traceback (most recent call last):
        ...
        jaxgen.errors.UserError: the prompt 'a red disc on a green square' has 9 tokens and the text encoder takes 6; \
leave out 'a green square' or say it shorter
    """
    head = f"the prompt {_shown(text)} has {tokens} tokens and the text encoder takes {length}"
    if not cut:
        raise UserError(f"{head}; leave out {_shown(lost)} or say it shorter")
    warnings.warn(f"{head}: {_shown(lost)} was cut off", stacklevel=3)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
