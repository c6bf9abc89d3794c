"""Use a trained run on image files: ``jaxgen apply``."""

import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jaxgen.app import runs
from jaxgen.app.apply_pair import apply_pair
from jaxgen.app.inputs import find_all, find_inputs
from jaxgen.app.opening import open_trained
from jaxgen.app.outputs import Say, make_folder, refuse_run
from jaxgen.app.result_files import earlier_summary, write_results
from jaxgen.data import readers
from jaxgen.data.image import Image
from jaxgen.data.nifti import axial_axis
from jaxgen.errors import UserError, printable
from jaxgen.experiment import APPLY, spatial_rank

__all__ = ["OUTPUTS", "apply_image", "apply_run", "find_inputs", "write_results"]

OUTPUTS = ("mask", "probability", "uncertainty", "reconstruction")
"""The arrays that a segmentation gives, and a reconstruction; an experiment may give others."""

Apply = Callable[..., Mapping[str, np.ndarray | Image]]


def apply_run(
    run: Path,
    inputs: Sequence[str],
    out: Path,
    *,
    overwrite: bool = False,
    dicom_seg: bool = False,
    seed: int | None = None,
    labels: str = "",
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
        labels: of a run that registers pairs, the label map of the moving image, a file, or none.
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
    if experiment.apply_pair is not None:
        apply_pair(experiment.apply_pair(opened), inputs, labels, out, overwrite=overwrite, say=say)
        return []
    if labels:
        raise UserError(
            f"--labels: for runs that register pairs of images, and this is {experiment.name}; leave it out"
        )
    if experiment.apply is None:
        raise UserError(f"{run}: the experiment {experiment.name} cannot be applied to images; try `jaxgen sample`")
    suffixes = () if experiment.reader is None else experiment.reader.suffixes
    read = readers.read_image if experiment.reader is None else experiment.reader.read
    stems, left_out = find_all(inputs, suffixes)
    files = list(stems)
    _refuse_clashes(stems, out, overwrite)
    summary = earlier_summary(out / "summary.json")
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
                if experiment.reader is not None:  # the grid of an image need not be that of what was measured
                    image = image._replace(array=np.asarray(results["reconstruction"])[..., None])
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
) -> dict[str, np.ndarray | Image]:
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
        return _warned(path, {name: _array(value) for name, value in function(key, image).items()})
    if rank < spatial_dims or rank != 3:
        raise UserError(f"{path}: it has {rank} spatial dimensions, and this run takes {spatial_dims}")
    axis = axial_axis(image.affine)
    slices: dict[str, list[np.ndarray]] = {}
    count = image.array.shape[axis]
    for i in tqdm(range(count), unit="slice", disable=not shown, leave=False, file=sys.stderr):
        one = image._replace(array=np.take(image.array, i, axis))
        for name, value in function(jax.random.fold_in(key, i), one).items():
            if isinstance(value, Image):
                raise UserError(f"{path}: a volume, and this run makes one of a single slice; give it slices")
            slices.setdefault(name, []).append(np.asarray(value))
    names = slices.pop("classes", [])  # alike for every slice
    stacked = {
        name: np.stack(values, axis=axis if values[0].ndim == spatial_dims else 0) for name, values in slices.items()
    }
    return _warned(path, stacked | ({"classes": names[0]} if names else {}))


def _array(value: Any) -> np.ndarray | Image:
    return value if isinstance(value, Image) else np.asarray(value)


def _warned(path: Path, results: Mapping[str, np.ndarray | Image]) -> dict[str, np.ndarray | Image]:
    """Print what the results warn of, with the name of the file."""
    if "warning" in results:
        said = np.asarray(results["warning"]).reshape(-1)
        slices = f" (and {len(said) - 1} more slices)" if len(said) > 1 else ""
        print(f"jaxgen: warning: {printable(path.name)}: {said[0]}{slices}", file=sys.stderr, flush=True)
    return dict(results)
