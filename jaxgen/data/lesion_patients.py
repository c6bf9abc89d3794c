"""A folder of patients: one ``.npz`` each with ``volume [contrasts, x, y, z]`` and ``lesion [x, y, z]``."""

from pathlib import Path

import numpy as np

from jaxgen.data import ArraySource, Splits, Subset, checks
from jaxgen.data.arrays import npz_headers, read_npz
from jaxgen.data.checks import absent_foreground, apply_foreground, name_foreground
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


def load(folder: Path, contrast: str, test_patient: int, foreground: str | int, *, whole: bool = False) -> Splits:
    """Axial slices with enough brain: healthy ones of all patients but one, and all slices of that one.

    Args:
        folder: of `files`.
        contrast: the contrast to use of patients with several.
        test_patient: the number of the patient that is held out.
        foreground: what of the lesions counts (`jaxgen.data.checks`).
        whole: all patients are test data, and there is nothing to train on.

    Returns:
        Training, validation and test data.

    Raises:
        UserError: if there are too few patients or healthy slices, or no such contrast or foreground.
    """
    paths = files(folder)
    if not whole and (len(paths) < 2 or test_patient >= len(paths)):
        raise UserError(f"--test-patient {test_patient}: {folder} has {len(paths)} patients, and needs 2 at least")
    named = name_foreground(foreground, {}, folder)
    read = [_slices(path, contrast, "any" if named == "binary" else named) for path in paths]
    if whole:
        everyone = _joined([slices for slices, _ in read])
        nobody = Subset(everyone, [])
        return Splits(nobody, nobody, everyone, name=folder.name, origin=f"folder {folder}")
    values = set().union(*(found for _, found in read))
    if isinstance(named, int) and named not in values:
        raise absent_foreground(named, values, folder)
    joined = _joined([slices for i, (slices, _) in enumerate(read) if i != test_patient])
    well = np.flatnonzero(~joined.arrays["mask"].any((1, 2)))
    if len(well) < FEWEST:
        raise UserError(
            f"{folder}: {len(well)} slices without a lesion are too few to learn from; {FEWEST} are the least"
        )
    # Neighbouring slices are alike: validation slices are a stretch, not every tenth.
    held = np.arange(len(well)) // min(8, len(well) // 8) % 8 == 7
    train, validation = (ArraySource({n: a[well[part]] for n, a in joined.arrays.items()}) for part in (~held, held))
    test = ArraySource(read[test_patient][0])
    return Splits(train, validation, test, name=folder.name, origin=f"folder {folder}")


def _slices(path: Path, contrast: str, foreground: str | int | None) -> tuple[dict[str, np.ndarray], set[int]]:
    """The slices of one patient, ``image [n, x, y, 1]`` and ``mask [n, x, y]``, and the values of its lesions."""
    with checks.reading(path, "npz"):
        file = read_npz(path, {"volume", "lesion", "channels"} & set(npz_headers(path)))
    volume, lesion = file["volume"], file["lesion"]
    if volume.ndim == 4:
        names = [str(name) for name in file["channels"]] if "channels" in file else []
        if contrast not in names:
            raise UserError(f"--contrast {contrast}: {path} has {', '.join(names) or 'no names of contrasts'}")
        volume = volume[names.index(contrast)]
    image, mask = np.moveaxis(volume, -1, 0)[..., None], np.moveaxis(lesion, -1, 0)
    kept = (image > 0).mean((1, 2, 3)) > LEAST_FOREGROUND
    marked = apply_foreground(mask[kept], foreground, path)
    return {"image": image[kept], "mask": marked}, set(np.unique(mask).astype(int).tolist())


def _joined(parts: list[dict[str, np.ndarray]]) -> ArraySource:
    return ArraySource({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
