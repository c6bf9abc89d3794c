"""Open a DICOM file and take what is needed from its tags; a tag that is there but empty counts as absent."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxgen.data.dicom.announced import check_announced_pixels, check_deflated_dicom
from jaxgen.errors import UserError

Tags = Mapping[str, Any]

POSITION, ORIENTATION = "ImagePositionPatient", "ImageOrientationPatient"
NUMBERS = {
    POSITION: 3,
    ORIENTATION: 6,
    "PixelSpacing": 2,
    "SliceThickness": 1,
    "SpacingBetweenSlices": 1,
    "SliceLocation": 1,
    "RescaleSlope": 1,
    "RescaleIntercept": 1,
    "DoseGridScaling": 1,
    "InstanceNumber": 1,
    "InStackPositionNumber": 1,
}
"""Tags of numbers, and how many each has."""

_ORDER = ("InstanceNumber", "InStackPositionNumber", "SliceLocation")

# A volume has one value of each of these, wherever its slices lie.
STRONG = (
    "StackID",
    "EchoNumbers",
    "EchoTime",
    "EffectiveEchoTime",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "ComplexImageComponent",
)
# These may differ within a volume, and tell slices at one place apart.
WEAK = (
    "AcquisitionNumber",
    "FrameAcquisitionNumber",
    "TriggerTime",
    "NominalCardiacTriggerDelayTime",
    "TemporalPositionTimeOffset",
    "DiffusionDirectionality",
    "InversionTime",
    "InversionTimes",
    "SequenceName",
    "FlipAngle",
    "RepetitionTime",
    "ImageType",
    "FrameType",
    "ConvolutionKernel",
    "KVP",
    "ContrastBolusAgent",
    "SeriesNumber",
    "SeriesDescription",
    "AcquisitionTime",
    "FrameAcquisitionDateTime",
)
# Where makers put the b-value before there was a tag for it: group, name of the block, element.
_PRIVATE_B = (
    (0x0019, "SIEMENS MR HEADER", 0x0C),
    (0x0043, "GEMS_PARM_01", 0x39),
    (0x2001, "Philips Imaging DD 001", 0x03),
)
ALIKE = (
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "ConcatenationUID",
    "Modality",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
)
"""Tags that all slices of a volume have alike."""
_PLAIN = ("SOPClassUID", "SOPInstanceUID", *ALIKE, "RescaleType")


class NoImageError(UserError):
    """A DICOM file that holds no image which can be read: a report, a directory, a segmentation."""


class Slice(NamedTuple):
    """One frame of one file.

    Attributes:
        path: the file.
        frame: its number in the file, from 0; None in a file of one.
        tags: what the file says of it, without what is empty; numbers as floats, several as a tuple.
    """

    path: Path
    frame: int | None
    tags: Tags

    @property
    def name(self) -> str:
        """For messages."""
        return self.path.name if self.frame is None else f"{self.path.name} frame {self.frame + 1}"


def pydicom() -> Any:
    """The library.

    Raises:
        UserError: if it is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise UserError("DICOM files need pydicom; install it with: pip install 'jaxgen[dicom]'") from error
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # what matters of it is said by our own lines
    return pydicom


def read(path: Path, **options: Any) -> Any:
    """The data set of a file, once what it announces is known to be within the limit.

    Args:
        path: the file.
        options: of `pydicom.dcmread`.

    Raises:
        UserError: if it would take more memory than a file may.
    """
    check_deflated_dicom(path)
    dataset = pydicom().dcmread(path, **options)
    check_announced_pixels(dataset, path)
    return dataset


