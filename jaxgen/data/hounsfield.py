"""Whether images can be in Hounsfield units."""

from jaxgen.data.source import Source, evenly_spaced
from jaxgen.errors import UserError

_LEAST_WIDTH = 100.0


def check_hounsfield(source: Source, where: str, *, most: int = 50) -> None:
    """Refuse images that are not in Hounsfield units (air -1000, fat -100, water 0).

    8-bit pictures, values from 0 to 1 or from -1 to 1, and CT numbers with their offset of 1024 all give attenuation
    that no body has, and no error anywhere else.

    Args:
        source: images ``[*spatial, c]`` with raw values; of none there is nothing to say.
        where: the data, for the message.
        most: look at this many images at most, evenly spaced.

    Raises:
        UserError: if no value is below 0, or all lie within a range of 100.

    Example:
        >>> import numpy as np
        >>> from jaxgen.data.source import ArraySource
        >>> check_hounsfield(ArraySource({"image": np.array([[-1000.0, 40.0]])}), "ct.npz")
        >>> check_hounsfield(ArraySource({"image": np.array([[0, 255]], np.uint8)}), "ct.npz")
        Traceback (most recent call last):
        ...
        jaxgen.errors.UserError: ct.npz: values from 0 to 255 are no Hounsfield units (air -1000, water 0); ...
    """
    if not len(source):
        return
    chosen = evenly_spaced(len(source), most)
    found = [(float(image.min()), float(image.max())) for image in (source[int(i)]["image"] for i in chosen)]
    low, high = min(low for low, _ in found), max(high for _, high in found)
    if low < 0 and high - low >= _LEAST_WIDTH:
        return
    fix = "subtract the offset of 1024" if high > 1000 else "undo the scaling, or read the scans from DICOM or NIfTI"
    raise UserError(f"{where}: values from {low:g} to {high:g} are no Hounsfield units (air -1000, water 0); {fix}")
