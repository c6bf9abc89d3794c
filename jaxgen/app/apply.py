"""Use a trained run on image files: ``jaxgen apply``."""

import contextlib
import io
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import numpy as np
import PIL.Image
from tqdm import tqdm

from jaxgen.app import runs
from jaxgen.app.inputs import find_all, find_inputs
from jaxgen.app.opening import open_trained
from jaxgen.app.outputs import Say, make_folder, refuse_run
from jaxgen.data import readers
from jaxgen.data.image import Image
from jaxgen.data.nifti import axial_axis
from jaxgen.data.writers import write_atomically, write_dicom_seg, write_mask, write_nifti
from jaxgen.errors import UserError, printable
from jaxgen.experiment import APPLY, spatial_rank

__all__ = ["OUTPUTS", "apply_image", "apply_run", "find_inputs", "write_results"]

OUTPUTS = ("mask", "probability", "uncertainty", "reconstruction")
"""The arrays that a segmentation gives, and a reconstruction; an experiment may give others."""

Apply = Callable[..., Mapping[str, np.ndarray]]


def apply_run(
    run: Path,
    inputs: Sequence[str],
    out: Path,
    *,
    overwrite: bool = False,
    dicom_seg: bool = False,
    seed: int | None = None,
    say: Say = print,
    quiet: bool = False,
) -> list[str]:
    """Apply a trained run to images; a file that fails is named and passed over, and so is what is no image.

    ``summary.json`` says of each image what was written, or why it failed; it is written whatever happens.

    Every file has random numbers of its own, a function of the seed and the file's name: what comes out does not
    depend on which other files are there.

    Args:
        run: the run folder.
        inputs: files, folders or patterns.
        out: the folder for the results, made if it is not there.
        overwrite: replace results that are there already.
        dicom_seg: write DICOM SEG for DICOM images, instead of NIfTI.
        seed: seed of the random numbers; None for the run's.
        say: called with each line for the user.
        quiet: no progress bar.

    Returns:
        One line for each file that failed.

    Raises:
        UserError: if the run is not trained, there is nothing to do, results would be written over, or `out` is a run.
    """
    if dicom_seg and find_spec("highdicom") is None:
        raise UserError("--dicom-seg needs highdicom: pip install 'jaxgen[dicom]', or leave the flag out for NIfTI")
    refuse_run(out, "--out")
    _, experiment, opened = open_trained(run)
    if experiment.apply is None:
        raise UserError(f"{run}: the experiment {experiment.name} cannot be applied to images; try `jaxgen sample`")
    suffixes = () if experiment.reader is None else experiment.reader.suffixes
    read = readers.read_image if experiment.reader is None else experiment.reader.read
    stems, left_out = find_all(inputs, suffixes)
    files = list(stems)
    _refuse_clashes(stems, out, overwrite)
    summary = _earlier(out / "summary.json")
    function, rank = experiment.apply(opened), spatial_rank(experiment, opened.config)
    make_folder(out, "--out")
    root = jax.random.fold_in(jax.random.key(opened.config.seed if seed is None else seed), APPLY)
    summary |= {name: {"left_out": why} for name, why in left_out.items()}
    failed: list[str] = []
    shown = not quiet and sys.stderr.isatty()
    try:
        for number, path in enumerate(bar := tqdm(files, unit="file", disable=not shown, file=sys.stderr), 1):
            bar.set_postfix_str(printable(path.name)[:30])
            if not quiet and not shown:
                print(f"{number}/{len(files)} {printable(path.name)}", file=sys.stderr, flush=True)
            try:
                stem = _utf8(stems[path], path)
                key = jax.random.fold_in(root, zlib.crc32(stem.encode()))
                image = read(path)
                results = apply_image(function, key, image, rank, path, shown)
                if experiment.reader is not None or "affine" in results:  # not on the grid of what was measured
                    affine = results.pop("affine", image.affine)
                    image = image._replace(array=results["reconstruction"][..., None], affine=affine)
                done = write_results(results, image, out, stem, dicom_seg, overwrite)
            except Exception as error:
                failed.append(_line(error, path))
                done = {"error": failed[-1]}
            summary[_key(path, stems)] = done
    finally:
        runs.write_json(out / "summary.json", summary)
    _print_lines("failed", failed, len(failed))
    _print_lines("left out", list(left_out.values()), 10)
    counts = (f", {len(failed)} failed" if failed else "") + (f", {len(left_out)} left out" if left_out else "")
    say(f"{len(files) - len(failed)} of {len(files)} images done{counts}; results in {printable(out)}")
    return failed


