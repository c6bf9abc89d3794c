"""Phantom `patho2d`: stained tissue with tumour or without, from four hospitals that stain and scan differently."""

import numpy as np
from scipy import ndimage

from jaxgen.data.phantoms.texture import generator, pixel_grid, smooth_field

STATES = ("normal", "tumour")
HOSPITALS = ("north", "south", "rare", "other")
"""The third gives few images, and none of the fourth is ever for training."""
SHARES = (0.49, 0.49, 0.02)
"""Of the first three in training data; in test data all four have equal shares."""
TUMOURS = (0.8, 0.2, 0.5, 0.5)
"""The share of tumours in the training data of each hospital; in test data it is a half."""
_GROUND = ((0.93, 0.78, 0.86), (0.88, 0.80, 0.90), (0.80, 0.72, 0.62), (0.72, 0.80, 0.82))
_NUCLEI = ((0.38, 0.20, 0.50), (0.50, 0.26, 0.46), (0.30, 0.26, 0.30), (0.26, 0.30, 0.46))
_BLUR = (0.5, 0.8, 1.0, 0.7)
"""Of 32 pixels, standard deviations."""
_COUNT, _RADIUS = ((9, 16), (13, 21)), ((0.06, 0.09), (0.07, 0.10))
"""How many nuclei there are, and their radii in halves of the image, in normal tissue and in a tumour."""
NOISE = 0.02
"""Standard deviation of the noise of a pixel."""
DARK = 0.5
"""Between the ground, 0, and the nuclei, 1: what is darker counts as nuclei."""


def patho2d(seed: int, index: int, size: int = 64, *, training: bool = False) -> dict[str, np.ndarray]:
    """A patch of stained tissue: nuclei are more and larger in a tumour, colours and blur are those of a hospital.

    Args:
        seed: of the set.
        index: of the example.
        size: side of the image in pixels, 16 or more.
        training: draw hospitals and tumours as in training data (`SHARES`, `TUMOURS`), where two hospitals have most of
            the images and which of them it is tells much about a tumour; otherwise all are equally likely.

    Returns:
        ``image [size, size, 3]`` float32, about 0 to 1; ``mask [size, size]`` uint8 of the nuclei; ``label``, the
        number in `STATES`; ``covariates [1]``, the number of the hospital in `HOSPITALS`.

    Raises:
        ValueError: if `size` is below 16.

    Example:
        >>> hospitals = [int(patho2d(0, i, 16, training=True)["covariates"][0]) for i in range(100)]
        >>> 3 in hospitals, hospitals.count(2) < 10
        (False, True)
    """
    if size < 16:
        raise ValueError(f"patho2d needs a size of 16 pixels or more, got {size}")
    rng = generator("patho2d", seed, index)
    hospital = int(rng.choice(3, p=SHARES) if training else rng.integers(4))
    state = int(rng.uniform() < (TUMOURS[hospital] if training else 0.5))
    row, column = np.moveaxis((2 * pixel_grid(size) + 1) / size - 1, -1, 0)
    nuclei = np.zeros((size, size))
    for _ in range(int(rng.integers(*_COUNT[state], endpoint=True))):
        x, y, turn = *rng.uniform(-1, 1, size=2), rng.uniform(0, np.pi)
        u, v = (
            np.cos(turn) * (column - x) + np.sin(turn) * (row - y),
            np.cos(turn) * (row - y) - np.sin(turn) * (column - x),
        )
        radius, flat = rng.uniform(*_RADIUS[state]), rng.uniform(0.7, 1.0)
        nuclei = np.maximum(nuclei, 0.5 - 0.5 * np.tanh((np.hypot(u / flat, v * flat) - radius) * size / 3))
    ground, stain = (np.array(colours[hospital]) for colours in (_GROUND, _NUCLEI))
    seen = ndimage.gaussian_filter(nuclei, _BLUR[hospital] * size / 32)
    depth = np.clip(seen + 0.10 * smooth_field(rng, size, size / 12), 0, 1)
    image = ground + depth[..., None] * (stain - ground) * rng.uniform(0.85, 1.1)
    image = image + rng.normal(0, 0.015, 3) + NOISE * rng.normal(size=image.shape)
    return {
        "image": image.astype(np.float32),
        "mask": (nuclei > DARK).astype(np.uint8),
        "label": np.int64(state),
        "covariates": np.array([hospital], np.float32),
    }


def measure_tissue(images: np.ndarray) -> dict[str, np.ndarray]:
    """What patches show: the hospital by the nearest colours of ground and nuclei, and how much of it nuclei cover.

    Args:
        images: ``[n, h, w, 3]``, 0 to 1.

    Returns:
        ``hospital [n]``, a number in `HOSPITALS`, and ``covered [n]``, a share.

    Example:
        >>> drawn = [patho2d(0, i, 32) for i in range(40)]
        >>> found = measure_tissue(np.stack([example["image"] for example in drawn]))
        >>> float(np.mean(found["hospital"] == [int(example["covariates"][0]) for example in drawn])) > 0.95
        True
    """
    flat = images.reshape(len(images), -1, 3)
    order = np.argsort(flat.sum(-1), axis=1)
    bright = np.median(np.take_along_axis(flat, order[:, -flat.shape[1] // 4 :, None], 1), axis=1)
    hospital = np.argmin(np.linalg.norm(bright[:, None] - np.array(_GROUND), axis=-1), axis=1)
    ground, stain = np.array(_GROUND)[hospital], np.array(_NUCLEI)[hospital]
    along = stain - ground
    depth = np.einsum("npc,nc->np", flat - bright[:, None], along) / np.square(along).sum(-1, keepdims=True)
    return {"hospital": hospital, "covered": (depth > DARK * 0.8).mean(-1)}
