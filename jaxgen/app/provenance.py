"""Where results come from: the command, the versions, the machine and the data, as saved with every run."""

import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
import zlib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxgen
from jaxgen import local_paths
from jaxgen.app import runs
from jaxgen.config import RunConfig, choose_preset, diff, flag
from jaxgen.errors import UserError
from jaxgen.experiment import Experiment


def command(reference: str, preset: str, config: RunConfig, experiment: Experiment) -> str:
    """The shortest command that runs this configuration from nothing.

    Args:
        reference: the name or file of the experiment.
        preset: the name of the preset.
        config: the configuration.
        experiment: the experiment.

    Returns:
        A line for the shell.
    """
    default, _ = choose_preset(experiment.presets, None)
    words = ["jaxgen", "run", reference, *(["--preset", preset] if preset != default else [])]
    for name, (_, value) in diff(experiment.presets.get(preset, config), config).items():
        if isinstance(value, bool):
            words.append(flag(name) if value else flag("no_" + name))
            continue
        text = ",".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)
        words += [f"{flag(name)}={text}"] if text.startswith("-") else [flag(name), text]
    return shlex.join(words)


def environment() -> dict[str, Any]:
    """Versions, devices and the machine, as saved with every run."""
    device = jax.devices()[0]
    return {
        "started": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z").strip(),
        "device": f"{jax.device_count()} x {device.device_kind}".removeprefix("1 x "),
        "platform": device.platform,
        "processes": jax.process_count(),
        "cpu_count": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "jaxgen": jaxgen.__version__,
        "commit": commit(),
        "versions": versions(),
        "command_line": shlex.join(map(local_paths.without_paths, [Path(sys.argv[0]).name, *sys.argv[1:]])),
    }


def commit() -> str | None:
    """The commit of the checkout that jaxgen runs from, with ``+`` where files differ from it; None outside of one."""
    git = ["git", "-C", str(Path(jaxgen.__file__).parent)]
    try:
        words = [*git, "describe", "--always", "--abbrev=10", "--exclude=*", "--dirty=+"]
        found = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def versions() -> dict[str, str]:
    """The versions of the packages that results depend on; those not installed are left out."""
    names = ["jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "diffrax", "grain", "tensorflow-datasets", "numpy"]
    found = {}
    for name in [*names, "scipy", "nibabel", "pillow", "pydicom", "highdicom"]:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def about_data(splits: Any) -> dict[str, Any]:
    """What ``data.json`` says of the data: the names of classes and raters, and who the test patients are."""
    people = {part: getattr(getattr(splits, part), "patients", None) for part in ("train", "validation", "test")}
    named: dict[str, Any] = {"classes": list(splits.label_names or splits.mask_names)}
    named |= {"raters": list(splits.rater_names), "covariates": list(splits.covariate_names)}
    if people["test"] is not None:
        named["patients"] = {part: len(set(found)) for part, found in people.items() if found is not None}
        named["test_patients"] = sorted({str(patient) for patient in people["test"]})
    return {name: value for name, value in named.items() if value} | {
        "name": splits.name,
        "origin": local_paths.origin(splits.origin),
        "licence": splits.licence,
        "train": len(splits.train),
        "validation": len(splits.validation),
        "test": len(splits.test),
        "names": f"{zlib.crc32(json.dumps([list(map(str, part.names)) for part in splits[:3]]).encode()):08x}",
        "content": f"{_content(splits.test):08x}",
    }


def _content(source: Any) -> int:
    """A checksum of three examples, which tells sets apart whose names are alike."""
    crc = 0
    for i in sorted({0, len(source) // 2, len(source) - 1} & set(range(len(source)))):
        for name, value in sorted(source[i].items()):
            array = np.ascontiguousarray(value)
            if array.dtype.kind in "biufc":
                crc = zlib.crc32(array.tobytes(), zlib.crc32(f"{name}{array.shape}{array.dtype}".encode(), crc))
    return crc


def refuse_changed_data(folder: runs.RunFolder, data: Mapping[str, Any]) -> None:
    """Refuse data that are not those with which the run began."""
    saved = runs.read_object(folder.data, default={})
    for name in ("train", "validation", "test", "names"):
        if name in saved and saved[name] != data[name]:
            what = "the names of its images" if name == "names" else f"{saved[name]} images to {name}"
            raise UserError(
                f"--data: {data['name']} changed since this run began ({what} then, another now); "
                "restore it, or start a new run in another --workdir"
            )
