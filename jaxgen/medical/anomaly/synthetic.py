"""Artificial anomalies in healthy images: thresholds and levels of noise are chosen on them, never on true lesions."""

import numpy as np
from scipy import ndimage


def paste_anomalies(
    seed: int,
    x: np.ndarray,
    within: np.ndarray,
    *,
    radius: tuple[float, float] = (2.0, 8.0),
    strength: tuple[float, float] = (0.2, 0.8),
) -> tuple[np.ndarray, np.ndarray]:
    """Paste one blob into each image: brighter or darker than what it covers, or of a value of its own.

    A blob is where smooth noise, added to the distance from a random centre, stays below a random radius: no ellipse,
    so that what is tuned on it is not tuned to the lesions of a phantom. Its edge is a pixel wide. Half of them add
    plus or minus a strength, half replace the image by the value of a random other pixel of its foreground.

    Args:
        seed: of the blobs; image i has the same blob whatever the others are.
        x: healthy images ``[n, *spatial, c]``.
        within: ``[n, *spatial]``, nonzero where a blob may be.
        radius: the least and the largest, in pixels.
        strength: the least and the largest that is added, in the unit of the images.

    Returns:
        The pair (images, masks): ``[n, *spatial, c]`` and booleans ``[n, *spatial]``.

    Raises:
        ValueError: if an image has no foreground.

    Reference:
        Tan et al. 2020, "Detecting outliers with foreign patch interpolation", for anomalies made of healthy images.

    Example:
        >>> images, masks = paste_anomalies(0, np.zeros((2, 16, 16, 1)), np.ones((2, 16, 16)))
        >>> bool((images[..., 0][~masks] == 0).all()), bool(masks.any((1, 2)).all())
        (True, True)
    """
    x, within = np.asarray(x), np.asarray(within) != 0
    shape = x.shape[1:-1]
    out, masks = x.copy(), np.zeros(within.shape, bool)
    places = np.moveaxis(np.indices(shape), 0, -1)
    for i, (image, inside) in enumerate(zip(x, within, strict=True)):
        rng = np.random.default_rng([seed, i])
        foreground = np.argwhere(inside)
        if not len(foreground):
            raise ValueError(f"image {i} has no foreground to paste an anomaly into")
        size = rng.uniform(*radius)
        noise = ndimage.gaussian_filter(rng.standard_normal(shape), max(size / 2, 1.0))
        centre = foreground[rng.integers(len(foreground))]
        distance = np.sqrt(np.square(places - centre).sum(-1)) + 0.3 * size * noise / noise.std()
        cover = np.clip(size - distance + 0.5, 0, 1) * inside
        cover[tuple(centre)] = 1.0
        if rng.uniform() < 0.5:
            change = rng.choice([-1.0, 1.0]) * rng.uniform(*strength)
        else:
            change = image[tuple(foreground[rng.integers(len(foreground))])] - image
        out[i] = image + cover[..., None] * change * (cover[..., None] >= 0.5)
        masks[i] = cover >= 0.5
    return out.astype(x.dtype), masks
