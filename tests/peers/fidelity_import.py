"""torch-fidelity where torchvision is not installed: there is no build of it for every build of PyTorch.

What is compared here needs nothing of torchvision, but the package imports it.
"""

import importlib
import importlib.util
import sys
import types

import pytest


def import_fidelity(name):
    """A module of torch-fidelity, ``torch_fidelity.<name>``; skips the test if it is not installed."""
    if importlib.util.find_spec("torch_fidelity") is None:
        pytest.skip("torch-fidelity is not installed")
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("torchvision") is None:
            for part in ("", ".datasets", ".transforms", ".transforms.functional"):
                module = types.ModuleType(f"torchvision{part}")
                module.__path__ = []
                for data in ("CIFAR10", "CIFAR100", "STL10"):
                    setattr(module, data, type(data, (), {}))
                patch.setitem(sys.modules, module.__name__, module)
        return importlib.import_module(f"torch_fidelity.{name}")
