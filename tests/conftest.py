"""What all tests share: the CPU, compiled programs kept between runs of the tests, and a toy experiment."""

import contextlib
import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")

import jax
import pytest

from jaxgen import consent
from jaxgen.app import caching

caching.enable()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(scope="session")
def toy_file() -> Path:
    """A user's experiment file: pixelwise logistic regression, and a flow-like second stage that stands on it."""
    return Path(__file__).parent / "toy_experiment.py"


@pytest.fixture(scope="session")
def toy_run(toy_file, tmp_path_factory) -> Path:
    """The run folder of a finished toy run; tests must not change it."""
    from jaxgen.app.cli import main

    workdir = tmp_path_factory.mktemp("toy") / "run"
    assert main(["run", str(toy_file), "--preset", "smoke", "--workdir", str(workdir)]) == 0
    return workdir


@pytest.fixture(autouse=True)
def _code_of_the_tests(request):
    """Runs of the toy experiment name a file of these tests, which may be executed."""
    with consent.given(code=True) if "toy_run" in request.fixturenames else contextlib.nullcontext():
        yield
