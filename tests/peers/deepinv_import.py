"""deepinv where torchvision is not installed: there is no build of it for every build of PyTorch.

What is compared here needs nothing of torchvision, but the package imports it: stand-ins take its place while it does.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types

import pytest


class _StandIn(types.ModuleType):
    """A module that holds whatever is asked of it."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__getattr__": lambda self, attribute: None, "__init__": lambda self, *a, **k: None})


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, fullname, path=None, target=None):
        if fullname.split(".")[0] == "torchvision":
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec):
        return _StandIn(spec.name)

    def exec_module(self, module):
        pass


def import_deepinv(name="deepinv"):
    """A module of deepinv; skips the test if it is not installed."""
    if importlib.util.find_spec("deepinv") is None:
        pytest.skip("deepinv is not installed")
    if importlib.util.find_spec("torchvision") is not None:
        return importlib.import_module(name)
    finder = _Finder()
    sys.meta_path.append(finder)
    try:
        return importlib.import_module(name)
    finally:
        sys.meta_path.remove(finder)
        for module in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
            del sys.modules[module]
