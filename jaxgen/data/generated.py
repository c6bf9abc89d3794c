"""Data sets that are computed: they need no download, and their truth is known exactly."""

import functools
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from jaxgen.data import checks
from jaxgen.data.captions import WORDINGS, Report, coloured_caption, report_of, shapes_caption
from jaxgen.data.checks import Foreground
from jaxgen.data.classes import Classes, choose_classes
from jaxgen.data.options import Options
from jaxgen.data.phantoms import CLASS_NAMES, FINDINGS, Coloured, brain3d_covariates, coloured_of, phantom_source
from jaxgen.data.phantoms.brain import TISSUES as BRAIN
from jaxgen.data.phantoms.brain3d import COVARIATES, REGIONS
from jaxgen.data.phantoms.chest_visits import KINDS as KINDS_OF_VISIT
from jaxgen.data.phantoms.chest_visits import VISITS
from jaxgen.data.phantoms.chest_xray import Person
from jaxgen.data.phantoms.instruments import TOOLS
from jaxgen.data.phantoms.skin import KINDS
from jaxgen.data.phantoms.teeth import TISSUES
from jaxgen.data.phantoms.tissue import STATES
from jaxgen.data.phantoms.tumour import CLASSES
from jaxgen.data.source import ArraySource, Example, Splits
from jaxgen.errors import UserError

COUNTS = {"train": 2000, "validation": 256, "test": 512}
VOLUMES = {"train": 1000, "validation": 128, "test": 256}
"""The same, of volumes."""
PEOPLE = {"train": 600 * VISITS, "validation": 100 * VISITS, "test": 200 * VISITS}
"""The same, of visits."""
SEGMENTED = {"train": 96, "validation": 12, "test": 24}
"""The same, of volumes with masks."""
GENERATED = {
    "brain_phantom": "drawn T1 brain slices in four classes: healthy, two kinds of lesion, large ventricles",
    "ct_phantom": "drawn CT slices of chests, in Hounsfield units",
    "ct_lesion_phantom": "the same, most of them with a lesion of low contrast in soft tissue",
    "cxr_phantom": "drawn chest radiographs with findings and reports",
    "visits_phantom": "drawn chest radiographs of people at three visits each, in six classes, with the people's names",
    "shapes_phantom": "drawn discs, rings, squares and bars with captions",
    "coloured_phantom": "the same in flat colours, with captions that name them, and outlines as hints",
    "brain3d_phantom": "drawn brain volumes with age, sex, ventricular and brain volume",
    "brain_tissue_phantom": "drawn T1 brain slices with three tissues",
    "brain3d_tissue_phantom": "drawn brain volumes with four regions",
    "dental_phantom": "drawn bitewing radiographs: rows of overlapping teeth in four tissues",
    "ambiguous_phantom": "drawn blobs that twenty raters outline in four ways, with known frequencies",
    "tumour_phantom": "drawn heads in four contrasts with a lesion in three classes",
    "tumour3d_phantom": "the same as volumes",
    "position3d_phantom": "drawn volumes with equal blobs, of which those in the left half are lesions",
    "contrast_phantom": "drawn brain slices in T1, and in T2 to translate to; every second with a lesion",
    "contrast_volumes_phantom": "the same as brain volumes of four tissues",
    "rescaled_phantom": "drawn T1 brain slices, and as another scanner scales their intensities",
    "scanner_phantom": "drawn T1 brain slices, and as a worse scanner shows them: bias field, blur, noise",
    "vessels3d_phantom": "drawn volumes with vessels and sheets one or two voxels thick",
    "cell3d_phantom": "drawn volumes with one cell, an ellipsoid with dents, as a microscope shows it",
    "skin_phantom": "drawn skin lesions of five kinds on three tones of skin",
    "tissue_phantom": "drawn stained tissue with tumour or without, from four hospitals, one rare, one for tests",
    "cataract_phantom": "drawn eyes in six phases of an operation with eight instruments, some sets of them rare",
}
"""The names that `load` knows, with one line each; ``name/size`` asks for another size than 64 pixels.

Volumes are of 32 x 48 x 32 voxels, those with masks of 32 x 32 x 32, those in two contrasts of 64 x 64 x 32, unless
``brain3d_phantom/24`` or ``brain3d_phantom/40x56x40`` says otherwise.
"""
_PHANTOMS = {
    "brain_phantom": "brain_classes",
    "ct_phantom": "ct2d",
    "ct_lesion_phantom": "ct2d_lesions",
    "cxr_phantom": "cxr2d",
    "visits_phantom": "cxr_visits",
    "shapes_phantom": "shapes2d",
    "coloured_phantom": "coloured2d",
    "brain3d_phantom": "brain3d",
    "brain_tissue_phantom": "brain_tissue2d",
    "brain3d_tissue_phantom": "brain_tissue3d",
    "dental_phantom": "dental2d",
    "ambiguous_phantom": "ambiguous_raters",
    "tumour_phantom": "tumor4c",
    "tumour3d_phantom": "tumor4c",
    "position3d_phantom": "pos3d",
    "vessels3d_phantom": "vessels3d",
    "cell3d_phantom": "dimpled3d",
    "contrast_phantom": "contrast_pair",
    "contrast_volumes_phantom": "contrast3d",
    "rescaled_phantom": "rescaled_pair",
    "scanner_phantom": "scanner_pair",
    "skin_phantom": "derm2d",
    "tissue_phantom": "patho2d",
    "cataract_phantom": "cataract2d",
}
_IN_TRAINING = {"patho2d": "patho2d_training", "cataract2d": "cataract2d_training"}
"""What training and validation data are drawn as, where their proportions are other than those of test data."""
_ENTRIES = {
    "brain_classes": ("image", "mask", "label"),
    "ct2d": ("image", "mask"),
    "ct2d_lesions": ("image", "mask"),
    "cxr2d": ("image", "mask", "labels", "text"),
    "cxr_visits": ("image", "mask", "label", "covariates"),
    "shapes2d": ("image", "mask", "text"),
    "coloured2d": ("image", "mask", "text", "control"),
    "brain3d": ("image", "covariates"),
    "brain_tissue2d": ("image", "mask"),
    "brain_tissue3d": ("image", "mask"),
    "dental2d": ("image", "mask"),
    "ambiguous_raters": ("image", "masks"),
    "tumor4c": ("image", "mask", "spacing"),
    "pos3d": ("image", "mask", "spacing"),
    "vessels3d": ("image", "mask", "spacing"),
    "dimpled3d": ("image", "mask", "spacing"),
    **dict.fromkeys(("contrast_pair", "contrast3d", "rescaled_pair", "scanner_pair"), ("image", "mask", "source")),
    "derm2d": ("image", "mask", "label", "covariates"),
    "patho2d": ("image", "mask", "label", "covariates"),
    "cataract2d": ("image", "mask", "labels", "covariates"),
}
_MASK_NAMES = {"tumor4c": CLASSES, "dental2d": TISSUES, "brain_tissue2d": BRAIN[1:], "brain_tissue3d": REGIONS[1:]}
_COVARIATES = {
    "brain3d": tuple(COVARIATES),
    "cxr_visits": Person._fields,
    "derm2d": ("tone",),
    "patho2d": ("hospital",),
    "cataract2d": ("phase",),
}
_NAMES = {
    "brain_classes": CLASS_NAMES,
    "cxr2d": FINDINGS,
    "cxr_visits": KINDS_OF_VISIT,
    "derm2d": KINDS,
    "patho2d": STATES,
    "cataract2d": TOOLS,
}
_DEFAULT_SIZES = {
    "brain3d_phantom": "32x48x32",
    "brain3d_tissue_phantom": "32",
    "tumour3d_phantom": "32",
    "position3d_phantom": "32",
    "vessels3d_phantom": "32",
    "cell3d_phantom": "32",
    "contrast_volumes_phantom": "64x64x32",
}
"""Of the sets of volumes."""
_COUNTS = dict.fromkeys(_DEFAULT_SIZES, SEGMENTED) | {
    "brain3d_phantom": VOLUMES,
    "cell3d_phantom": VOLUMES,
    "visits_phantom": PEOPLE,
}


