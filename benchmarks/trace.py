"""Where a train step spends its time: ``python -m benchmarks.trace [--stage flow_sdf]``.

Totals by kind of compiled operation, from a `jax.profiler` trace of a few steps.
"""

import collections
import gzip
import json
import tempfile
from pathlib import Path

from benchmarks import common


def main() -> None:
    parser = common.parser("Time by kind of operation in a train step of a small preset.")
    parser.add_argument("--stage", choices=("unet", "flow_sdf", "ddpm"), default="flow_sdf")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--single", action="store_true", help="list single operations, not kinds")
    arguments = parser.parse_args()
    common.set_threads(arguments.threads)

    import jax

    from benchmarks import workload
    from jaxgen.app import caching

    caching.enable()
    log = common.Log("trace", arguments)
    if arguments.stage == "ddpm":
        made = workload.diffusion_trainer(quick=arguments.quick)
    else:
        made = workload.trainer(workload.small(quick=arguments.quick), arguments.stage)
    state, steps = made.state, 2 if arguments.quick else 5
    for _ in range(2):
        state, metrics = made.step(state, made.batch)
    jax.block_until_ready(metrics)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(steps):
                state, metrics = made.step(state, made.batch)
                jax.block_until_ready(metrics)
        (file,) = Path(folder).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]

    seconds: collections.Counter[str] = collections.Counter()
    calls: collections.Counter[str] = collections.Counter()
    for event in events:
        if event.get("ph") == "X" and "hlo_op" in event.get("args", {}):
            name = event["name"] if arguments.single else event["name"].split(".")[0]
            seconds[name] += event["dur"] / 1e6
            calls[name] += 1
    total = sum(seconds.values())
    for name, spent in seconds.most_common(30):
        log.add(name, ms_a_step=1e3 * spent / steps, calls_a_step=calls[name] / steps, share=spent / total)
    log.table({"case": "operation", "calls_a_step": "calls", "ms_a_step": "ms per step", "share": "share"})


if __name__ == "__main__":
    main()
