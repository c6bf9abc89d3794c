"""``python -m jaxgen`` is ``jaxgen``."""

from jaxgen.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
