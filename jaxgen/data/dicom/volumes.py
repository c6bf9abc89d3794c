"""Which slices make up which volume.

Slices of one series, size, orientation and pixel size belong together. Where echoes, b-values or time points lie
among each other, or several slices lie at one place, tags tell the volumes apart; where no tag does, the volume has a
problem in words, and is not read.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jaxgen.data.dicom.geometry import difference, is_placed, places, rank, unevenness
from jaxgen.data.dicom.tags import STRONG, WEAK, Slice, Tags

# What is taken from one side, image by image, and is no stack where no positions say so.
_PROJECTIONS = ("DX", "CR", "MG", "XA", "RF", "PX", "IO", "XC", "ES", "GM", "SM", "OP", "US", "DG", "TG", "RG")


class Volume(NamedTuple):
    """Slices that belong together.

    Attributes:
        slices: in order.
        problem: why they cannot be read as a volume; None if they can.
    """

    slices: tuple[Slice, ...]
    problem: str | None = None


def volumes(slices: Iterable[Slice]) -> list[Volume]:
    """Sort slices into volumes.

    Args:
        slices: of any files, without copies.

    Returns:
        Volumes in the order of their first slices; a slice that belongs to none is one by itself.
    """
    series: dict[object, list[Slice]] = {}
    for s in slices:  # frames of one file stay with it, unless the file is a part of a larger one
        whole = None if s.frame is None else s.tags.get("ConcatenationUID", s.path)
        series.setdefault((whole, s.tags.get("SeriesInstanceUID")), []).append(s)
    groups = [group for part in series.values() for group in _cluster(part, lambda a, b: difference(a, b) is None)]
    return [volume for group in groups for volume in _separate(group)]


def telling_tag(a: Tags, b: Tags) -> str | None:
    """The tag by which two volumes are told apart."""
    return difference(a, b) or next((tag for tag in (*STRONG, *WEAK) if _differ(a.get(tag), b.get(tag))), None)


def _separate(group: list[Slice]) -> list[Volume]:
    if len(group) == 1:
        return [Volume((group[0],))]
    first = group[0].tags
    found = places(group)
    flat = not is_placed(first) and group[0].frame is None and first.get("Modality") in _PROJECTIONS
    if found is None or flat:
        return [Volume((s,)) for s in group]
    along, in_mm = found
    parts = _cluster(group, lambda a, b: not any(_differ(a.get(tag), b.get(tag)) for tag in STRONG))
    if len(parts) > 1 and (not in_mm or _mixed(parts, group, along)):
        return [volume for part in parts for volume in _separate(part)]
    ranks = rank(along, first)
    count = int(ranks.max()) + 1
    if count == 1 and group[0].frame is None:
        return [Volume((s,)) for s in group]
    most = int(np.bincount(ranks).max())
    order = np.lexsort((np.arange(len(group)), along))
    ordered = [group[i] for i in order]
    problem = None
    if most > 1:
        crowded = [group[i] for i in np.flatnonzero(ranks == np.bincount(ranks).argmax())]
        problem = (
            f"{most} slices lie at one place ({crowded[0].name}, {crowded[1].name}; {len(group)} slices at {count} "
            "places), and no tag tells them apart; put each acquisition into a folder of its own"
        )
    elif in_mm and (uneven := unevenness(ordered, along[order])):
        problem = f"{uneven}: a slice is missing, or several scans are mixed; copy it again, or take the rest out"
    if problem is None:
        return [Volume(tuple(ordered))]
    return _by_weak_tags(group, along, ranks, most) or [Volume(tuple(ordered), problem)]


def _by_weak_tags(group: list[Slice], along: np.ndarray, ranks: np.ndarray, most: int) -> list[Volume] | None:
    """The volumes that tags tell apart, if each place is then taken once and each volume is even."""
    keys: list[tuple[object, ...]] = [()] * len(group)
    limit = max(most, 2)
    for tag in WEAK:
        finer = [(*key, s.tags.get(tag)) for key, s in zip(keys, group, strict=True)]
        if len(set(keys)) < len(set(finer)) <= limit:
            keys = finer
    named = list(dict.fromkeys(keys))
    parts = [[s for key, s in zip(keys, group, strict=True) if key == name] for name in named]
    if len(parts) < 2 or (most > 1 and len(parts) != most) or not _mixed(parts, group, along):
        return None
    if most == 1 and min(len(part) for part in parts) < 3:
        return None
    numbers = {id(s): int(r) for s, r in zip(group, ranks, strict=True)}
    if any(len({numbers[id(s)] for s in part}) < len(part) for part in parts):
        return None
    return [volume for part in parts for volume in _separate(part)]


def _mixed(parts: Sequence[list[Slice]], group: list[Slice], along: np.ndarray) -> bool:
    """Whether the parts of a group lie among each other along the stack."""
    at = {id(s): float(x) for s, x in zip(group, along, strict=True)}
    ranges = sorted((min(at[id(s)] for s in part), max(at[id(s)] for s in part)) for part in parts)
    return any(after[0] <= before[1] for before, after in itertools.pairwise(ranges))


def _cluster(slices: Iterable[Slice], alike: Callable[[Tags, Tags], bool]) -> list[list[Slice]]:
    groups: list[list[Slice]] = []
    for s in slices:
        for group in reversed(groups):
            if alike(group[0].tags, s.tags):
                group.append(s)
                break
        else:
            groups.append([s])
    return groups


def _differ(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) > 0.01 * max(abs(a), abs(b))
    return a != b
