"""Phantom `ambig2d`: one blob with a soft edge and four readers who disagree by a known law."""

import numpy as np

from jaxgen.data.phantoms.texture import generator, pixel_grid

READER_SCALES = np.array([1.0, 0.7, 1.35, 0.0], np.float32)
"""Each reader's disc as a multiple of the blob's radius; the last one sees nothing."""

READER_LAW = np.array([0.40, 0.25, 0.25, 0.10], np.float32)
"""The probability that a reading is that of each reader."""


def ambig2d(seed: int, index: int, size: int = 64) -> dict[str, np.ndarray]:
    """One blob read by four readers: discs of r, 0.7 r, 1.35 r and none, with probabilities 0.4, 0.25, 0.25, 0.1.

    The blob's edge fades over 0.2 r, and nothing in the image tells which reader will mark it, so the law of masks
    given the image is exactly `READER_LAW` over ``masks``. All discs lie within the frame; a signed distance is
    ``|p - centre| - radius``, or the length of the image's diagonal everywhere for the reader who sees nothing.

    Args:
        seed: of the set.
        index: of the example.
        size: side of the image in pixels, 16 or more.

    Returns:
        ``image [size, size, 1]`` float32; ``masks [4, size, size]`` uint8 and ``sdfs`` float32 of the readers;
        ``law [4]`` float32, their probabilities; ``reader`` int32, one drawn from the law; ``mask [size, size]`` and
        ``sdf``, that reader's. Always ``mask == (sdf <= 0)``.

    Raises:
        ValueError: if `size` is below 16.

    Example:
        >>> example = ambig2d(0, 0, size=32)
        >>> example["masks"].shape, example["law"].round(2).tolist()[0], int(example["masks"][3].sum())
        ((4, 32, 32), 0.4000000059604645, 0)
    """
    if size < 16:
        raise ValueError(f"ambig2d needs a size of 16 pixels or more, got {size}")
    rng = generator("ambig2d", seed, index)
    radius, centre = size * rng.uniform(0.14, 0.20), size * rng.uniform(0.35, 0.65, 2)
    contrast, reader = rng.uniform(0.5, 1.5), rng.choice(4, p=[0.40, 0.25, 0.25, 0.10])
    distance = np.linalg.norm(pixel_grid(size) - centre, axis=-1)
    discs = distance - radius * READER_SCALES[:, None, None]
    absent = READER_SCALES[:, None, None] == 0
    sdfs = np.where(absent, np.sqrt(2) * size, discs).astype(np.float32)
    masks = (sdfs <= 0).astype(np.uint8)
    image = 0.2 + contrast / (1 + np.exp((distance - radius) / (0.2 * radius)))
    image += 0.1 * rng.normal(size=image.shape)
    return {
        "image": image[..., None].astype(np.float32),
        "mask": masks[reader],
        "sdf": sdfs[reader],
        "masks": masks,
        "sdfs": sdfs,
        "law": READER_LAW.copy(),
        "reader": np.asarray(reader, np.int32),
    }
