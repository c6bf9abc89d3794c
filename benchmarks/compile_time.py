"""Time to the first step, cold and from the cache, and peak memory: ``python -m benchmarks.compile_time``.

Every measurement is a process of its own with a compilation cache of its own: first an empty one, then the same again.
"""

import os
import resource
import sys
import tempfile
import time

from benchmarks import common

_BEGAN = time.perf_counter()


def first_step(stage: str, quick: bool, log: common.Log) -> None:
    """Import, initialise, compile and run one train step, timing each."""
    import jax

    from benchmarks import workload
    from jaxgen.app import caching

    caching.enable()
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    config = workload.small(quick=quick)
    imported = time.perf_counter()
    made = workload.trainer(config, stage, prepare=True)
    jax.block_until_ready(made.state.params)
    initialised = time.perf_counter()
    lowered = made.step.lower(made.state, made.batch)
    traced = time.perf_counter()
    program = lowered.compile()
    compiled = time.perf_counter()
    _, metrics = program(made.state, made.batch)
    jax.block_until_ready(metrics)
    done = time.perf_counter()
    memory = program.memory_analysis()
    scale = 2**20 if sys.platform != "darwin" else 2**30  # kilobytes on Linux, bytes on macOS
    log.add(
        stage,
        import_seconds=round(imported - _BEGAN, 3),
        initialise_seconds=round(initialised - imported, 3),
        trace_seconds=round(traced - initialised, 3),
        compile_seconds=round(compiled - traced, 3),
        first_step_seconds=round(done - compiled, 3),
        total_seconds=round(done - _BEGAN, 3),
        cpu_seconds=round(time.process_time(), 3),
        peak_gib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale, 3),
        temporary_gib=round(memory.temp_size_in_bytes / 2**30, 3) if memory is not None else None,
    )


def main() -> None:
    parser = common.parser("First train step of flow_sdf's small preset, cold and from the cache; peak memory.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--stage", choices=("unet", "flow_sdf"), action="append", help="default: both")
    parser.add_argument("--one", action="store_true", help="measure in this process, with the cache as it is")
    arguments = parser.parse_args()
    stages = arguments.stage or ["unet", "flow_sdf"]
    if arguments.one:
        common.set_threads(arguments.threads)
        log = common.Log("compile_time", arguments)
        for stage in stages:
            first_step(stage, arguments.quick, log)
        return
    log = common.Log("compile_time", arguments)
    for stage in stages:
        with tempfile.TemporaryDirectory() as cache:
            for state in ("cold", "warm"):
                flags = ["--one", "--stage", stage, "--threads", str(arguments.threads)]
                flags += ["--quick"] * arguments.quick
                (row,) = common.child("benchmarks.compile_time", flags, {"JAX_COMPILATION_CACHE_DIR": cache})
                size = sum(entry.stat().st_size for entry in os.scandir(cache))
                log.append(row | {"cache": state, "cache_mib": round(size / 2**20, 2)})
    log.table(
        {
            "case": "stage",
            "cache": "cache",
            "import_seconds": "import s",
            "initialise_seconds": "initialise s",
            "trace_seconds": "trace s",
            "compile_seconds": "compile s",
            "total_seconds": "total s",
            "peak_gib": "peak GiB",
            "temporary_gib": "temporary GiB",
        }
    )


if __name__ == "__main__":
    main()
