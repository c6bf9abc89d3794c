"""Trains the same few steps on 1 and 8 fake devices, with jit and pmap, and across their checkpoints; prints JSON."""

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
tiny = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("tiny.py"))))
PLACES = {"jit1": ("jit", 1), "jit8": ("jit", 8), "pmap8": ("pmap", 8)}


def run(folder, place, steps):
    kind, devices = PLACES[place]
    trained = tiny.train(folder, stage=tiny.sgd_stage(steps), parallel=kind, devices=devices, log_every=1)
    leaves = {"params": trained.state.params, "ema": trained.params}
    flat = {jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(leaves)}
    return flat, tiny.read_log(folder)


def gap(a, b):
    """The largest difference, relative to the largest value of its array."""
    return max(float(np.abs(a[name] - b[name]).max() / np.abs(a[name]).max()) for name in a)


def main(root):
    (want, log), results = run(root / "jit1", "jit1", 5), {}
    np.savez(root / "jit1.npz", **want)
    for place in ("jit8", "pmap8"):
        got, lines = run(root / place, place, 5)
        results[place] = {
            "params": gap(want, got),
            "gradients": max(abs(a["grad_norm"] / b["grad_norm"] - 1) for a, b in zip(log, lines, strict=True)),
            "examples": [line["examples"] for line in lines] == [line["examples"] for line in log],
        }
    for place in PLACES:
        run(root / f"{place}-3", place, 3)
    for a, b in itertools.permutations(PLACES, 2):
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
