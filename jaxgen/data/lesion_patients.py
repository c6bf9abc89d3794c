"""A folder of patients: one ``.npz`` each with ``volume [contrasts, x, y, z]`` and ``lesion [x, y, z]``."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxgen.data import ArraySource, Splits, Subset, checks
from jaxgen.data.arrays import npz_headers, read_npz
from jaxgen.data.checks import Foreground, absent_foreground, apply_foreground, name_foreground
from jaxgen.errors import UserError

LEAST_FOREGROUND = 0.15
"""The share of a slice that must be foreground; others are left out."""
FEWEST = 8
"""Healthy slices that are enough to learn from."""


def files(folder: Path) -> list[Path]:
    """The files of one patient each; none if any file of the folder is something else."""

    def fits(path: Path) -> bool:
        with checks.reading(path, "npz"):
            return {"volume", "lesion"} <= set(npz_headers(path))

    found = sorted(folder.glob("*.npz"))
    return found if found and all(fits(path) for path in found) else []


def load(
    folder: Path,
    contrasts: Sequence[str],
    test_patients: Sequence[str] | int | None,
    foreground: str | int,
    *,
    whole: bool = False,
) -> Splits:
    """Axial slices with enough brain: healthy ones of all patients but some, and all slices of those.

    Args:
        folder: of `files`; the name of a patient is that of the file.
        contrasts: those to use of patients with several, as channels in this order.
        test_patients: the patients that are held out, by name or by number; None for the first.
        foreground: what of the lesions counts (`jaxgen.data.checks`).
        whole: all patients are test data, and there is nothing to train on.

    Returns:
        Training, validation and test data.

    Raises:
        UserError: if there are too few patients or healthy slices, or no such patient, contrast or foreground.
    """
    paths = files(folder)
    held = [] if whole else _numbers([path.stem for path in paths], test_patients, folder)
    named = name_foreground(foreground, {}, folder)
    read = [_slices(path, contrasts, "any" if named == "binary" else named) for path in paths]
    if whole:
        everyone = _joined([slices for slices, _ in read])
        nobody = Subset(everyone, [])
        return Splits(nobody, nobody, everyone, name=folder.name, origin=f"folder {folder}")
    values = set().union(*(found for _, found in read))
    if isinstance(named, int) and named not in values:
        raise absent_foreground(named, values, folder)
    joined = _joined([slices for i, (slices, _) in enumerate(read) if i not in held])
    well = np.flatnonzero(~joined.arrays["mask"].any((1, 2)))
    if len(well) < FEWEST:
        raise UserError(
            f"{folder}: {len(well)} slices without a lesion are too few to learn from; {FEWEST} are the least"
        )
    # Neighbouring slices are alike: validation slices are a stretch, not every tenth.
    late = np.arange(len(well)) // min(8, len(well) // 8) % 8 == 7
    train, validation = (ArraySource({n: a[well[part]] for n, a in joined.arrays.items()}) for part in (~late, late))
    test = _joined([read[i][0] for i in held])
    return Splits(train, validation, test, name=folder.name, origin=f"folder {folder}")


def _numbers(names: Sequence[str], wanted: Sequence[str] | int | None, folder: Path) -> list[int]:
    """The numbers of the patients that are held out."""
    found = []
    for name in ("0",) if wanted is None else (str(wanted),) if isinstance(wanted, int) else wanted:
        if name not in names and not (name.isdecimal() and int(name) < len(names)):
            raise UserError(f"--test-patients {name}: {folder} has {', '.join(names)}, or 0 to {len(names) - 1}")
        found.append(names.index(name) if name in names else int(name))
    if len(set(found)) == len(names):
        raise UserError(f"--test-patients: nobody of {folder} is left to train on; it has {', '.join(names)}")
    return sorted(set(found))


def _slices(path: Path, contrasts: Sequence[str], foreground: Foreground) -> tuple[dict[str, np.ndarray], set[int]]:
    """The slices of one patient, ``image [n, x, y, c]`` and ``mask [n, x, y]``, and the values of its lesions."""
    with checks.reading(path, "npz"):
        file = read_npz(path, {"volume", "lesion", "channels"} & set(npz_headers(path)))
    volume, lesion = file["volume"], file["lesion"]
    if volume.ndim == 4:
        names = [str(name) for name in file["channels"]] if "channels" in file else []
        for contrast in contrasts:
            if contrast not in names:
                raise UserError(f"--contrast {contrast}: {path} has {', '.join(names) or 'no names of contrasts'}")
        volume = volume[[names.index(contrast) for contrast in contrasts]]
    else:
        volume = volume[None]
    image, mask = np.moveaxis(volume, (0, -1), (-1, 0)), np.moveaxis(lesion, -1, 0)
    kept = (image > 0).any(-1).mean((1, 2)) > LEAST_FOREGROUND
    marked = apply_foreground(mask[kept], foreground, path)
    return {"image": image[kept], "mask": marked}, set(np.unique(mask).astype(int).tolist())


def _joined(parts: list[dict[str, np.ndarray]]) -> ArraySource:
    return ArraySource({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
