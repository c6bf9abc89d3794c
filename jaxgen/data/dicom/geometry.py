"""Where slices lie: their order, whether they form an even stack, and its affine.

A place is the distance of a slice along the normal of its plane. Tolerances: direction cosines may differ by 1e-3,
pixel sizes by one part in a thousand, and steps between slices by 5 %, with no slice farther than 10 % of a step from
where an even stack would have it. Places that are rounded to a tenth of a millimetre may differ by that much, though by
no more than a quarter of a step.
"""

from collections.abc import Sequence

import numpy as np

from jaxgen.data.dicom.tags import ALIKE, ORIENTATION, POSITION, Slice, Tags

COSINES = 1e-3
_SIZES = 1e-3
_STEP = 0.05
_PLACE = 0.1
_ROUNDED = 0.101
_PRESENT = (POSITION, ORIENTATION, "PixelSpacing", "RescaleIntercept", "RescaleSlope")


def directions(tags: Tags) -> np.ndarray | None:
    """Unit vectors [2, 3] along a row and along a column; None where the file does not say.

    Cosines of zeros, as anonymisers leave them, and cosines that are no two perpendicular directions say nothing.
    """
    if ORIENTATION not in tags:
        return None
    found = np.array(tags[ORIENTATION]).reshape(2, 3)
    lengths = np.linalg.norm(found, axis=1)
    if (np.abs(lengths - 1) > 0.01).any() or abs(found[0] @ found[1]) > 0.01:
        return None
    return found / lengths[:, None]


def spacing(tags: Tags) -> tuple[float, float] | None:
    """Millimetres between rows and between columns; None where the file does not say."""
    found = tags.get("PixelSpacing")
    return found if found is not None and min(found) > 0 else None


def is_placed(tags: Tags) -> bool:
    """Whether a slice says where it lies."""
    return POSITION in tags and directions(tags) is not None


def difference(a: Tags, b: Tags) -> str | None:
    """The first tag by which two slices cannot belong to one stack.

    Example:
        >>> difference({"Rows": 4.0, "PixelSpacing": (0.5, 0.5)}, {"Rows": 4.0, "PixelSpacing": (0.9, 0.9)})
        'PixelSpacing'
    """
    for tag in ALIKE:
        if a.get(tag) != b.get(tag):
            return tag
    for tag in _PRESENT:
        if (tag in a) != (tag in b):
            return tag
    if any(abs(x - y) > COSINES for x, y in zip(a.get(ORIENTATION, ()), b.get(ORIENTATION, ()), strict=True)):
        return ORIENTATION
    sizes = zip(a.get("PixelSpacing", ()), b.get("PixelSpacing", ()), strict=True)
    if any(abs(x - y) > _SIZES * abs(y) for x, y in sizes):
        return "PixelSpacing"
    return None


def places(slices: Sequence[Slice]) -> tuple[np.ndarray, bool] | None:
    """The place of each slice along the stack, and whether it is in millimetres.

    Without positions the slices are ordered by SliceLocation, InStackPositionNumber or InstanceNumber, in this order:
    the first that all have and that is not the same for all. Frames of a file that say nothing are in their order.
    """
    first = slices[0].tags
    if all(is_placed(s.tags) for s in slices):
        cosines = directions(first)
        assert cosines is not None
        return np.array([s.tags[POSITION] for s in slices]) @ np.cross(*cosines), True
    for tag in ("SliceLocation", "InStackPositionNumber", "InstanceNumber"):
        found = [s.tags.get(tag) for s in slices]
        if None not in found and len(set(found)) > 1:
            return np.array(found, float), tag == "SliceLocation"
    if all(s.frame is not None and s.path == slices[0].path for s in slices):
        return np.array([s.frame for s in slices], float), False
    return None


def rank(along: np.ndarray, tags: Tags) -> np.ndarray:
    """For each slice the number of its place, from 0; slices at one place share it."""
    order = np.argsort(along, kind="stable")
    steps = np.diff(along[order])
    size = spacing(tags)
    near = max(0.05 * float(steps.mean()) if len(steps) else 0.0, 0.01 * min(size) if size else 0.0)
    found = np.zeros(len(along), int)
    found[order[1:]] = np.cumsum(steps > near)
    return found


def unevenness(slices: Sequence[Slice], along: np.ndarray) -> str | None:
    """What is wrong with the steps of a stack in the order of its places; None if they are even."""
    if len(slices) < 3:
        return None
    points = along[:, None]
    if is_placed(slices[0].tags):
        points = np.array([s.tags[POSITION] for s in slices])
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    usual = float(np.median(steps))
    even = points[0] + np.linspace(0, 1, len(points))[:, None] * (points[-1] - points[0])
    away = np.linalg.norm(points - even, axis=1)
    worst = int(np.abs(steps - usual).argmax())
    rounded = min(_ROUNDED, usual / 4)
    if abs(steps[worst] - usual) <= max(_STEP * usual, rounded) and away.max() <= max(_PLACE * usual, rounded):
        return None
    return (
        f"{steps[worst]:.4g} mm from {slices[worst].name} to {slices[worst + 1].name} where most of its "
        f"{len(slices)} slices are {usual:.4g} mm apart"
    )


def affine(slices: Sequence[Slice]) -> np.ndarray | None:
    """[column, row, slice] to millimetres in NIfTI's axes, whose x and y point the other way than DICOM's.

    The third column is the mean step from slice to slice, which a tilted gantry does not keep at right angles.

    Args:
        slices: in order.

    Returns:
        [4, 4], or None where position, orientation or spacing are not said.
    """
    tags = slices[0].tags
    cosines, size = directions(tags), spacing(tags)
    if cosines is None or size is None or not all(is_placed(s.tags) for s in slices):
        return None
    found = np.eye(4)
    found[:3, 0] = cosines[0] * size[1]
    found[:3, 1] = cosines[1] * size[0]
    if len(slices) > 1:
        step = np.subtract(slices[-1].tags[POSITION], tags[POSITION])
        found[:3, 2] = step / (len(slices) - 1)
    else:
        thickness = abs(tags.get("SpacingBetweenSlices", 0.0)) or abs(tags.get("SliceThickness", 0.0)) or 1.0
        found[:3, 2] = np.cross(*cosines) * thickness
    found[:3, 3] = tags[POSITION]
    found[:2] *= -1
    return found
