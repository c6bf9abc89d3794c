"""``jaxgen apply`` of a run that registers: a moving and a fixed image, and perhaps labels of the first."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxgen.app import runs
from jaxgen.app.outputs import Say, make_folder
from jaxgen.app.result_files import earlier_summary, write_results
from jaxgen.data import readers
from jaxgen.errors import UserError, printable


def apply_pair(
    register: Callable[..., Mapping[str, np.ndarray]],
    inputs: Sequence[str],
    labels: str,
    out: Path,
    *,
    overwrite: bool = False,
    say: Say = print,
) -> None:
    """Register the first image to the second and write what was found, on the second's grid.

    Args:
        register: `jaxgen.experiment.Experiment.apply_pair` of the run.
        inputs: the moving and the fixed image, two files.
        labels: a label map of the moving image, or none.
        out: the folder for ``<moving>_to_<fixed>_<name>``, made if it is not there.
        overwrite: replace results that are there already.
        say: called with the line for the user.

    Raises:
        UserError: if there are not two files, one cannot be read, they cannot be registered, or results would be
            written over.
    """
    if len(inputs) != 2:
        raise UserError(
            f"{len(inputs)} images, and this run registers pairs: give the moving image, then the fixed one"
        )
    moving, fixed = (readers.read_image(path) for path in inputs)
    stem = f"{readers.stem(Path(inputs[0]))}_to_{readers.stem(Path(inputs[1]))}"
    there = [path.name for path in sorted(out.glob("*")) if path.name.startswith(f"{stem}_")] if out.is_dir() else []
    if there and not overwrite:
        raise UserError(f"--out {out}: {there[0]} is there already; use --overwrite or another folder")
    marked = None
    if labels:
        marked = readers.read_mask(labels)
        if marked.shape != moving.array.shape[:-1]:
            sizes = " and ".join(" x ".join(map(str, x)) for x in (marked.shape, moving.array.shape[:-1]))
            raise UserError(f"--labels {labels}: {sizes} voxels in it and in the moving image; labels lie on its grid")
    found = {name: np.asarray(value) for name, value in register(moving, fixed, marked).items()}
    summary = earlier_summary(out / "summary.json")
    make_folder(out, "--out")
    done = write_results(found, fixed, out, stem, False, overwrite)
    runs.write_json(out / "summary.json", summary | {stem: done})
    outside = found["outside"].item()
    far = f"; {outside:.0%} of the fixed image's voxels lie outside of the moving one" if outside > 0.01 else ""
    say(f"{printable(inputs[0])} registered to {printable(inputs[1])}{far}; results in {printable(out)}")