HELD_BYTES = 2**28
"""Of the examples that a source holds because each was asked for."""


class DrawnSource(ArraySource):
    """Phantoms of equal size, drawn when first asked for and then held in memory.

    One example alone is drawn alone, and held up to `HELD_BYTES`; `arrays` draws all of them.

    Args:
        phantom: one of `jaxgen.data.phantoms.PHANTOMS`.
        n: how many examples.
        seed: of the set.
        size: side of the images in pixels, or one number per axis.
        entries: what to keep of each example.
        foreground: what of masks counts (`jaxgen.data.checks.apply_foreground`).

    Example:
        >>> source = DrawnSource("brain_classes", 4, seed=0, size=16, entries=("image", "label"))
        >>> source[3]["image"].shape, source.arrays["label"].tolist()
        ((16, 16, 1), [0, 1, 2, 3])
    """

    def __init__(
        self,
        phantom: str,
        n: int,
        *,
        seed: int,
        size: int | tuple[int, ...],
        entries: tuple[str, ...],
        foreground: Foreground = None,
    ) -> None:
        self._phantoms, self._entries, self._foreground = phantom_source(phantom, n, seed, size), entries, foreground
        self.names = self._phantoms.names
        self._held: dict[int, Example] = {}

    def __len__(self) -> int:
        return len(self._phantoms)

    def __getitem__(self, i: int) -> Example:
        if "arrays" in self.__dict__:
            return super().__getitem__(i)
        i = range(len(self))[i]
        if i not in self._held:
            drawn = self._phantoms[i]
            example = {e: np.asarray(self._caption(i)) if e == "text" else drawn[e] for e in self._entries}
            if "mask" in example:
                example["mask"] = checks.apply_foreground(example["mask"], self._foreground, self.names[i])
            if (len(self._held) + 1) * sum(array.nbytes for array in example.values()) > HELD_BYTES:
                return example
            self._held[i] = example
        return self._held[i]

    @property
    def has_reports(self) -> bool:
        """Whether the examples are radiographs."""
        return self._phantoms.phantom == "cxr2d"

    @property
    def has_colours(self) -> bool:
        """Whether the examples are shapes in flat colours."""
        return self._phantoms.phantom == "coloured2d"

    def coloured(self, i: int) -> Coloured:
        """What example i shows, of shapes in flat colours."""
        return coloured_of(self._phantoms.seed, i % len(self))

    def report(self, i: int, wordings: Mapping[str, Sequence[str]] = WORDINGS) -> Report:
        """The report of radiograph i, and what it says; in other words with other `wordings`."""
        return report_of(self._phantoms.seed, i % len(self), wordings)

    def _caption(self, i: int) -> str:
        if self.has_reports:
            return self.report(i).text
        caption = coloured_caption if self.has_colours else shapes_caption
        return caption(self._phantoms.seed, i % len(self))

    @property
    def texts(self) -> list[str] | None:
        """The captions, without drawing anything, or None."""
        return [self._caption(i) for i in range(len(self))] if "text" in self._entries else None

    @property
    def covariates(self) -> np.ndarray | None:
        """The covariates ``[n, k]``, of brains without drawing them, or None."""
        if "covariates" not in self._entries:
            return None
        if self._phantoms.phantom != "brain3d":
            return self.arrays["covariates"]
        return np.stack([brain3d_covariates(self._phantoms.seed, i) for i in range(len(self))])

    @property
    def patients(self) -> list[str] | None:  # type: ignore[override]
        """The person of each example, where they come several times, or None."""
        if self._phantoms.phantom != "cxr_visits":
            return None
        return [f"{self._phantoms.seed}-{i // VISITS:04d}" for i in range(len(self))]

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:  # type: ignore[override]
        """All examples: name -> array whose first axis counts them."""
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            examples = list(pool.map(self.__getitem__, range(len(self))))
        self._held.clear()
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
    volumes, entries = name in _DEFAULT_SIZES, _ENTRIES[phantom]
    size = _size(spec, name, text)
    for entry in options.wants:
        if entry not in entries and not (entry == "mask" and "masks" in entries):  # of several raters
            raise UserError(f"--data {spec}: has no {entry} (it has {', '.join(entries)}); choose another data set")
    if options.spatial is not None and options.spatial != (3 if volumes else 2):
        kinds = ("volumes", "2-D images") if volumes else ("2-D images", "volumes")
        raise UserError(f"--data {spec}: {kinds[0]} where {kinds[1]} are wanted; choose another data set")
    chosen = tuple(entry for entry in entries if entry in options.wants + options.optional or entry == "image")
    foreground = _foreground(phantom, spec, options) if "mask" in chosen else None
    parts = _drawn(phantom, size, options.seed, chosen, foreground, tuple(_COUNTS.get(name, COUNTS).values()))
    return Splits(
        *parts,
        name=name,
        origin="computed",
        licence="CC0-1.0",
        label_names=_NAMES.get(phantom, ()) if {"label", "labels"} & {*chosen} else (),
        covariate_names=_COVARIATES[phantom] if "covariates" in chosen else (),
        mask_names=foreground.names if isinstance(foreground, Classes) else (),
    )


