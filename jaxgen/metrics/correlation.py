"""How alike two images are but for brightness, contrast and a small shift."""

import numpy as np


def aligned_correlation(images: np.ndarray, reference: np.ndarray, corner: tuple[int, int], reach: int) -> np.ndarray:
    """The normalised cross-correlation of images with a reference, at the best of all small shifts.

    ``max_s sum (x_s - mean x_s)(r - mean r) / (|x_s - mean x_s| |r - mean r|)``, x_s the window of the image that lies
    where the reference was cut out, moved by s pixels.

    Args:
        images: ``[n, h, w, c]``.
        reference: ``[k, l, c]``, an image or a part of one.
        corner: row and column of its first pixel in the image.
        reach: the most pixels that it is moved along each axis; windows beyond the border are left out.

    Returns:
        ``[n]`` in [-1, 1]; 0 for a window or a reference without any contrast.

    Raises:
        ValueError: if the reference does not lie within the images.

    Reference:
        Lewis 1995, "Fast normalized cross-correlation", Vision Interface, equation 1.

    Example:
        >>> image = np.random.default_rng(0).normal(size=(1, 9, 9, 1))
        >>> aligned_correlation(image, 3 * image[0, 4:8, 3:7] - 1, (3, 3), 1).round(6).tolist()
        [1.0]
    """
    (rows, columns), (height, width) = reference.shape[:2], images.shape[1:3]
    top, left = corner
    if min(corner) < 0 or top + rows > height or left + columns > width or reference.shape[2:] != images.shape[3:]:
        raise ValueError(f"a reference of {reference.shape} at {corner} does not lie within images of {images.shape}")
    target = _normed(np.asarray(reference, np.float64)[None])[0]
    found = []
    for i in range(max(0, top - reach), min(height - rows, top + reach) + 1):
        for j in range(max(0, left - reach), min(width - columns, left + reach) + 1):
            window = _normed(np.asarray(images[:, i : i + rows, j : j + columns], np.float64))
            found.append(np.einsum("nijc,ijc->n", window, target))
    return np.max(found, axis=0)


def _normed(windows: np.ndarray) -> np.ndarray:
    """Windows ``[n, k, l, c]`` with mean 0 and norm 1."""
    axes = (1, 2, 3)
    centred = windows - windows.mean(axes, keepdims=True)
    norm = np.sqrt(np.square(centred).sum(axes, keepdims=True))
    return centred / np.where(norm > 1e-9, norm, np.inf)
