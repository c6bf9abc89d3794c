"""Exact signed distance to an ellipse."""

from typing import NamedTuple

import numpy as np


class Ellipse(NamedTuple):
    """An ellipse in pixel coordinates.

    Attributes:
        centre: ``(row, column)``.
        axes: the two semi-axes in pixels, the longer one first.
        angle: of the longer one against the row direction, in radians.
    """

    centre: tuple[float, float]
    axes: tuple[float, float]
    angle: float


def _own_frame(ellipse: Ellipse, points: np.ndarray) -> np.ndarray:
    c, s = np.cos(ellipse.angle), np.sin(ellipse.angle)
    return (points - np.asarray(ellipse.centre)) @ np.array([[c, -s], [s, c]])


def outline(ellipse: Ellipse, count: int = 256) -> np.ndarray:
    """Points on an ellipse.

    Args:
        ellipse: the ellipse.
        count: how many points.

    Returns:
        float64 ``[count, 2]``.

    Example:
        >>> outline(Ellipse((1.0, 2.0), (3.0, 1.0), 0.0), 4)[0].tolist()
        [4.0, 2.0]
    """
    t = 2 * np.pi * np.arange(count) / count
    c, s = np.cos(ellipse.angle), np.sin(ellipse.angle)
    local = np.stack([np.cos(t), np.sin(t)], axis=-1) * np.asarray(ellipse.axes)
    return local @ np.array([[c, s], [-s, c]]) + np.asarray(ellipse.centre)


def disjoint(a: Ellipse, b: Ellipse) -> bool:
    """Whether the interiors of two ellipses do not meet (tested on 256 points of each outline).

    Args:
        a: an ellipse.
        b: another one.

    Returns:
        True if they lie apart or touch.

    Example:
        >>> disjoint(Ellipse((0, 0), (2, 1), 0.0), Ellipse((5, 0), (2, 2), 0.0))
        True
    """
    for one, other in ((a, b), (b, a)):
        inside = np.sum((_own_frame(one, outline(other)) / one.axes) ** 2, axis=-1)
        centre = np.sum((_own_frame(one, np.asarray(other.centre)) / one.axes) ** 2)
        if inside.min() < 1 or centre < 1:
            return False
    return True


def ellipse_distance(ellipse: Ellipse, points: np.ndarray) -> np.ndarray:
    """Signed Euclidean distance to an ellipse, negative inside, to about 1e-6 pixels.

    The nearest point of the outline to ``(y0, y1)``, both made positive by symmetry, is
    ``(a^2 y0 / (t + a^2), b^2 y1 / (t + b^2))``, with t the largest root of
    ``(a y0 / (t + a^2))^2 + (b y1 / (t + b^2))^2 = 1``. The left side is convex and falls in t, so Newton's method from
    below the root climbs to it without passing it.

    Args:
        ellipse: the ellipse.
        points: ``[..., 2]`` (row, column).

    Returns:
        float64 ``[...]``, in pixels.

    Reference:
        Eberly, "Distance from a Point to an Ellipse, an Ellipsoid, or a Hyperellipsoid", 2013, section 2.

    Example:
        >>> import numpy as np
        >>> ellipse_distance(Ellipse((0, 0), (3, 1), 0.0), np.array([[5.0, 0.0], [0.0, 0.0]])).round(6).tolist()
        [2.0, -1.0]
    """
    a, b = ellipse.axes
    local = np.abs(_own_frame(ellipse, points))
    y0, y1 = local[..., 0], np.maximum(local[..., 1], 1e-9 * b)  # on the long axis the root would lie at a pole
    z0, z1, ratio = y0 / a, y1 / b, (a / b) ** 2
    w = np.maximum(z1, 1 - ratio * (1 - z0))  # w = 1 + t / b^2; each term alone is 1 at one of the two, so w <= root
    for _ in range(24):
        p, q = ratio * z0 / (w + ratio - 1), z1 / w
        w += 0.5 * (p * p + q * q - 1) / (p * p / (w + ratio - 1) + q * q / w)
    distance = np.hypot(ratio * y0 / (w + ratio - 1) - y0, y1 / w - y1)
    return np.where(z0**2 + z1**2 <= 1, -distance, distance)
