"""Data sets that are computed: they need no download, and their truth is known exactly."""

import functools
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from jaxgen.data import checks
from jaxgen.data.captions import WORDINGS, Report, report_of, shapes_caption
from jaxgen.data.options import Options
from jaxgen.data.phantoms import CLASS_NAMES, FINDINGS, brain3d_covariates, phantom_source
from jaxgen.data.phantoms.brain3d import COVARIATES
from jaxgen.data.source import ArraySource, Example, Splits
from jaxgen.errors import UserError

COUNTS = {"train": 2000, "validation": 256, "test": 512}
VOLUMES = {"train": 1000, "validation": 128, "test": 256}
"""The same, of volumes."""
GENERATED = {
    "brain_phantom": "drawn T1 brain slices in four classes: healthy, two kinds of lesion, large ventricles",
    "ct_phantom": "drawn CT slices of chests, in Hounsfield units",
    "cxr_phantom": "drawn chest radiographs with findings and reports",
    "shapes_phantom": "drawn discs, rings, squares and bars with captions",
    "brain3d_phantom": "drawn brain volumes with age, sex, ventricular and brain volume",
}
"""The names that `load` knows, with one line each; ``name/size`` asks for another size than 64 pixels.

Volumes are of 32 x 48 x 32 voxels unless ``brain3d_phantom/24`` or ``brain3d_phantom/40x56x40`` says otherwise.
"""
_PHANTOMS = {
    "brain_phantom": "brain_classes",
    "ct_phantom": "ct2d",
    "cxr_phantom": "cxr2d",
    "shapes_phantom": "shapes2d",
    "brain3d_phantom": "brain3d",
}
_ENTRIES = {
    "brain_classes": ("image", "mask", "label"),
    "ct2d": ("image", "mask"),
    "cxr2d": ("image", "mask", "labels", "text"),
    "shapes2d": ("image", "mask", "text"),
    "brain3d": ("image", "covariates"),
}
_NAMES = {"brain_classes": CLASS_NAMES, "cxr2d": FINDINGS}


class DrawnSource(ArraySource):
    """Phantoms of equal size, drawn when first asked for and then held in memory.

    One example alone is drawn alone; `arrays` draws all of them.

    Args:
        phantom: one of `jaxgen.data.phantoms.PHANTOMS`.
        n: how many examples.
        seed: of the set.
        size: side of the images in pixels, or one number per axis.
        entries: what to keep of each example.

    Example:
        >>> source = DrawnSource("brain_classes", 4, seed=0, size=16, entries=("image", "label"))
        >>> source[3]["image"].shape, source.arrays["label"].tolist()
        ((16, 16, 1), [0, 1, 2, 3])
    """

    def __init__(
        self, phantom: str, n: int, *, seed: int, size: int | tuple[int, ...], entries: tuple[str, ...]
    ) -> None:
        self._phantoms, self._entries = phantom_source(phantom, n, seed, size), entries
        self.names = self._phantoms.names

    def __len__(self) -> int:
        return len(self._phantoms)

    def __getitem__(self, i: int) -> Example:
        if "arrays" in self.__dict__:
            return super().__getitem__(i)
        drawn = self._phantoms[i]
        return {entry: np.asarray(self._caption(i)) if entry == "text" else drawn[entry] for entry in self._entries}

    @property
    def has_reports(self) -> bool:
        """Whether the examples are radiographs."""
        return self._phantoms.phantom == "cxr2d"

    def report(self, i: int, wordings: Mapping[str, Sequence[str]] = WORDINGS) -> Report:
        """The report of radiograph i, and what it says; in other words with other `wordings`."""
        return report_of(self._phantoms.seed, i % len(self), wordings)

    def _caption(self, i: int) -> str:
        return self.report(i).text if self.has_reports else shapes_caption(self._phantoms.seed, i % len(self))

    @property
    def texts(self) -> list[str] | None:
        """The captions, without drawing anything, or None."""
        return [self._caption(i) for i in range(len(self))] if "text" in self._entries else None

    @property
    def covariates(self) -> np.ndarray | None:
        """The covariates ``[n, k]``, without drawing anything, or None."""
        if "covariates" not in self._entries:
            return None
        return np.stack([brain3d_covariates(self._phantoms.seed, i) for i in range(len(self))])

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:  # type: ignore[override]
        """All examples: name -> array whose first axis counts them."""
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            examples = list(pool.map(self.__getitem__, range(len(self))))
        return {entry: np.stack([example[entry] for example in examples]) for entry in self._entries}


def load_generated(spec: str, options: Options) -> Splits:
    """Open a data set that is computed.

    Args:
        spec: a key of `GENERATED`, or ``name/size``. The seed of the options chooses other subjects.
        options: what each example holds.

    Returns:
        Its three splits, of different subjects.

    Raises:
        UserError: if the size is no number from 16, or something is wanted that the set has not.
    """
    name, _, text = spec.partition("/")
    phantom = _PHANTOMS[name]
    size, entries = _size(spec, name, text, volumes=phantom == "brain3d"), _ENTRIES[phantom]
    for entry in options.wants:
        if entry not in entries:
            raise UserError(f"--data {spec}: has no {entry} (it has {', '.join(entries)}); choose another data set")
    if options.spatial is not None and options.spatial != (3 if phantom == "brain3d" else 2):
        kinds = ("volumes", "2-D images") if phantom == "brain3d" else ("2-D images", "volumes")
        raise UserError(f"--data {spec}: {kinds[0]} where {kinds[1]} are wanted; choose another data set")
    foreground = checks.name_foreground(options.foreground, {}, f"--data {spec}")
    if "mask" in options.wants + options.optional and isinstance(foreground, int) and foreground != 1:
        raise checks.absent_foreground(foreground, (0, 1), f"--data {spec}")
    chosen = tuple(entry for entry in entries if entry in options.wants + options.optional or entry == "image")
    parts = _drawn(phantom, size, options.seed, chosen)
    return Splits(
        *parts,
        name=name,
        origin="computed",
        licence="CC0-1.0",
        label_names=_NAMES.get(phantom, ()) if {"label", "labels"} & {*chosen} else (),
        covariate_names=tuple(COVARIATES) if "covariates" in chosen else (),
    )


def _size(spec: str, name: str, text: str, *, volumes: bool) -> int | tuple[int, ...]:
    """The size that ``name/size`` asks for."""
    sides = text.split("x") if text else ["32", "48", "32"] if volumes else ["64"]
    if not all(side.isdecimal() and int(side) >= 16 for side in sides) or len(sides) not in (
        (1, 3) if volumes else (1,)
    ):
        sizes = "a number of voxels from 16, or three such as 32x48x32" if volumes else "a number of pixels from 16"
        raise UserError(f"--data {spec}: {text!r} is no size; write {name}, or {name}/ and {sizes}")
    if not volumes:
        return int(sides[0])
    return tuple(int(side) for side in (sides * 3 if len(sides) == 1 else sides))


@functools.lru_cache(maxsize=2)
def _drawn(
    phantom: str, size: int | tuple[int, ...], seed: int, entries: tuple[str, ...]
) -> tuple[DrawnSource, DrawnSource, DrawnSource]:
    counts = VOLUMES if phantom == "brain3d" else COUNTS
    train, validation, test = (
        DrawnSource(phantom, n, seed=3 * seed + k, size=size, entries=entries) for k, n in enumerate(counts.values())
    )
    return train, validation, test
