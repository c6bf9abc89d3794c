"""Hints: images that say where things are, given with the data or by a user, or the edges of the images themselves."""

from os import PathLike

import numpy as np
from scipy import ndimage

from jaxgen.data.checks import hint_values
from jaxgen.data.images import convert_channels, fit_shape, resize
from jaxgen.data.readers import read_image
from jaxgen.data.source import Source
from jaxgen.errors import UserError


def hints_of(source: Source, images: np.ndarray) -> np.ndarray:
    """The hint of every image: that of the data (``control``) at the size of the images, else the edges of the image.

    Args:
        source: the data.
        images: its images at one size, as bytes ``[n, h, w, c]``.

    Returns:
        Bytes ``[n, h, w, 3]``.

    Example:
        >>> from jaxgen.data.source import ArraySource
        >>> source = ArraySource({"image": np.zeros((1, 4, 4, 1)), "control": np.full((1, 4, 4, 1), 255, np.uint8)})
        >>> hints_of(source, np.zeros((1, 2, 2, 1), np.uint8))[0, 0, 0].tolist()
        [255, 255, 255]
    """
    made = np.empty((*images.shape[:-1], 3), np.uint8)
    sides, given = images.shape[1:-1], "control" in source[0]
    for i, image in enumerate(images):
        if given:
            hint = resize(fit_shape(source[i]["control"], sides, "pad", 0), sides)
        else:
            hint = 255 * edges(image / 255)[..., None]
        made[i] = np.round(convert_channels(hint, 3))
    return made


def read_hint(path: str | PathLike[str], size: int, flag: str) -> np.ndarray:
    """A hint that a user gives.

    Args:
        path: of an image in any format that is read; whole numbers from 0 to 255, or none above 1, or 16 bits.
        size: the pixels that it must have along each side.
        flag: named in messages.

    Returns:
        Bytes ``[size, size, 3]``.

    Raises:
        UserError: if the file cannot be read, or is no image of this size in grey or RGB.
    """
    array = read_image(path).array
    if array.ndim != 3 or array.shape[-1] not in (1, 3):
        raise UserError(f"{flag} {path}: not grey and not RGB; give an image of {size} x {size} pixels")
    if array.shape[:2] != (size, size):
        height, width = array.shape[:2]
        raise UserError(
            f"{flag} {path}: {width} x {height} pixels, but the run has hints of {size} x {size}; resize it to that"
        )
    array = array / 257 if array.dtype == np.uint16 and array.max() > 255 else array
    return convert_channels(hint_values(array[None], (1, *array.shape), f"{flag} {path}:")[0], 3)


def edges(image: np.ndarray, *, blur: float = 1.0, low: float = 0.05, high: float = 0.15) -> np.ndarray:
    """Lines of one pixel along the steepest steps of brightness.

    The gradient ``g`` of the image under a Gaussian, kept where it is the largest along its own direction and either
    ``|g| >= high`` or ``|g| >= low`` and joined to such a pixel.

    Args:
        image: ``[h, w, c]``, 0 to 1; the largest gradient of the channels counts.
        blur: standard deviation of the Gaussian, in pixels.
        low: of the gradient, in units of the image per pixel.
        high: the same.

    Returns:
        bool ``[h, w]``.

    Reference:
        Canny 1986, "A computational approach to edge detection", sections IV and V, with four directions.

    Example:
        >>> step = np.zeros((8, 8, 1))
        >>> step[:, 4:] = 1
        >>> int(edges(step)[4].sum())
        1
    """
    parts = [_gradient(channel.astype(np.float32), blur) for channel in np.moveaxis(image, -1, 0)]
    sizes = np.stack([np.hypot(*part) for part in parts])
    along = np.take_along_axis(np.stack(parts, 1), sizes.argmax(0)[None, None], 1)[:, 0]
    size = sizes.max(0)
    ridge = size > 0
    padded = np.pad(size, 1)
    sector = np.round(np.arctan2(along[0], along[1]) / (np.pi / 4)).astype(int) % 4
    for i, (dy, dx) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        here = sector == i
        before, after = (
            padded[1 + s * dy : 1 + s * dy + size.shape[0], 1 + s * dx :][:, : size.shape[1]] for s in (-1, 1)
        )
        ridge &= ~here | ((size > before) & (size >= after))
    labels, _ = ndimage.label(ridge & (size >= low), np.ones((3, 3)))
    strong = np.unique(labels[ridge & (size >= high)])
    return ridge & np.isin(labels, strong[strong > 0])


def _gradient(channel: np.ndarray, blur: float) -> tuple[np.ndarray, np.ndarray]:
    smooth = ndimage.gaussian_filter(channel, blur, mode="nearest")
    down, across = (ndimage.sobel(smooth, axis, mode="nearest") / 8 for axis in (0, 1))
    return down, across
