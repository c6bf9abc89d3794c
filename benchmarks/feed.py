"""Does the feed keep up with training? ``python -m benchmarks.feed``.

Examples per second of the three ways in which batches come (gathered on the device from a resident set, from arrays in
memory, decoded from a folder of PNG files), compared with the train step of ``flow_sdf --preset small`` that uses them.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import common


def _rate(call: Callable[[], Any], seconds: float, amount: int) -> float:
    """Examples per second of a call that hands out `amount` of them; half a second of warming up first."""
    until = time.perf_counter() + min(0.5, seconds)
    call()
    while time.perf_counter() < until:
        call()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        call()
        count += 1
    return amount * count / (time.perf_counter() - began)


def write_folder(folder: Path, source: Any, count: int) -> None:
    """PNG images and masks, as a user's folder would hold them."""
    import numpy as np
    from PIL import Image

    for name in ("images", "masks"):
        (folder / name).mkdir()
    for i in range(count):
        example = source[i % len(source)]
        Image.fromarray(np.asarray(example["image"])[..., 0]).save(folder / "images" / f"{i:04d}.png")
        mask = (np.asarray(example["mask"]) > 0).astype(np.uint8) * 255
        Image.fromarray(mask).save(folder / "masks" / f"{i:04d}.png")


def measure(arguments: argparse.Namespace, log: common.Log) -> None:
    """All measurements."""
    import jax
    import numpy as np

    from benchmarks import workload
    from experiments.segmentation import flow_sdf
    from jaxgen.app import caching
    from jaxgen.data import load
    from jaxgen.data.pipeline import Feed
    from jaxgen.data.source import ArraySource
    from jaxgen.experiment import Run

    caching.enable()
    config = workload.small(quick=False)
    seconds = 0.5 if arguments.quick else arguments.seconds
    b = config.batch_size
    splits = load(config.data, seed=0)
    count = min(len(splits.train), 24 if arguments.quick else 10_000)

    began = time.perf_counter()
    tiles = flow_sdf.EXPERIMENT.examples(Run(config, workload.FACTS, splits=splits))
    feed = Feed(tiles, b, seed=0)
    arrays = {name: np.stack([tiles[i][name] for i in range(count)]) for name in tiles[0]}
    made_seconds = time.perf_counter() - began
    log.add("make the resident set", unit="examples", value=count / made_seconds, seconds=made_seconds)

    resident = jax.device_put(arrays)
    gather = jax.jit(lambda arrays, chosen: {name: x[chosen] for name, x in arrays.items()})
    small = Feed(ArraySource(arrays), b, seed=0)
    rates = {
        "resident gather": lambda: jax.block_until_ready(gather(resident, small.indices(1)[0])),
        "arrays in memory": lambda: next(small),
        "tiles of decoded images": lambda: next(feed),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_folder(folder, splits.train, 64 if arguments.quick else 256)
        pngs = load(str(folder), seed=0).train
        raw = Feed(pngs, b, seed=0)
        rates["PNG folder, decoded"] = lambda: next(raw)
        cut = flow_sdf.EXPERIMENT.examples(Run(config, workload.FACTS, splits=splits._replace(train=pngs)))
        png_tiles = Feed(cut, b, seed=0)
        rates["PNG folder, decoded to tiles and distances"] = lambda: next(png_tiles)
        for case, call in rates.items():
            log.add(case, unit="examples", value=_rate(call, seconds, b), batch=b)
        for each in (feed, raw, png_tiles):
            each.close()

    slowest = min((row for row in log.rows if row.get("batch")), key=lambda row: row["value"])
    for stage in workload.STAGES:
        made = workload.trainer(config, stage, prepare=True)
        held = [made.state]

        def train(made: Any = made, held: list[Any] = held) -> None:
            held[0], metrics = made.step(held[0], made.batch)
            jax.block_until_ready(metrics)

        rate = _rate(train, 2 * seconds, b)
        log.add(f"train step, {stage}", unit="examples", value=rate, batch=b, slowest_feed=slowest["value"] / rate)


def main() -> None:
    parser = common.parser("Examples per second of the feed, compared with the train step.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    arguments = parser.parse_args()
    common.set_threads(arguments.threads)
    log = common.Log("feed", arguments)
    measure(arguments, log)
    log.table({"case": "case", "value": "a second", "unit": "of", "slowest_feed": "slowest feed over this"})


if __name__ == "__main__":
    main()
