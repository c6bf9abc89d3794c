"""What a file says of each of its frames: functional groups, shared and per frame, over the tags of the file.

Enhanced (multi-frame) files keep rescale, spacing, position and orientation in functional groups. What a frame's own
group says goes before the shared group, and that before the file's tags. Real world value mappings are not applied.
"""

from pathlib import Path
from typing import Any

import numpy as np

from jaxgen.data.dicom.tags import ORIENTATION, POSITION, STRONG, WEAK, Slice, collect, value
from jaxgen.errors import UserError

_GROUPS: dict[str, tuple[str, ...]] = {
    "UnassignedSharedConvertedAttributesSequence": (*STRONG, *WEAK),
    "UnassignedPerFrameConvertedAttributesSequence": (*STRONG, *WEAK),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    "PlanePositionSequence": (POSITION,),
    "PlaneOrientationSequence": (ORIENTATION,),
    "FrameContentSequence": (
        "StackID",
        "InStackPositionNumber",
        "TemporalPositionIndex",
        "FrameAcquisitionNumber",
        "FrameAcquisitionDateTime",
    ),
    "TemporalPositionSequence": ("TemporalPositionTimeOffset",),
    "MREchoSequence": ("EffectiveEchoTime",),
    "MRDiffusionSequence": ("DiffusionBValue", "DiffusionDirectionality"),
    "MRModifierSequence": ("InversionTimes",),
    "MRTimingAndRelatedParametersSequence": ("RepetitionTime", "FlipAngle"),
    "MRImageFrameTypeSequence": ("FrameType", "ComplexImageComponent"),
    "CTImageFrameTypeSequence": ("FrameType",),
    "PETFrameTypeSequence": ("FrameType",),
    "CTReconstructionSequence": ("ConvolutionKernel",),
    "CTXRayDetailsSequence": ("KVP",),
    "CardiacSynchronizationSequence": ("NominalCardiacTriggerDelayTime",),
}


MAX_FRAMES = 2**18


def frame_count(dataset: Any, path: Path) -> int:
    """How many frames a file says it has.

    Raises:
        UserError: if that is no number of frames.
    """
    try:
        count = int(value(dataset, "NumberOfFrames") or 1)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: NumberOfFrames cannot be read ({error}); correct this tag, or empty it") from error
    if count < 1:
        raise UserError(f"{path}: NumberOfFrames is {count}; correct this tag, or copy the file again")
    if count > 1 and count > min(path.stat().st_size, MAX_FRAMES):
        raise UserError(
            f"{path}: NumberOfFrames is {count} in a file of {path.stat().st_size} bytes (at most {MAX_FRAMES} are "
            "read); correct this tag, or cut the file into smaller ones"
        )
    return count


def slices(dataset: Any, path: Path) -> list[Slice]:
    """One slice for each frame of a file, in the order of the file.

    Raises:
        UserError: if the functional groups are not one per frame, or a tag cannot be read.
    """
    count = frame_count(dataset, path)
    tags = collect(dataset, path)
    shared = value(dataset, "SharedFunctionalGroupsSequence") or []
    each = value(dataset, "PerFrameFunctionalGroupsSequence") or []
    if each and len(each) != count:
        raise UserError(
            f"{path}: {count} frames, but PerFrameFunctionalGroupsSequence describes {len(each)}; "
            "frames are missing: copy it again from where it came"
        )
    if tags.get("Modality") == "RTDOSE" and "DoseGridScaling" in tags:
        tags |= {"RescaleSlope": tags["DoseGridScaling"], "RescaleIntercept": 0.0}
    if count == 1:
        return [Slice(path, None, _of_groups(tags, [*shared[:1], *each], path))]
    tags.pop("InstanceNumber", None)  # of the file, not of a frame
    tags.pop("SliceLocation", None)
    if not shared and not each:
        grid = _offsets(dataset, tags, count)
        return [Slice(path, i, tags | grid[i] if grid else tags) for i in range(count)]
    tags.pop(POSITION, None)
    common = _of_groups(tags, list(shared[:1]), path)
    return [Slice(path, i, _of_groups(common, [each[i]] if each else [], path)) for i in range(count)]


def _of_groups(tags: dict[str, Any], groups: list[Any], path: Path) -> dict[str, Any]:
    found = dict(tags)
    for group in groups:
        for sequence, keywords in _GROUPS.items():
            for item in value(group, sequence) or []:
                found |= collect(item, path, keywords)
                for inner in value(item, "DiffusionGradientDirectionSequence") or []:
                    found |= collect(inner, path, ("DiffusionGradientOrientation",))
    return found


def _offsets(dataset: Any, tags: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """The places of the frames of a dose grid; none for other files, whose first place alone could be known."""
    origin, cosines = tags.pop(POSITION, None), tags.get(ORIENTATION)
    offsets = value(dataset, "GridFrameOffsetVector")
    if origin is None or cosines is None or offsets is None or len(offsets) != count or float(offsets[0]) != 0:
        return []
    normal = np.cross(cosines[:3], cosines[3:])
    return [{POSITION: tuple((np.array(origin) + normal * float(o)).tolist())} for o in offsets]
