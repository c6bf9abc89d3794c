"""Kill a training run again and again; what it ends with must not show it.

    python tests/train/kill_resume.py --kills 20 --work DIR -- COMMAND ... --workdir {workdir}

runs COMMAND twice: once to its end in DIR/whole, and once in DIR/killed, where it is killed (SIGKILL) at random moments
and started again each time. Then it compares, bit by bit: every array and every record in the final checkpoints, every
line of log.jsonl (with the checksum of the order of examples; without clock times), and metrics.json. A third of the
kills come while a checkpoint is being written, a third at a random moment of training, a third within a random time
after the start (imports, compilation, restoring). Prints one line a kill and exits with 1 if anything differs.

Without COMMAND it drives the small run of tiny.py.
"""

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TINY = [sys.executable, str(HERE / "tiny.py"), "--workdir", "{workdir}", "--stages", "2", "--steps", "60"]
TINY += ["--pause", "0.02", "--checkpoint-every", "3", "--log-every", "5", "--steps-per-call", "2"]
CLOCK = ("time", "images_per_second")
WAIT = 600.0
POLL = 0.001


def start(command, workdir):
    command = [part.replace("{workdir}", str(workdir)) for part in command]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    output = (workdir.parent / f"{workdir.name}.out").open("a")
    return subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)


def lines_of(workdir):
    log = workdir / "log.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def being_saved(workdir):
    return set(workdir.glob("checkpoints/*/*.orbax-checkpoint-tmp*"))


def wait_for(process, happened):
    """Wait until something happens; False if the run ended first."""
    began = time.monotonic()
    while not happened():
        if process.poll() is not None:
            return False
        if time.monotonic() - began > WAIT:
            raise TimeoutError("the run makes no progress")
        time.sleep(POLL)
    return True


def kill_once(command, workdir, kind, lines, rng):
    """Start the run and kill it; returns what was hit, or None if it ended first."""
    # However fast the machine, a kill comes before the log has grown by more than some lines.
    last, left = max(lines, lines_of(workdir)) + 3, being_saved(workdir)
    process = start(command, workdir)
    began = time.monotonic()

    def pause(most):
        until = time.monotonic() + rng.uniform(0.0, most)
        return wait_for(process, lambda: time.monotonic() > until or lines_of(workdir) >= last)

    if kind == "start":
        alive = pause(6.0)
    else:
        # Some progress first, so that the kills spread over the whole run.
        alive = wait_for(process, lambda: lines_of(workdir) >= lines)
        if alive and kind == "save":
            alive = wait_for(process, lambda: being_saved(workdir) - left) and pause(0.1)
        elif alive:
            alive = pause(0.5)
    saving = bool(being_saved(workdir) - left)
    process.kill()
    code = process.wait()
    if not alive or code == 0:
        return None
    return f"{kind}, after {time.monotonic() - began:.2f} s, {lines_of(workdir)} log lines" + ", saving" * saving


def finish(command, workdir):
    process = start(command, workdir)
    if process.wait() != 0:
        raise RuntimeError(f"the run failed; see {workdir}.out")


def summary(workdir):
    """All that must not differ, as a flat dict."""
    sys.path.insert(0, str(ROOT))
    import orbax.checkpoint as ocp

    from jaxgen.train import checkpoint_steps, fingerprint

    found = {}
    for folder in sorted((workdir / "checkpoints").iterdir()):
        step = checkpoint_steps(folder)[-1]
        for item in ("state", "ema"):
            with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
                found[f"{folder.name}/{step}/{item}"] = fingerprint(
                    reader.restore(folder.absolute() / str(step) / item)
                )
        with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
            meta = reader.restore(folder.absolute() / str(step) / "meta")
        meta.pop("config", None)  # it may name the folder
        found[f"{folder.name}/{step}/meta"] = json.dumps(meta, sort_keys=True)
    for number, line in enumerate((workdir / "log.jsonl").read_text().splitlines()):
        record = {k: v for k, v in json.loads(line).items() if k not in CLOCK}
        found[f"log {number}"] = json.dumps(record, sort_keys=True)
    metrics = workdir / "metrics.json"
    found["metrics.json"] = metrics.read_text() if metrics.exists() else ""
    return found


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="an empty folder")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("command", nargs="*", help="the run, with {workdir} where its folder goes")
    args = parser.parse_args(argv)
    command = args.command or TINY
    whole, killed = args.work.absolute() / "whole", args.work.absolute() / "killed"
    args.work.mkdir(parents=True, exist_ok=True)
    if any(args.work.iterdir()):
        parser.error(f"{args.work} is not empty")
    finish(command, whole)
    lines, rng = lines_of(whole), random.Random(args.seed)
    kinds = itertools.cycle(["save", "step", "start"])
    done, saving = 0, 0
    while done < args.kills:
        # The last quarter of the run is left to be trained after the last kill.
        hit = kill_once(command, killed, next(kinds), int(0.75 * lines * done / args.kills), rng)
        if hit is None:
            print("the run ended before it could be killed", flush=True)
            return 1
        done, saving = done + 1, saving + hit.endswith("saving")
        print(f"kill {done}: {hit}", flush=True)
    finish(command, killed)
    a, b = summary(whole), summary(killed)
    different = [name for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name)]
    for name in different:
        print(f"differs: {name}: {a.get(name)} and {b.get(name)}")
    print(f"{done} kills, {saving} of them while saving: {len(a)} things compared, {len(different)} differ")
    return 1 if different else 0


if __name__ == "__main__":
    raise SystemExit(main())
