"""From stored pixels to values: modality LUT or rescale, then MONOCHROME1 turned round.

value = slope * stored + intercept, or LUT[stored], with the slope and intercept of the frame. The values of a LUT's
ends stand for what lies outside it. Windows (VOI LUT) and real world value mappings are not applied, and pixels of
padding stay what they are.

In MONOCHROME1 less is brighter. Such values are reflected within the range that stored values can have, rescaled:
x -> value(lowest) + value(highest) - x, so that equal pixels stay equal in every file of a series. Values with a unit
(Hounsfield units, those of PET, doses) mean what they say however they are shown, and are never reflected.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen.data.dicom.tags import Slice, Tags, pydicom, value
from jaxgen.errors import UserError

_DISPLAY_UNITS = ("", "US", "OD")  # unspecified, optical density: numbers for the eye
_DECOMPRESS = "decompress it, for example with `gdcmconv --raw`"
_MORE_DECODERS = f"if the file is whole, pip install 'pylibjpeg[all]', or {_DECOMPRESS}"
_UNIT_MODALITIES = ("CT", "PT", "RTDOSE")


def values(dataset: Any, frames: Sequence[Slice], path: Path) -> list[np.ndarray]:
    """The values of some frames of a file.

    Args:
        dataset: the file, with its pixels.
        frames: which frames, and what is said of them.
        path: the file, for messages.

    Returns:
        For each frame [rows, columns, c]: as stored, or int16 or float32 where there is a rescale.

    Raises:
        UserError: if the pixels cannot be decoded or a tag makes no sense.
    """
    stored = _stored(dataset, path)
    channels = int(dataset.SamplesPerPixel)
    stored = stored.reshape((-1, int(dataset.Rows), int(dataset.Columns), channels))
    last = max(frame.frame or 0 for frame in frames)
    if len(stored) <= last:
        raise UserError(f"{path}: {len(stored)} frames of pixels where {last + 1} are said; copy it again")
    said = max(last + 1, int(value(dataset, "NumberOfFrames") or 1))
    if len(stored) > said:
        raise UserError(f"{path}: {len(stored)} frames of pixels where NumberOfFrames is {said}; correct it")
    return [_frame_values(stored[frame.frame or 0], dataset, frame.tags, path) for frame in frames]


def _stored(dataset: Any, path: Path) -> np.ndarray:
    """Decoded pixels; colour as RGB."""
    if not any(keyword in dataset for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise UserError(f"{path}: DICOM without its pixels; copy it again from where it came, or take it out")
    _complete(dataset, path)
    syntax = _need_decoder(dataset, path)
    if "PixelData" not in dataset:
        return dataset.pixel_array
    allocated, bits, high = (int(dataset[k].value) for k in ("BitsAllocated", "BitsStored", "HighBit"))
    if not 1 <= bits <= allocated or not bits - 1 <= high < allocated:
        raise UserError(f"{path}: BitsStored {bits} and HighBit {high} of {allocated} bits; correct these tags")
    if high != bits - 1 and not syntax.is_compressed:
        dataset.pixel_array_options(correct_unused_bits=False)
        return (dataset.pixel_array << (allocated - 1 - high)) >> (allocated - bits)
    try:
        return dataset.pixel_array
    except RuntimeError as error:  # what each decoder had to say
        if not syntax.is_compressed:
            raise
        reason = " ".join(str(error).split())[-120:]
        raise UserError(f"{path}: cannot be decoded from {syntax.name} (... {reason}); {_MORE_DECODERS}") from error


def _complete(dataset: Any, path: Path) -> None:
    """Give tags that are empty the values that they have where they are absent."""
    if value(dataset, "NumberOfFrames") is None and "NumberOfFrames" in dataset:
        del dataset.NumberOfFrames
    if value(dataset, "SamplesPerPixel") is None:
        dataset.SamplesPerPixel = 1
    if value(dataset, "PhotometricInterpretation") is None:
        dataset.PhotometricInterpretation = "MONOCHROME2" if dataset.SamplesPerPixel == 1 else "RGB"
    if value(dataset, "PlanarConfiguration") is None and dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    if "PixelData" not in dataset:
        return
    for keyword in ("BitsAllocated", "PixelRepresentation"):
        if value(dataset, keyword) is None:
            raise UserError(f"{path}: {keyword} is empty, and pixels cannot be told without it; fill it in")
    if value(dataset, "BitsStored") is None:
        dataset.BitsStored = dataset.BitsAllocated
    if value(dataset, "HighBit") is None:
        dataset.HighBit = dataset.BitsStored - 1


def _need_decoder(dataset: Any, path: Path) -> Any:
    """The transfer syntax, for which there is a decoder."""
    pydicom()
    from pydicom.pixels import get_decoder

    syntax = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    if not syntax:
        raise UserError(f"{path}: DICOM without a TransferSyntaxUID; save it again with any DICOM tool")
    if not syntax.is_private and not syntax.is_compressed:
        return syntax
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise UserError(f"{path}: compressed as {syntax.name}, which is not read; {_DECOMPRESS}") from error
    if not decoder.is_available:
        raise UserError(f"{path}: compressed as {syntax.name}, and no decoder for it is installed; {_MORE_DECODERS}")
    return syntax


def _frame_values(stored: np.ndarray, dataset: Any, tags: Tags, path: Path) -> np.ndarray:
    photometric = value(dataset, "PhotometricInterpretation")
    if stored.shape[-1] == 3:
        return stored
    turned = photometric == "MONOCHROME1" and not _has_unit(tags)
    table = value(dataset, "ModalityLUTSequence")
    if table:
        turned = turned and str(value(table[0], "ModalityLUTType") or "").upper() in _DISPLAY_UNITS
        found, bits = _look_up(stored, table[0], dataset, path)
        return (2**bits - 1 - found).astype(found.dtype) if turned else found
    if turned and stored.dtype.kind in "iu":  # lowest + highest = -1 in two's complement
        ends = -1 if dataset.PixelRepresentation else 2 ** int(dataset.BitsStored) - 1
        stored = (ends - stored.astype(np.int64)).astype(stored.dtype)
    elif turned:
        raise UserError(f"{path}: MONOCHROME1 with fractions, which have no range to invert in; save as MONOCHROME2")
    slope, intercept = tags.get("RescaleSlope", 1.0), tags.get("RescaleIntercept", 0.0)
    if slope == 0:
        raise UserError(f"{path}: RescaleSlope is 0, which makes all pixels equal; correct this tag, or empty it")
    if (slope, intercept) == (1.0, 0.0):
        return stored
    scaled = stored * np.float64(slope) + intercept
    whole = stored.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer()
    if whole and scaled.min() >= -(2**15) and scaled.max() < 2**15:
        return scaled.astype(np.int16)
    return scaled.astype(np.float32)


def _has_unit(tags: Tags) -> bool:
    if tags.get("RescaleType", "").upper() not in _DISPLAY_UNITS or tags.get("Modality") in _UNIT_MODALITIES:
        return True
    ct = "CT Image Storage" in pydicom().uid.UID(tags.get("SOPClassUID", "")).name
    return ct and "Modality" not in tags and "RescaleIntercept" in tags


def _look_up(stored: np.ndarray, table: Any, dataset: Any, path: Path) -> tuple[np.ndarray, int]:
    """Values by the modality LUT, and their number of bits."""
    descriptor, data = value(table, "LUTDescriptor"), value(table, "LUTData")
    if descriptor is None or len(descriptor) != 3 or data is None or stored.dtype.kind not in "iu":
        raise UserError(f"{path}: ModalityLUTSequence without a table; correct it, or take the sequence out")
    count, first, bits = (int(v) for v in descriptor)
    count, first = count % 2**16 or 2**16, first % 2**16  # whatever sign the file gave them
    if dataset.PixelRepresentation and first >= 2**15:
        first -= 2**16
    if isinstance(data, bytes):
        wide = len(data) >= 2 * count
        little = dataset.file_meta.TransferSyntaxUID.is_little_endian
        words = "<u2" if little else ">u2"
        entries = np.frombuffer(data[: len(data) // 2 * 2], words) if wide else np.frombuffer(data, np.uint8)
    else:
        entries = np.atleast_1d(np.asarray(data, np.int64)) % 2**16
    if len(entries) < count or not 1 <= bits <= 16:
        raise UserError(f"{path}: a modality LUT of {len(entries)} entries that should have {count}; correct it")
    entries = entries[:count].astype(np.uint8 if bits <= 8 else np.uint16)
    return entries[np.clip(stored.astype(np.int64) - first, 0, count - 1)], bits
