"""jaxgen: deep generative models for medical imaging as pure JAX functions.

``import jaxgen`` imports none of its modules; ``jaxgen.losses`` and the others are imported when they are first used.
"""

import importlib
import os
from types import ModuleType

__version__ = "0.2.0"


def _modules() -> set[str]:
    with os.scandir(__path__[0]) as entries:
        found = {entry.name.removesuffix(".py") for entry in entries if entry.name.endswith(".py") or entry.is_dir()}
    return {name for name in found if name.isidentifier() and name[0] != "_"}


def __getattr__(name: str) -> ModuleType:
    """Import a module of the package when it is first asked for."""
    if name in _modules():
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What is there, with the modules that are not imported yet."""
    return sorted({name for name in globals() if name.startswith("__")} | _modules())