def _earlier(path: Path) -> dict[str, Any]:
    """What earlier calls wrote into a summary."""
    summary = runs.read_json(path, default={})
    if not isinstance(summary, dict):
        raise UserError(f"{path}: it is no summary of results (not a JSON object); move it away, or use another --out")
    return summary


def _utf8(stem: str, path: Path) -> str:
    try:
        stem.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{path}: its name is not UTF-8; rename it") from error
    return stem


def _key(path: Path, stems: Mapping[Path, str]) -> str:
    """The name of an image in the summary, which is UTF-8; as its results are named where several files share it."""
    name = path.name
    if sum(other.name == name for other in stems) > 1:
        name = stems[path] + name.removeprefix(readers.stem(path))
    return name.encode("utf-8", "backslashreplace").decode()


def _line(error: Exception, path: Path) -> str:
    """What is said of a file that failed."""
    line = printable(" ".join(str(error).split()))[:1000]
    if not isinstance(error, UserError | ValueError):
        line = f"{type(error).__name__}: {line}"
    name = printable(path)
    return line if name in line else f"{name}: {line}"


def _print_lines(what: str, lines: Sequence[str], most: int) -> None:
    for line in lines[:most]:
        print(f"jaxgen: {what}: {line}", file=sys.stderr)
    if len(lines) > most:
        print(f"jaxgen: {what}: {len(lines) - most} more, named in summary.json", file=sys.stderr)


def _refuse_clashes(stems: Mapping[Path, str], out: Path, overwrite: bool) -> None:
    by_stem: dict[str, Path] = {}
    for path, stem in stems.items():
        if stem in by_stem:
            raise UserError(f"{by_stem[stem]} and {path}: both would write {stem}_mask; apply them into two folders")
        by_stem[stem] = path
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: it is a file; name a folder")
    if any(path.parent.resolve() == out.resolve() for path in stems):
        raise UserError(f"--out {out}: the images are in it; name another folder")
    if overwrite or not out.is_dir():
        return
    there = [entry.name for entry in sorted(out.iterdir()) if _result_of(entry.name) in by_stem]
    if there:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UserError(f"--out {out}: {there[0]}{more} is there already; use --overwrite or another folder")


def _result_of(name: str) -> str | None:
    """The stem of the image that a result belongs to."""
    for output in OUTPUTS:
        for suffix in (".png", ".nii.gz", ".dcm"):
            if name.endswith(f"_{output}{suffix}"):
                return name.removesuffix(f"_{output}{suffix}")
    return name.removesuffix("_arrays.npz") if name.endswith("_arrays.npz") else None


def apply_image(
    function: Apply, key: jax.Array, image: Image, spatial_dims: int, path: Path, shown: bool = False
) -> dict[str, np.ndarray]:
    """Apply a function of one example to an image, a volume slice by slice where the function takes slices.

    Args:
        function: ``f(key, image) -> {name: array}``, of an `Image` with the metadata of the whole.
        key: the key for the image; slice i is given ``fold_in(key, i)``.
        image: what was read.
        spatial_dims: the spatial rank that the function takes.
        path: the file, for messages.
        shown: show a progress bar over slices.

    Returns:
        Arrays over the whole image, and numbers; a number for each slice becomes a vector.

    Raises:
        UserError: if the image has too few dimensions.
    """
    rank = image.array.ndim - 1
    if rank == spatial_dims:
        return _warned(path, {name: np.asarray(value) for name, value in function(key, image).items()})
    if rank < spatial_dims or rank != 3:
        raise UserError(f"{path}: it has {rank} spatial dimensions, and this run takes {spatial_dims}")
    axis = axial_axis(image.affine)
    slices: dict[str, list[np.ndarray]] = {}
    count = image.array.shape[axis]
    for i in tqdm(range(count), unit="slice", disable=not shown, leave=False, file=sys.stderr):
        one = image._replace(array=np.take(image.array, i, axis))
        for name, value in function(jax.random.fold_in(key, i), one).items():
            slices.setdefault(name, []).append(np.asarray(value))
    names = slices.pop("classes", [])  # alike for every slice
    stacked = {
        name: np.stack(values, axis=axis if values[0].ndim == spatial_dims else 0) for name, values in slices.items()
    }
    return _warned(path, stacked | ({"classes": names[0]} if names else {}))