def open_file(path: Path, *, pixels: bool) -> Any:
    """The data set of a file that holds an image.

    Args:
        path: the file.
        pixels: whether to read the pixels too.

    Raises:
        NoImageError: if it holds another kind of object.
        UserError: if its image is of a kind that is not read.
    """
    dataset = read(path, stop_before_pixels=not pixels)
    if value(dataset, "Modality") == "SEG" or "SegmentSequence" in dataset:
        raise NoImageError(f"{path}: DICOM SEG is not read as input; convert it to NIfTI")
    if not value(dataset, "Rows") or not value(dataset, "Columns"):
        kind = pydicom().uid.UID(str(value(dataset, "SOPClassUID") or _media_class(dataset))).name
        if not kind or "Image Storage" in kind:  # it should hold one: cut short, perhaps
            raise UserError(f"{path}: DICOM without an image (no Rows and Columns); copy it again, or take it out")
        raise NoImageError(f"{path}: DICOM without an image ({kind}); take it out")
    channels = int(value(dataset, "SamplesPerPixel") or 1)
    if channels not in (1, 3):
        raise UserError(f"{path}: DICOM with {channels} samples a pixel; save it in grey or RGB")
    if value(dataset, "PhotometricInterpretation") == "PALETTE COLOR":
        raise UserError(f"{path}: DICOM with a colour palette; save it in grey or RGB")
    return dataset


def _media_class(dataset: Any) -> str:
    return getattr(dataset, "file_meta", {}).get("MediaStorageSOPClassUID") or ""


def value(dataset: Any, keyword: str) -> Any:
    """The value of a tag; None where it is absent or empty."""
    found = dataset.get(keyword)
    if found is None or (isinstance(found, str) and not found.strip(" \0")):
        return None
    if not isinstance(found, str | bytes) and hasattr(found, "__len__"):
        return found if len(found) and any(v is not None and str(v).strip() for v in found) else None
    return found


def collect(dataset: Any, path: Path, keywords: tuple[str, ...] | None = None) -> dict[str, Any]:
    """The tags of a data set or a sequence's item that are there and not empty.

    Args:
        dataset: the data set.
        path: the file, for messages.
        keywords: which; None for all that are known here.

    Raises:
        UserError: for a number of the rescale or of the geometry that is none, or not as many numbers as a tag has.
    """
    found = {}
    for keyword in (*_PLAIN, *NUMBERS, *STRONG, *WEAK) if keywords is None else keywords:
        try:
            held = value(dataset, keyword)
            if held is not None:
                found[keyword] = _numbers(held, NUMBERS[keyword]) if keyword in NUMBERS else _plain(held)
        except (ValueError, TypeError, OverflowError) as error:
            if keyword not in NUMBERS or keyword in _ORDER:
                continue  # neither values nor places hang on it
            raise UserError(f"{path}: {keyword} cannot be read ({error}); correct this tag, or empty it") from error
    if keywords is None and "DiffusionBValue" not in found and (b := _private_b_value(dataset)) is not None:
        found["DiffusionBValue"] = b
    return found


def _private_b_value(dataset: Any) -> Any:
    """What a maker's own tag says of the b-value, to tell volumes apart; None where there is none."""
    for group, creator, element in _PRIVATE_B:
        try:
            held = dataset.private_block(group, creator)[element].value
            first = held[0] if not isinstance(held, str | bytes) and hasattr(held, "__len__") else held
            return float(first) % 1e6  # of GE's, which may add 10^9 to it
        except (KeyError, ValueError, TypeError, IndexError):  # no such block, or in a form of its own
            continue
    return None


def _numbers(held: Any, count: int) -> Any:
    several = isinstance(held, list | tuple) or type(held).__name__ == "MultiValue"
    numbers = tuple(float(v) for v in held) if several else (float(held),)
    if len(numbers) != count:
        raise ValueError(f"it has {len(numbers)} values, not {count}")
    if not all(math.isfinite(v) for v in numbers):
        raise ValueError("it is not finite")
    return numbers[0] if count == 1 else numbers


def _plain(held: Any) -> Any:
    """Something that can be compared and hashed."""
    if isinstance(held, list | tuple) or type(held).__name__ == "MultiValue":
        return tuple(_plain(v) for v in held)
    return float(held) if isinstance(held, int | float) else str(held).strip(" \0")
