"""What ``jaxgen info`` tells: versions, devices, memory and caches."""

import os
import platform
import shutil
from importlib import util
from pathlib import Path
from typing import Any

import jax

import jaxgen
from jaxgen.app import caching
from jaxgen.app.provenance import versions
from jaxgen.discovery import names

EXTRAS = {"dicom": ("pydicom", "highdicom"), "peers": ("torch",), "test": ("pytest",)}


def details() -> dict[str, Any]:
    """What a bug report needs, as JSON can hold it: versions, devices and sizes; no path and no name of this machine.

    Returns:
        What ``jaxgen info --json`` prints.
    """
    memory = _memory_bytes()
    return {
        "jaxgen": jaxgen.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": versions(),
        "backend": jax.default_backend(),
        "processes": jax.process_count(),
        "devices": [f"{device.device_kind} ({device.platform}:{device.id})" for device in jax.local_devices()],
        "processors": _usable(),
        "memory_bytes": memory and {"free": memory[0], "total": memory[1]},
        "extras": {extra: _installed(modules) for extra, modules in EXTRAS.items()},
    }


def lines() -> list[str]:
    """The lines that ``jaxgen info`` prints.

    Returns:
        One line a fact.
    """
    cache = Path(jax.config.values["jax_compilation_cache_dir"] or caching.default_folder())
    found = [
        f"jaxgen       {jaxgen.__version__}  ({Path(jaxgen.__file__).parent})",
        f"python       {platform.python_version()}  {platform.system()} {platform.machine()}",
        "packages     " + ", ".join(f"{name} {version}" for name, version in versions().items()),
        f"experiments  {', '.join(names()) or 'none'}",
        "",
        f"backend      {jax.default_backend()}, process {jax.process_index()} of {jax.process_count()}",
    ]
    found += [_device(device) for device in jax.local_devices()]
    found += [
        f"processors   {_cpus()}",
        f"memory       {_memory()}",
        f"disk         {bytes_said(shutil.disk_usage(Path.cwd()).free)} free here",
        f"compiled     {bytes_said(caching.size(cache))} in {cache}",
        "",
    ]
    for extra, modules in EXTRAS.items():
        there = "installed" if _installed(modules) else f"not installed: pip install jaxgen[{extra}]"
        found.append(f"extra {extra:<6} {there}")
    if not _accelerated() and os.path.exists("/dev/nvidia0"):
        found.append("note         there is an NVIDIA GPU, but this JAX does not use it: pip install 'jaxgen[cuda]'")
    return found


def _device(device: jax.Device) -> str:
    try:
        stats = device.memory_stats() or {}
    except Exception:  # not every backend has them
        stats = {}
    memory = (
        f", {bytes_said(stats['bytes_in_use'])} of {bytes_said(stats['bytes_limit'])} used"
        if "bytes_limit" in stats
        else ""
    )
    return f"device       {device.device_kind} ({device.platform}:{device.id}){memory}"


def _installed(modules: tuple[str, ...]) -> bool:
    return all(util.find_spec(module) for module in modules)


def _usable() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _cpus() -> str:
    return f"{_usable()} usable of {os.cpu_count()}"


def _memory() -> str:
    found = _memory_bytes()
    return f"{bytes_said(found[0])} free of {bytes_said(found[1])}" if found else "unknown"


def _memory_bytes() -> tuple[int, int] | None:
    """What is free, and all, where the system says it."""
    try:
        rows = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines() if ":" in line)
        free, total = (1024 * int(rows[name].split()[0]) for name in ("MemAvailable", "MemTotal"))
    except (OSError, KeyError, ValueError):
        return None
    return free, total


def _accelerated() -> bool:
    return jax.default_backend() != "cpu"


def bytes_said(count: float) -> str:
    """A number of bytes as one reads it.

    Example:
        >>> bytes_said(3 * 2**29)
        '1.5 GiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit in ("B", "KiB") else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
