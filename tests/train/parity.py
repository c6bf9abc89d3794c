"""Trains a few steps on 1 and 8 fake devices in several placements, and across their checkpoints; prints JSON."""

import itertools
import json
import runpy
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np

if __name__ == "__main__":  # not where pytest imports it to look for doctests
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 8)
from jaxgen.train import mesh

tiny = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("tiny.py"))))
PLACES = {
    "jit1": {"devices": 1},
    "jit8": {"devices": 8},
    "pmap8": {"devices": 8, "parallel": "pmap"},
    "parts8": {"devices": 8, "shard_state": 2, "space": 2},
}
ALONE = {
    "accumulate": {"devices": 2, "accumulate": 4},
    "accumulate-pmap": {"devices": 2, "accumulate": 2, "parallel": "pmap"},
    "shard8": {"devices": 8, "shard_state": 8},
    "space2": {"devices": 2, "space": 2},
}
"""Placements whose checkpoints are not tried in others."""
PAIRS = [*itertools.permutations(("jit1", "jit8", "pmap8"), 2), ("jit1", "parts8"), ("parts8", "jit8")]


def run(folder, place, steps):
    where = {**PLACES, **ALONE}[place]
    trained = tiny.train(folder, stage=tiny.sgd_stage(steps), log_every=1, **where)
    leaves = {"params": trained.state.params, "ema": trained.params}
    flat = {jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(leaves)}
    return flat, tiny.read_log(folder)


def gap(a, b):
    """The largest difference, relative to the largest value of its array."""
    return max(float(np.abs(a[name] - b[name]).max() / np.abs(a[name]).max()) for name in a)


def main(root):
    mesh._SMALLEST = 8  # so that the arrays of a tiny network are divided
    (want, log), results = run(root / "jit1", "jit1", 5), {}
    np.savez(root / "jit1.npz", **want)
    for place in [*list(PLACES)[1:], *ALONE]:
        got, lines = run(root / place, place, 5)
        results[place] = {
            "params": gap(want, got),
            "gradients": max(abs(a["grad_norm"] / b["grad_norm"] - 1) for a, b in zip(log, lines, strict=True)),
            "examples": [line["examples"] for line in lines] == [line["examples"] for line in log],
        }
    for place in PLACES:
        run(root / f"{place}-3", place, 3)
    for a, b in PAIRS:
        shutil.copytree(root / f"{a}-3", root / f"{a}-{b}")
        got, lines = run(root / f"{a}-{b}", b, 5)
        results[f"{a}-{b}"] = {
            "params": gap(want, got),
            "gradients": max(abs(a["grad_norm"] / b["grad_norm"] - 1) for a, b in zip(log, lines, strict=True)),
            "examples": [line["examples"] for line in lines] == [line["examples"] for line in log],
        }
    print(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