def _warned(path: Path, results: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Print what the results warn of, with the name of the file."""
    if "warning" in results:
        said = results["warning"].reshape(-1)
        slices = f" (and {len(said) - 1} more slices)" if len(said) > 1 else ""
        print(f"jaxgen: warning: {printable(path.name)}: {said[0]}{slices}", file=sys.stderr, flush=True)
    return results


def write_results(
    results: Mapping[str, np.ndarray], image: Image, out: Path, stem: str, dicom_seg: bool, overwrite: bool
) -> dict[str, object]:
    """Write what came out of one image next to each other: ``<stem>_<name>`` with the suffix that fits.

    Volumes, NIfTI and DICOM become NIfTI in the space of the image. Plain pictures become 8-bit PNG to look at (a
    fractional map is scaled: [0, 1] where it fits in it, else by its largest value), with the numbers themselves in
    ``<stem>_arrays.npz``.

    Args:
        results: arrays over the image by name; whatever has another shape is a number for the summary.
        image: the image.
        out: the folder.
        stem: the image's name without suffix.
        dicom_seg: write the mask of a DICOM image as DICOM SEG.
        overwrite: replace what is there.

    Returns:
        The files written and the numbers, for the summary.

    Raises:
        UserError: if something cannot be written.
    """
    shape = image.array.shape[:-1]
    maps = {name: array for name, array in results.items() if array.shape == shape}
    numbers = {name: array.tolist() for name, array in results.items() if array.shape != shape}
    spatial = image.meta.get("kind") in ("nifti", "dicom") or len(shape) == 3
    written: list[Path] = []
    try:
        for name, array in maps.items():
            path = out / f"{stem}_{name}"
            if dicom_seg and name == "mask" and "classes" not in results and image.meta.get("kind") == "dicom":
                written.append(write_dicom_seg(f"{path}.dcm", array, like=image, overwrite=overwrite))
            elif spatial:
                whole = array if array.dtype.kind == "f" else _smallest(array)
                written.append(write_nifti(f"{path}.nii.gz", whole, like=image, overwrite=overwrite))
            elif array.dtype.kind != "f" and array.max(initial=0) <= 1:
                written.append(write_mask(f"{path}.png", array, overwrite=overwrite))
            else:
                picture = PIL.Image.fromarray(_to_look_at(array) if array.dtype.kind == "f" else _smallest(array))
                written.append(
                    write_atomically(f"{path}.png", lambda file: picture.save(file, "png"), overwrite=overwrite)  # noqa: B023
                )
        if not spatial and maps:
            written.append(_write_arrays(out / f"{stem}_arrays.npz", maps, overwrite))
    except BaseException:  # all results of an image, or none
        for path in written:
            with contextlib.suppress(OSError):
                path.unlink()
        raise
    return {"files": [path.name for path in written], **numbers}


def _write_arrays(path: Path, maps: Mapping[str, np.ndarray], overwrite: bool) -> Path:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        name: a.astype(np.float32) if a.dtype.kind == "f" else _smallest(a) for name, a in maps.items()
    }
    np.savez_compressed(buffer, **arrays)
    return write_atomically(path, lambda file: Path(file).write_bytes(buffer.getvalue()), overwrite=overwrite)


def _smallest(array: np.ndarray) -> np.ndarray:
    """Whole numbers in the smallest unsigned type that holds them."""
    return array.astype(np.min_scalar_type(int(array.max(initial=0))) if array.min(initial=0) >= 0 else np.int32)


def _to_look_at(array: np.ndarray) -> np.ndarray:
    low, high = min(0.0, float(array.min(initial=0))), float(array.max(initial=0))
    if low < 0 or high > 1 or 0 < high <= 0.25:  # a variance of a binary quantity is at most a quarter
        scaled = (array - low) / ((high - low) or 1)
    else:
        scaled = array
    return np.round(255 * np.clip(scaled, 0, 1)).astype(np.uint8)
