"""DICOM files that would unpack to too much, told before pydicom reads them."""

import struct
from pathlib import Path
from typing import Any

from jaxgen.data import limits

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")


def check_deflated_dicom(path: Path) -> None:
    """Refuse a deflated data set that unpacks to more than it may: pydicom unpacks all of it, for a header too.

    Raises:
        UserError: as `jaxgen.data.limits.check_size`.
    """
    with open(path, "rb") as file:
        if file.read(132)[128:] != b"DICM":
            return
        deflated = False
        while True:  # the elements of group 2 are explicit and little endian in every file
            start, head = file.tell(), file.read(8)
            if len(head) < 8 or head[:2] != b"\x02\x00":
                break
            long = head[4:6] in _LONG
            (length,) = struct.unpack("<I", file.read(4).ljust(4, b"\0")) if long else struct.unpack("<H", head[6:])
            if head[2:4] == b"\x10\x00":
                deflated = file.read(min(length, 64)).rstrip(b"\0 ") == _DEFLATED
            file.seek(start + (12 if long else 8) + length)
        if deflated:
            file.seek(start)
            limits.check_deflated(path, file)


def check_announced_pixels(dataset: Any, path: Path) -> None:
    """Refuse a data set whose pixels would take more than they may.

    Raises:
        UserError: as `jaxgen.data.limits.check_size`.
    """
    try:
        count = int(dataset.get("Rows") or 0) * int(dataset.get("Columns") or 0)
        count *= int(dataset.get("NumberOfFrames") or 1) * int(dataset.get("SamplesPerPixel") or 1)
        size = int(dataset.get("BitsAllocated") or 16) / 8
    except (TypeError, ValueError):
        return  # named by whoever needs them
    rescaled = "RescaleSlope" in dataset or "SharedFunctionalGroupsSequence" in dataset
    limits.check_size(path, int(count * (8 if rescaled else size)))  # rescaled in float64
