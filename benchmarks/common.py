"""What all benchmarks share: threads, interleaved timing, one JSON line a measurement, a table at the end.

Nothing here imports JAX or PyTorch before `set_threads` was called: both count the processors once.
"""

import argparse
import datetime
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]


def parser(summary: str) -> argparse.ArgumentParser:
    """The flags that every benchmark has."""
    result = argparse.ArgumentParser(description=summary)
    result.add_argument("--quick", action="store_true", help="few repetitions and small shapes: does it run?")
    result.add_argument("--output", type=Path, help="append the JSON lines to this file as well")
    return result


def set_threads(count: int) -> None:
    """Let JAX and PyTorch use so many threads: call it before either is imported.

    The process is bound to as many processors, which both respect; fewer threads on more processors would not be.

    Raises:
        SystemExit: if there are not so many processors.
    """
    if "jax" in sys.modules or "torch" in sys.modules:
        raise RuntimeError("set_threads must be called before jax or torch is imported")
    allowed = sorted(os.sched_getaffinity(0))
    if count > len(allowed):
        raise SystemExit(f"--threads {count}: only {len(allowed)} processors may be used here")
    os.sched_setaffinity(0, allowed[:count])
    os.environ["OMP_NUM_THREADS"] = os.environ["NPROC"] = str(count)


_NO_PEER = "this benchmark compares with PyTorch: pip install 'jaxgen[peers]'"


def peer_present(*packages: str) -> None:
    """Stop with one line that says how to get PyTorch, or another package, where it is missing; nothing is imported."""
    if importlib.util.find_spec("torch") is None:
        raise SystemExit(_NO_PEER)
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise SystemExit(f"this benchmark compares with {package}: pip install {package}")


def peer() -> Any:
    """PyTorch."""
    try:
        import torch
    except ImportError:
        raise SystemExit(_NO_PEER) from None
    return torch


class Timing(NamedTuple):
    """Seconds of one call: of the clock, and of all processors together."""

    wall: list[float]
    cpu: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.wall)

    def summary(self) -> dict[str, Any]:
        low, _, high = statistics.quantiles(self.wall, n=4) if len(self.wall) > 1 else [self.wall[0]] * 3
        return {
            "seconds": round(self.median, 6),
            "seconds_quartiles": [round(low, 6), round(high, 6)],
            "seconds_best": round(min(self.wall), 6),
            "cpu_seconds": round(statistics.median(self.cpu), 6),
            "rounds": len(self.wall),
        }


def interleave(calls: Mapping[str, Callable[[], Any]], rounds: int, warm: int = 2) -> dict[str, Timing]:
    """Time some calls in turns, A B A B, so that what else the machine does falls on all alike.

    Args:
        calls: each must return only when its work is done (`jax.block_until_ready`).
        rounds: turns.
        warm: untimed turns before them, for compilation and allocators.
    """
    timings: dict[str, Timing] = {name: Timing([], []) for name in calls}
    for turn in range(-warm, rounds):
        for name, call in calls.items():
            time.sleep(0.005)  # idle threads of the other library spin for a moment after its work
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if turn >= 0:
                timings[name].wall.append(wall)
                timings[name].cpu.append(cpu)
    return timings


def relative(a: Any, b: Any) -> float:
    """How far two arrays of one shape are apart: the norm of the difference over that of the second."""
    import numpy as np

    a, b = np.asarray(a), np.asarray(b)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


class Log:
    """Prints every measurement as a JSON line, and remembers them for `table`."""

    def __init__(self, benchmark: str, arguments: argparse.Namespace):
        self.benchmark, self.output = benchmark, arguments.output
        self.rows: list[dict[str, Any]] = []
        self.where = {
            "quick": arguments.quick,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "commit": _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain", "-uno") else ""),
            "python": sys.version.split()[0],
            "jax": _version("jax"),
            "torch": _version("torch"),
            "processor": _processor(),
        }

    def add(self, case: str, **values: Any) -> None:
        """Write down one measurement."""
        row = {"benchmark": self.benchmark, "case": case} | values | self.where
        if "jax" in sys.modules:
            import jax

            row["device"] = jax.devices()[0].device_kind
        row |= {"threads": len(os.sched_getaffinity(0)), "load": round(os.getloadavg()[0], 2)}
        self.append(row)

    def append(self, row: dict[str, Any]) -> None:
        """Write down a whole row, such as one that another process measured."""
        self.rows.append(row)
        line = json.dumps(row)
        print(line, flush=True)
        if self.output is not None:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            with self.output.open("a") as file:
                file.write(line + "\n")

    def table(self, columns: Mapping[str, str]) -> None:
        """Print chosen fields of all measurements, ``{field: heading}``, to standard error."""
        cells = [list(columns.values())]
        cells += [[_cell(row.get(field)) for field in columns] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)), file=sys.stderr)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def child(module: str, flags: list[str], environment: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Run a benchmark module in a process of its own and return the JSON lines that it printed.

    Raises:
        SystemExit: if it failed; its messages were shown as they came.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *flags],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.returncode)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