def _foreground(phantom: str, spec: str, options: Options) -> Foreground:
    """What of the masks counts, by number."""
    names = {name: k for k, name in enumerate(_MASK_NAMES.get(phantom, ()), 1)}
    where, values = f"--data {spec}", tuple(range(len(names or "1") + 1))
    foreground = checks.name_foreground(options.foreground, names, where)
    if isinstance(foreground, int) and foreground not in values:
        raise checks.absent_foreground(foreground, values, where)
    return choose_classes(foreground, names, lambda: values, where) or foreground


def _size(spec: str, name: str, text: str) -> int | tuple[int, ...]:
    """The size that ``name/size`` asks for."""
    volumes = name in _DEFAULT_SIZES
    sides = (text or _DEFAULT_SIZES.get(name, "64")).split("x")
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
    phantom: str,
    size: int | tuple[int, ...],
    seed: int,
    entries: tuple[str, ...],
    foreground: Foreground,
    counts: tuple[int, ...],
) -> tuple[DrawnSource, DrawnSource, DrawnSource]:
    seen = _IN_TRAINING.get(phantom, phantom)
    train, validation, test = (
        DrawnSource(kind, n, seed=3 * seed + k, size=size, entries=entries, foreground=foreground)
        for k, (kind, n) in enumerate(zip((seen, seen, phantom), counts, strict=True))
    )
    return train, validation, test
