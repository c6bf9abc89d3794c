"""What ``jaxgen info`` tells: versions, devices, memory and caches."""

import os
import platform
import shutil
from importlib import util
from pathlib import Path

import jax

import jaxgen
from jaxgen.app import caching
from jaxgen.app.provenance import versions
from jaxgen.discovery import names


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
        f"disk         {_bytes(shutil.disk_usage(Path.cwd()).free)} free here",
        f"compiled     {_bytes(caching.size(cache))} in {cache}",
        "",
    ]
    for extra, modules in {"dicom": ("pydicom", "highdicom"), "peers": ("torch",), "test": ("pytest",)}.items():
        there = all(util.find_spec(module) for module in modules)
        found.append(f"extra {extra:<6} {'installed' if there else f'not installed: pip install jaxgen[{extra}]'}")
    if not _accelerated() and os.path.exists("/dev/nvidia0"):
        found.append("note         there is an NVIDIA GPU, but this JAX does not use it: pip install 'jaxgen[cuda]'")
    return found


def _device(device: jax.Device) -> str:
    try:
        stats = device.memory_stats() or {}
    except Exception:  # not every backend has them
        stats = {}
    memory = (
        f", {_bytes(stats['bytes_in_use'])} of {_bytes(stats['bytes_limit'])} used" if "bytes_limit" in stats else ""
    )
    return f"device       {device.device_kind} ({device.platform}:{device.id}){memory}"


def _cpus() -> str:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{usable} usable of {os.cpu_count()}"


def _memory() -> str:
    try:
        rows = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines() if ":" in line)
        kilobytes = {name: int(rows[name].split()[0]) for name in ("MemTotal", "MemAvailable")}
    except (OSError, KeyError, ValueError):
        return "unknown"
    return f"{_bytes(kilobytes['MemAvailable'] * 1024)} free of {_bytes(kilobytes['MemTotal'] * 1024)}"


def _accelerated() -> bool:
    return jax.default_backend() != "cpu"


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit in ("B", "KiB") else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
