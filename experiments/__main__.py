"""``python -m experiments NAME ...`` is ``jaxgen run NAME ...``."""

import sys

from jaxgen.app.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["run", *sys.argv[1:]]))
