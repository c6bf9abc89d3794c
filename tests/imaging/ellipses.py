"""Ellipses drawn with the share of each pixel that they cover, and their exact chords: truth for the tests of CT."""

from typing import NamedTuple

import numpy as np


class Disc(NamedTuple):
    """An ellipse: middle (x to the right, y down) and semi-axes in pixels about the middle of the image, its turn."""

    x: float
    y: float
    a: float
    b: float
    turn: float = 0.0


def draw(disc: Disc, size: int, fine: int = 9) -> np.ndarray:
    """``[size, size]``: the share of each pixel that lies in the ellipse."""
    offset = (np.arange(size * fine) - (size * fine - 1) / 2) / fine
    x, y = offset[None, :] - disc.x, offset[:, None] - disc.y
    c, s = np.cos(disc.turn), np.sin(disc.turn)
    inside = ((c * x + s * y) / disc.a) ** 2 + ((-s * x + c * y) / disc.b) ** 2 < 1
    return inside.reshape(size, fine, size, fine).mean((1, 3))


def chords(disc: Disc, points: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Lengths of the lines through `points` along unit `directions` (both ``[..., 2]``, x and y) within the ellipse."""
    c, s = np.cos(disc.turn), np.sin(disc.turn)
    own = np.array([[c, s], [-s, c]]) / np.array([[disc.a], [disc.b]])  # to the frame where it is the unit circle
    p, d = (points - [disc.x, disc.y]) @ own.T, directions @ own.T
    # |p + t d| = 1
    dd, pd, pp = (d * d).sum(-1), (p * d).sum(-1), (p * p).sum(-1)
    return 2 * np.sqrt(np.maximum(pd**2 - dd * (pp - 1), 0)) / dd
