"""The persistent compilation cache: what was compiled once is loaded the next time."""

import os
import platform
import zlib
from pathlib import Path

import jax


def default_folder() -> Path:
    """Where compiled programs are kept unless ``JAX_COMPILATION_CACHE_DIR`` says otherwise.

    A folder of its own for each version of JAX and kind of processor: compiled code is not portable between them.

    Returns:
        A folder under the user's cache folder; it may not exist yet.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        processor = platform.processor()
    return Path(base) / "jaxgen" / f"jax-{jax.__version__}-{platform.machine()}-{zlib.crc32(processor.encode()):08x}"


def enable(folder: Path | None = None) -> Path | None:
    """Turn the cache on; a setting that is there already is respected.

    Args:
        folder: where; None for `default_folder`.

    Returns:
        The folder in use, or None if it cannot be written: then programs are simply compiled each time.
    """
    chosen = jax.config.values["jax_compilation_cache_dir"]
    if chosen is None:
        try:
            folder = folder or default_folder()
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, RuntimeError):  # RuntimeError: there is no home folder
            return None
        if not os.access(folder, os.W_OK):
            return None
        chosen = str(folder)
        jax.config.update("jax_compilation_cache_dir", chosen)
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    return Path(chosen)


def size(folder: Path) -> int:
    """Bytes in a folder.

    Example:
        >>> size(Path("no/such/folder"))
        0
    """
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
