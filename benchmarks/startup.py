"""How long commands take to start: ``python benchmarks/startup.py [FOLDER OF ANOTHER VERSION]``.

Each runs in a process of its own, the two versions in turn; the best of five counts, for what else the machine does can
only slow it down. After the seconds on the clock come those of the processor, which other jobs hardly change.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
COMMANDS = {
    "jaxgen list": ["-m", "jaxgen", "list"],
    "jaxgen --help": ["-m", "jaxgen", "--help"],
    "jaxgen run two_moons --help": ["-m", "jaxgen", "run", "two_moons", "--help"],
    "import jaxgen.losses": ["-c", "import jaxgen.losses"],
}


def seconds(words: list[str], version: Path, cwd: str) -> tuple[float, float]:
    """The time of one process that imports jaxgen from a checkout: on the clock, and of the processor."""
    env = os.environ | {"PYTHONPATH": str(version), "JAX_PLATFORMS": "cpu"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=cwd, env=env, stdout=subprocess.DEVNULL, check=True)
    clock, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def shown(times: list[tuple[float, float]]) -> str:
    """The best of each kind."""
    clock, processor = (min(kind) for kind in zip(*times, strict=True))
    return f"{f'{clock:.2f} ({processor:.2f})':>15s}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", nargs="?", type=Path, help="the checkout of another version to compare with")
    parser.add_argument("--times", type=int, default=5, help="processes of each; the fastest counts [default: 5]")
    given = parser.parse_args()
    versions = {"this version": HERE} | ({"the other": given.other.resolve()} if given.other else {})
    print(f"{'seconds, best of ' + str(given.times):30s}" + "".join(f"{name:>15s}" for name in versions))
    with tempfile.TemporaryDirectory() as cwd:
        for name, words in COMMANDS.items():
            found = {version: [] for version in versions}
            for _ in range(given.times):
                for version, folder in versions.items():
                    found[version].append(seconds(words, folder, cwd))
            print(f"{name:30s}" + "".join(map(shown, found.values())), flush=True)


if __name__ == "__main__":
    main()
