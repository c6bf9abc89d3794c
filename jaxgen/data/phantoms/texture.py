"""What the phantoms share: their random numbers, the pixel grid, smooth random fields."""

import zlib

import numpy as np
from scipy import ndimage


def generator(name: str, seed: int, index: int) -> np.random.Generator:
    """The random numbers of one example: a function of the phantom's name, the seed and the index alone.

    Args:
        name: of the phantom.
        seed: of the set, 0 or more.
        index: of the example, 0 or more.

    Returns:
        A NumPy generator.

    Example:
        >>> a, b = (generator("cells2d", 0, i).integers(1000) for i in (3, 3))
        >>> bool(a == b)
        True
    """
    return np.random.default_rng([zlib.crc32(name.encode()), seed, index])


def pixel_grid(size: int) -> np.ndarray:
    """Coordinates ``[size, size, 2]`` (row, column) of the pixel centres: whole numbers from 0.

    Args:
        size: side of the image in pixels.

    Returns:
        float64 ``[size, size, 2]``.

    Example:
        >>> pixel_grid(4)[2, 3].tolist()
        [2.0, 3.0]
    """
    return np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij"), axis=-1).astype(float)


def smooth_field(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """White noise blurred with a Gaussian of `scale` pixels, brought to mean 0 and standard deviation 1.

    Args:
        rng: the random numbers.
        size: side of the image in pixels.
        scale: standard deviation of the blur in pixels.

    Returns:
        float64 ``[size, size]``.

    Example:
        >>> smooth_field(generator("x", 0, 0), 16, 4.0).std().round(6).item()
        1.0
    """
    field = ndimage.gaussian_filter(rng.normal(size=(size, size)), scale, mode="reflect")
    return (field - field.mean()) / field.std()
