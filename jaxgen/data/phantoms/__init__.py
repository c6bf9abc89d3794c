"""Procedural images with exact ground truth, each a function of ``(seed, index)``."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from jaxgen.data.phantoms.ambiguous import RATER_PROBABILITIES, RATER_SCALES, ambig2d, ambiguous_raters
from jaxgen.data.phantoms.brain import (
    CLASS_NAMES,
    CONTRASTS,
    LESIONS,
    TISSUES,
    Lesion,
    brain2d,
    brain_classes,
    brain_tissues,
)
from jaxgen.data.phantoms.brain3d import (
    brain3d,
    brain3d_covariates,
    brain3d_tissues,
    covariates_of_brain3d,
    measure_brain3d,
)
from jaxgen.data.phantoms.cells import cells2d
from jaxgen.data.phantoms.chest_visits import cxr_visits
from jaxgen.data.phantoms.chest_xray import FINDINGS, Finding, cxr2d, findings_of
from jaxgen.data.phantoms.coloured import COLOURS, Coloured, Seen, coloured2d, coloured_of, measure_coloured, outline
from jaxgen.data.phantoms.contrasts import contrast_pair, scanner_pair
from jaxgen.data.phantoms.contrasts3d import contrast3d
from jaxgen.data.phantoms.dimpled import dimpled3d
from jaxgen.data.phantoms.faint_lesions import ct2d_lesions
from jaxgen.data.phantoms.glands import glands2d
from jaxgen.data.phantoms.instruments import cataract2d, measure_tools, scene_of
from jaxgen.data.phantoms.position import pos3d
from jaxgen.data.phantoms.radiograph import Measured, measure_radiograph
from jaxgen.data.phantoms.shapes import shapes2d, shapes_of
from jaxgen.data.phantoms.skin import derm2d
from jaxgen.data.phantoms.slices import brain_slices, labelled_slices
from jaxgen.data.phantoms.teeth import dental2d
from jaxgen.data.phantoms.thorax import ORGANS, ct2d
from jaxgen.data.phantoms.tissue import measure_tissue, patho2d
from jaxgen.data.phantoms.tumour import tumor4c
from jaxgen.data.phantoms.vessels import vessels3d

__all__ = [
    "CLASS_NAMES",
    "COLOURS",
    "CONTRASTS",
    "FINDINGS",
    "LESIONS",
    "ORGANS",
    "Coloured",
    "Finding",
    "Lesion",
    "Measured",
    "PHANTOMS",
    "RATER_PROBABILITIES",
    "RATER_SCALES",
    "TISSUES",
    "PhantomSource",
    "Seen",
    "ambig2d",
    "ambiguous_raters",
    "brain2d",
    "brain3d",
    "brain3d_covariates",
    "brain3d_tissues",
    "brain_classes",
    "brain_slices",
    "brain_tissues",
    "cataract2d",
    "cells2d",
    "coloured2d",
    "coloured_of",
    "contrast3d",
    "contrast_pair",
    "covariates_of_brain3d",
    "ct2d",
    "ct2d_lesions",
    "cxr2d",
    "cxr_visits",
    "dental2d",
    "derm2d",
    "dimpled3d",
    "findings_of",
    "glands2d",
    "labelled_slices",
    "measure_brain3d",
    "measure_coloured",
    "measure_radiograph",
    "measure_tissue",
    "measure_tools",
    "outline",
    "patho2d",
    "phantom_source",
    "pos3d",
    "scanner_pair",
    "scene_of",
    "shapes2d",
    "shapes_of",
    "tumor4c",
    "vessels3d",
]

PHANTOMS: Mapping[str, Callable[[int, int, Any], dict[str, np.ndarray]]] = MappingProxyType(
    {
        "cells2d": cells2d,
        "glands2d": glands2d,
        "ambig2d": ambig2d,
        "ambiguous_raters": ambiguous_raters,
        "brain2d": brain2d,
        "ct2d": ct2d,
        "ct2d_lesions": ct2d_lesions,
        "cxr2d": cxr2d,
        "cxr_visits": cxr_visits,
        "dental2d": dental2d,
        "shapes2d": shapes2d,
        "coloured2d": coloured2d,
        "brain_classes": brain_classes,
        "brain3d": brain3d,
        "brain_tissue2d": brain_tissues,
        "brain_tissue3d": brain3d_tissues,
        "tumor4c": tumor4c,
        "pos3d": pos3d,
        "vessels3d": vessels3d,
        "contrast3d": contrast3d,
        "dimpled3d": dimpled3d,
        "contrast_pair": contrast_pair,
        "rescaled_pair": functools.partial(contrast_pair, target="t1b"),
        "scanner_pair": scanner_pair,
        "derm2d": derm2d,
        "patho2d": patho2d,
        "patho2d_training": functools.partial(patho2d, training=True),
        "cataract2d": cataract2d,
        "cataract2d_training": functools.partial(cataract2d, training=True),
        **{f"brain2d_{k}": functools.partial(brain2d, contrast="t2", lesion=kind) for k, kind in LESIONS.items()},
    }
)
"""The phantoms by name: functions ``(seed, index, size) -> example``."""


@dataclass(frozen=True)
class PhantomSource:
    """A data source that draws its examples when they are asked for; make one with `phantom_source`.

    Attributes:
        phantom: the name of the phantom.
        n: how many examples.
        seed: of the set.
        size: side of the images in pixels, or one number per axis.
    """

    phantom: str
    n: int
    seed: int
    size: int | tuple[int, ...]

    def __len__(self) -> int:
        """How many examples there are."""
        return self.n

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        """Example i, unbatched: image, mask and the phantom's own truth."""
        if not -self.n <= i < self.n:
            raise IndexError(f"example {i} of {self.n}")
        return PHANTOMS[self.phantom](self.seed, int(i) % self.n, self.size)

    @property
    def names(self) -> Sequence[str]:
        """A name for each example."""
        return tuple(f"{self.phantom}-{self.seed}-{i:05d}" for i in range(self.n))


def phantom_source(name: str, n: int, seed: int = 0, size: int | tuple[int, ...] = 64) -> PhantomSource:
    """A data source of `n` phantoms.

    Different seeds give unrelated sets: use one each for training, validation and test.

    Args:
        name: one of `PHANTOMS`.
        n: how many examples.
        seed: of the set, 0 or more.
        size: side of the images in pixels; of volumes one number per axis, too.

    Returns:
        A source with a length, examples by index, and names.

    Raises:
        ValueError: if the name is unknown, or a number is out of range.

    Example:
        >>> source = phantom_source("cells2d", 3, seed=1, size=32)
        >>> len(source), source.names[2], source[2]["mask"].shape
        (3, 'cells2d-1-00002', (32, 32))
    """
    if name not in PHANTOMS:
        raise ValueError(f"no phantom {name!r}; there are {', '.join(sorted(PHANTOMS))}")
    if n < 1 or seed < 0 or np.min(size) < 16:
        raise ValueError(f"a phantom source needs n >= 1, seed >= 0 and size >= 16, got {n}, {seed} and {size}")
    return PhantomSource(name, n, seed, size)
