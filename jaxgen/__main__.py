"""``python -m jaxgen`` is ``jaxgen``."""

import os
import sys


def _forget_working_directory() -> None:
    """Import nothing from where the user happens to be, as ``jaxgen`` does: a ``flax.py`` there would hide Flax."""
    here, package = os.path.realpath(os.curdir), os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    if sys.path and os.path.realpath(sys.path[0]) == here != package:
        del sys.path[0]


if __name__ == "__main__":
    _forget_working_directory()
    from jaxgen.app.cli import main

    raise SystemExit(main())
