"""Phantom `ambig2d`: one blob with a soft edge and four raters who disagree with known probabilities."""

import numpy as np

from jaxgen.data.phantoms.texture import generator, pixel_grid

RATER_SCALES = np.array([1.0, 0.7, 1.35, 0.0], np.float32)
"""Each rater's disc as a multiple of the blob's radius; the last one sees nothing."""

RATER_PROBABILITIES = np.array([0.40, 0.25, 0.25, 0.10], np.float32)
"""The probability that an annotation is that of each rater."""

RATERS = 20
"""Of `ambiguous_raters`."""


def ambig2d(seed: int, index: int, size: int = 64) -> dict[str, np.ndarray]:
    """One blob annotated by four raters: discs of r, 0.7 r, 1.35 r and none, with probabilities 0.4, 0.25, 0.25, 0.1.

    The blob's edge fades over 0.2 r, and nothing in the image tells which rater annotated it, so the distribution
    of masks given the image is exactly `RATER_PROBABILITIES` over ``masks``. All discs lie within the frame; a signed
    distance is ``|p - centre| - radius``, or the image's diagonal everywhere for the rater who sees nothing.

    Args:
        seed: of the set.
        index: of the example.
        size: side of the image in pixels, 16 or more.

    Returns:
        ``image [size, size, 1]`` float32; ``masks [4, size, size]`` uint8 and ``sdfs`` float32 of the raters;
        ``rater_probabilities [4]`` float32; ``rater`` int32, one drawn with these probabilities; ``mask [size, size]``
        and ``sdf``, that rater's. Always ``mask == (sdf <= 0)``.

    Raises:
        ValueError: if `size` is below 16.

    Example:
        >>> example = ambig2d(0, 0, size=32)
        >>> example["masks"].shape, example["rater_probabilities"].round(2).tolist()[0], int(example["masks"][3].sum())
        ((4, 32, 32), 0.4000000059604645, 0)
    """
    if size < 16:
        raise ValueError(f"ambig2d needs a size of 16 pixels or more, got {size}")
    rng = generator("ambig2d", seed, index)
    radius, centre = size * rng.uniform(0.14, 0.20), size * rng.uniform(0.35, 0.65, 2)
    contrast, rater = rng.uniform(0.5, 1.5), rng.choice(4, p=[0.40, 0.25, 0.25, 0.10])
    distance = np.linalg.norm(pixel_grid(size) - centre, axis=-1)
    discs = distance - radius * RATER_SCALES[:, None, None]
    absent = RATER_SCALES[:, None, None] == 0
    sdfs = np.where(absent, np.sqrt(2) * size, discs).astype(np.float32)
    masks = (sdfs <= 0).astype(np.uint8)
    image = 0.2 + contrast / (1 + np.exp((distance - radius) / (0.2 * radius)))
    image += 0.1 * rng.normal(size=image.shape)
    return {
        "image": image[..., None].astype(np.float32),
        "mask": masks[rater],
        "sdf": sdfs[rater],
        "masks": masks,
        "sdfs": sdfs,
        "rater_probabilities": RATER_PROBABILITIES.copy(),
        "rater": np.asarray(rater, np.int32),
    }


def ambiguous_raters(seed: int, index: int, size: int = 64) -> dict[str, np.ndarray]:
    """`ambig2d` with twenty raters, as many of each kind as its probability says: 8, 5, 5 and 2.

    A rater chosen at random then has the known distribution of masks, and so have all twenty together.

    Args:
        seed: of the set.
        index: of the example.
        size: side of the image in pixels, 16 or more.

    Returns:
        ``image [size, size, 1]`` float32 and ``masks [20, size, size]`` uint8.

    Example:
        >>> int(ambiguous_raters(0, 0, size=32)["masks"].any((1, 2)).sum())
        18
    """
    drawn = ambig2d(seed, index, size)
    counts = np.round(RATERS * RATER_PROBABILITIES).astype(int)
    return {"image": drawn["image"], "masks": np.repeat(drawn["masks"], counts, axis=0)}
