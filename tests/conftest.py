"""What all tests share: the CPU, compiled programs kept between runs of the tests, memory, and a toy experiment.

Programs are kept in the user's cache folder, as those of `jaxgen` itself: a file there is found by what was compiled,
with which JAX and for which processor, so that workers and later runs share it.
"""

import contextlib
import ctypes
import gc
import os
import resource
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")

import jax
import pytest

from jaxgen import consent
from jaxgen.app import caching

caching.enable()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

QUICK_FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
"""XLA's older code generator, in one piece: half the work of compilation."""


def pytest_configure(config):
    """Processes started from here inherit these; the slow tests train for long, and compile as users do."""
    config.pluginmanager.register(Dropping())
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # of workers: otherwise each thread of the compiler keeps memory
    if "slow" not in config.option.markexpr.replace("not slow", ""):
        os.environ["XLA_FLAGS"] = f"{QUICK_FLAGS} {os.environ.get('XLA_FLAGS', '')}".strip()
        jax.config.update("jax_disable_most_optimizations", True)  # for doctests, which know no fixture of these tests


TABLE = "tests/experiments/test_all.py"
"""Its tests go to workers by experiment, those of every other file together."""


KILLED, BY_SHAPE = "test_killed_and_resumed", "test_small_by_shape"
_TAKE_A_MINUTE = """
ambiguous_diffusion brain_ldm cnf_images controlnet cross_modality diffusion_ensemble dreambooth flow_sdf patch_ddm
pretrained_segmentation private_xray roentgen segmentation_gan semantic_synthesis text_to_image trilemma
"""
LONG = frozenset(_TAKE_A_MINUTE.split())
"""Experiments whose smoke run takes so long: it is slow, and only their shapes are thorough."""


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items):
    """In the table, what is killed is slow too, but for the experiments that every run of the tests shows."""
    for item in items:
        if TABLE in item.nodeid and item.get_closest_marker("thorough"):
            name = item.name.partition("[")[2].rstrip("]")
            if KILLED in item.name or (name in LONG and BY_SHAPE not in item.name):
                item.add_marker(pytest.mark.slow)


def pytest_xdist_make_scheduler(config, log):
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return nodeid.partition("[")[2] if TABLE in nodeid and "[" in nodeid else super()._split_scope(nodeid)

    return Scheduling(config, log)


@contextlib.contextmanager
def _quick_compilation(wanted):
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", wanted)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module", autouse=True)
def programs_compile_quickly():
    """Most of the time of the tests is compilation, a third of which goes without XLA's later optimizations."""
    with _quick_compilation(True):
        yield


@pytest.fixture(autouse=True)
def long_runs_are_optimized(request):
    """But what trains for long is compiled as it is for users."""
    with _quick_compilation(request.node.get_closest_marker("slow") is None):
        yield


@pytest.fixture
def compiled_as_for_users(long_runs_are_optimized):
    """For what is compared to the last digits."""
    with _quick_compilation(False):
        yield


TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
"""Of glibc, which keeps what is freed; there are other C libraries."""


def drop():
    """Forget what was compiled, and give its memory back to the system."""
    jax.clear_caches()
    gc.collect()
    if TRIM is not None:
        TRIM(0)


@pytest.fixture(scope="session")
def drop_programs():
    """A function that does so."""
    return drop


@pytest.fixture(scope="module", autouse=True)
def programs_of_a_module_are_dropped(drop_programs):
    """Otherwise a worker ends with gigabytes of programs that no test needs any more."""
    yield
    drop_programs()


RESIDENT, MORE = 1.5, 0.3
"""Gigabytes above which programs are dropped between tests too, and the growth after which again."""


def resident():
    """Gigabytes that this process holds now; 0 where the system does not say."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**30 if statm.exists() else 0.0


class Dropping:
    """Drops programs between tests where there are too many. A plugin: examples of docstrings have no fixtures."""

    def __init__(self):
        self.left = 0.0

    def pytest_runtest_logfinish(self):
        if resident() > max(RESIDENT, self.left + MORE):
            drop()
            self.left = resident()


def gigabytes():
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["gigabytes"] = gigabytes()


MOST = {}
"""Gigabytes, by worker."""


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    if "gigabytes" in getattr(node, "workeroutput", {}):
        MOST[node.gateway.id] = node.workeroutput["gigabytes"]


def pytest_terminal_summary(terminalreporter):
    most = MOST or {"this process": gigabytes()}
    said = ", ".join(f"{name} {value:.1f} GB" for name, value in sorted(most.items()))
    terminalreporter.write_line(f"most memory held: {said}")


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
