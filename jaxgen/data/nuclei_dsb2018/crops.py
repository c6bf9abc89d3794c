"""Which crop of each image, and which split: pure functions of the pixels and the names."""

import hashlib

import numpy as np

CROP = 128
STARTS = (0, 64, 128)
SIZES = {"train": 234, "validation": 50, "test": 50}
SAME_FIELD = 0.9
# Of 200 seeds the one whose splits are most alike in share of foreground, brightness and number of nuclei.
SEED = 48


def choose_crop(instances: np.ndarray) -> tuple[int, int]:
    """The crop, of nine on a grid, whose share of foreground is nearest to the whole image's.

    Args:
        instances: [256, 256], 0 is background.

    Returns:
        The first row and first column; of equally good crops the first in reading order.

    Example:
        >>> instances = np.zeros((256, 256), np.uint8); instances[64:192, 64:128] = 1
        >>> choose_crop(instances)
        (0, 0)
    """
    share = float((instances > 0).mean())

    def miss(corner: tuple[int, int]) -> float:
        row, column = corner
        return abs(float((instances[row : row + CROP, column : column + CROP] > 0).mean()) - share)

    return min(((row, column) for row in STARTS for column in STARTS), key=miss)


def find_fields(images: np.ndarray) -> np.ndarray:
    """Which images are neighbouring tiles of one larger field of view.

    Two images are neighbours if the last line of one and the first line of the other correlate above 0.9 and each is
    the other's best match; fields are the connected components.

    Args:
        images: [n, height, width].

    Returns:
        [n] int: a number that images of one field share (the index of the field's first image).

    Example:
        >>> whole = np.random.default_rng(0).normal(size=(64, 128)).cumsum(0).cumsum(1)
        >>> other = np.random.default_rng(1).normal(size=(64, 64)).cumsum(0).cumsum(1)
        >>> find_fields(np.stack([whole[:, :64], other, whole[:, 64:]])).tolist()
        [0, 1, 0]
    """
    pixels = images.astype(np.float64)
    field = np.arange(len(images))
    for last, first in ((pixels[:, -1], pixels[:, 0]), (pixels[:, :, -1], pixels[:, :, 0])):
        match = _correlate(last, first)
        best = (match == match.max(1, keepdims=True)) & (match == match.max(0, keepdims=True))
        for i, j in np.argwhere(best & (match > SAME_FIELD)):
            a, b = sorted((field[i], field[j]))
            field[field == b] = a
    return field


def _correlate(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation of every line of `a` with every line of `b`; 0 for flat lines and within one image."""
    flat_a, flat_b = a.std(1) < 2, b.std(1) < 2
    a, b = (
        (x - x.mean(1, keepdims=True)) / (np.linalg.norm(x - x.mean(1, keepdims=True), axis=1)[:, None] + 1e-9)
        for x in (a, b)
    )
    match = a @ b.T
    match[flat_a] = 0
    match[:, flat_b] = 0
    np.fill_diagonal(match, 0)
    return match


def assign_splits(field: np.ndarray, image_id: np.ndarray, seed: int = SEED) -> np.ndarray:
    """Split whole fields into train 234, validation 50, test 50, in the order of a hash of their name.

    Args:
        field: [n] from `find_fields`.
        image_id: [n] names.
        seed: mixed into the hash.

    Returns:
        [n] of "train", "validation", "test".

    Raises:
        ValueError: if whole fields cannot fill the splits exactly.
    """
    members: dict[int, list[int]] = {}
    for i in np.argsort(image_id):
        members.setdefault(int(field[i]), []).append(int(i))
    # Fields in hash order, single images last: they fill what is left exactly.
    order = sorted(
        members.values(),
        key=lambda m: (len(m) == 1, hashlib.sha256(f"{seed}/{image_id[m[0]]}".encode()).hexdigest()),
    )
    split = np.full(len(field), "train", dtype="<U10")
    for name in ("test", "validation"):
        left = SIZES[name]
        # A third of each held-out split is single images, close to their share of the whole.
        for want_single in (False, True):
            budget = left - SIZES[name] // 7 if not want_single else left
            for m in order:
                if (len(m) == 1) == want_single and split[m[0]] == "train" and len(m) <= budget:
                    split[m], budget, left = name, budget - len(m), left - len(m)
        if left:
            raise ValueError(f"{left} images of the {name} split could not be filled with whole fields")
    return split
