"""Point sets in the plane whose density is known: where a generative model's likelihood can be checked.

Each is a smooth distribution, so that its entropy is finite and a model can reach it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxgen.errors import UserError
from jaxgen.metrics.energy import energy_distance
from jaxgen.metrics.likelihood import divergence_from
from jaxgen.types import Array


class PlanarSet(NamedTuple):
    """A distribution in the plane.

    Attributes:
        draw: ``draw(rng, n) -> (points [n, 2] float32, mode [n])``; the mode is the part that a point was drawn from.
        log_prob: ``log_prob(points [n, 2]) -> [n]``, its exact log-density in nats, -inf outside its support.
        modes: centres ``[m, 2]`` of its parts, in the order that `draw` numbers them.
        extent: all but a vanishing share of it lies within ``[-extent, extent]`` squared.
    """

    draw: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
    log_prob: Callable[[np.ndarray], np.ndarray]
    modes: np.ndarray
    extent: float

    def entropy(self, cells: int = 2000) -> float:
        """``-integral of p log p`` in nats, by the midpoint rule: the least a mean ``-log_prob`` can be."""
        width = 2 * self.extent / cells
        line = -self.extent + width * (np.arange(cells) + 0.5)
        total = 0.0
        for y in line:
            log_p = self.log_prob(np.stack([line, np.full(cells, y)], axis=-1))
            finite = np.isfinite(log_p)
            total -= float(np.sum(np.exp(log_p[finite]) * log_p[finite])) * width**2
        return total

    def score(
        self,
        x: np.ndarray,
        density: Callable[[np.ndarray], np.ndarray | Array],
        drawn: np.ndarray | None = None,
        *,
        gap: str = "gap",
    ) -> dict[str, float]:
        """How likely fresh points are under a model, compared with their own distribution.

        Args:
            x: fresh points ``[n, 2]``.
            density: ``log q(x) [n]`` in nats, under the model.
            drawn: points ``[m, 2]`` drawn from the model, or None.
            gap: the metric's name.

        Returns:
            ``nats``, the mean negative log-likelihood, `gap` (`jaxgen.metrics.likelihood.divergence_from`) and
            ``{gap}_error``, its standard error; with `drawn` ``energy_distance`` too, squared and unbiased.
        """
        log_prob = np.asarray(density(x), np.float64)
        divergence = divergence_from(self.log_prob(x), log_prob)
        found = {"nats": float(-log_prob.mean()), gap: divergence.value, f"{gap}_error": divergence.standard_error}
        if drawn is not None:
            found["energy_distance"] = float(energy_distance(jnp.asarray(drawn), jnp.asarray(x)))
        return found


def _of_components(centres: np.ndarray, deviation: float, modes: np.ndarray, mode_of: np.ndarray) -> PlanarSet:
    """An equal mixture of round Gaussians; many of them along a curve make a blurred curve."""
    count = len(centres)

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = rng.integers(count, size=n)
        points = centres[chosen] + deviation * rng.standard_normal((n, 2))
        return points.astype(np.float32), mode_of[chosen]

    def log_prob(points: np.ndarray) -> np.ndarray:
        points = np.asarray(points, np.float64)
        squared = (points**2).sum(-1)[:, None] - 2 * points @ centres.T + (centres**2).sum(-1)
        exponent = -squared / (2 * deviation**2)
        most = exponent.max(-1)
        total = np.log(np.exp(exponent - most[:, None]).mean(-1)) + most
        return total - np.log(2 * np.pi * deviation**2)

    return PlanarSet(draw, log_prob, modes, float(np.abs(centres).max() + 7 * deviation))


def ring(count: int = 8, radius: float = 2.0, deviation: float = 0.2) -> PlanarSet:
    """Gaussians evenly on a circle: the eight of the literature.

    Args:
        count: how many.
        radius: of the circle.
        deviation: the standard deviation of each along either axis.

    Returns:
        The distribution, with one mode each.

    Example:
        >>> eight = ring()
        >>> points, mode = eight.draw(np.random.default_rng(0), 5)
        >>> points.shape, round(eight.entropy(400), 3)
        ((5, 2), 1.698)
    """
    angle = 2 * np.pi * np.arange(count) / count
    centres = radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return _of_components(centres, deviation, centres, np.arange(count))


def lattice(side: int = 5, spacing: float = 1.0, deviation: float = 0.05) -> PlanarSet:
    """Gaussians on a square lattice: the 25 on which mode collapse is counted.

    Args:
        side: how many along one side.
        spacing: between neighbours.
        deviation: the standard deviation of each along either axis.

    Returns:
        The distribution, with one mode each.

    Example:
        >>> lattice().modes.shape
        (25, 2)
    """
    line = spacing * (np.arange(side) - (side - 1) / 2)
    centres = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    return _of_components(centres, deviation, centres, np.arange(side**2))


def moons(deviation: float = 0.1) -> PlanarSet:
    """Two interleaved half circles of radius 1 with normal noise round them.

    Args:
        deviation: of the noise along either axis.

    Returns:
        The distribution, with one mode per moon.

    Example:
        >>> moons().draw(np.random.default_rng(0), 3)[0].shape
        (3, 2)
    """
    angle = np.pi * (np.arange(100) + 0.5) / 100
    upper = np.stack([np.cos(angle) - 0.5, np.sin(angle) - 0.25], axis=-1)
    centres = np.concatenate([upper, -upper])
    modes = np.array([[-0.5, 0.55], [0.5, -0.55]])
    return _of_components(centres, deviation, modes, np.repeat([0, 1], 100))


def spirals(turns: float = 1.5, deviation: float = 0.1) -> PlanarSet:
    """Two arms that wind from the middle out to radius 2, evenly along their length, with normal noise round them.

    Args:
        turns: of each arm.
        deviation: of the noise along either axis.

    Returns:
        The distribution, with one mode per arm.

    Example:
        >>> spirals().draw(np.random.default_rng(0), 3)[0].shape
        (3, 2)
    """
    fine = np.linspace(0.1, 1, 20_001)
    curve = 2 * fine[:, None] * np.stack([np.cos(2 * np.pi * turns * fine), np.sin(2 * np.pi * turns * fine)], axis=-1)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=-1))])
    even = length[-1] * (np.arange(200) + 0.5) / 200
    arm = np.stack([np.interp(even, length, curve[:, k]) for k in (0, 1)], axis=-1)
    modes = np.stack([arm[100], -arm[100]])
    return _of_components(np.concatenate([arm, -arm]), deviation, modes, np.repeat([0, 1], 200))


def checkerboard(side: int = 4, width: float = 1.0) -> PlanarSet:
    """Uniform on the dark squares of a board: edges that no smooth map of a Gaussian meets exactly.

    Args:
        side: squares along one side, even.
        width: of a square.

    Returns:
        The distribution, with one mode per square; its entropy is the logarithm of its area.

    Example:
        >>> round(checkerboard().entropy(400), 4), round(float(np.log(8)), 4)
        (2.0794, 2.0794)
    """
    cells = np.array([(i, j) for i in range(side) for j in range(side) if (i + j) % 2 == 0])
    half = side * width / 2
    area = len(cells) * width**2

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = rng.integers(len(cells), size=n)
        return (width * (cells[chosen] + rng.random((n, 2))) - half).astype(np.float32), chosen

    def log_prob(points: np.ndarray) -> np.ndarray:
        index = np.floor((np.asarray(points, np.float64) + half) / width)
        inside = ((index >= 0) & (index < side)).all(-1) & (index.sum(-1) % 2 == 0)
        return np.where(inside, -np.log(area), -np.inf)

    return PlanarSet(draw, log_prob, width * (cells + 0.5) - half, half)


PLANAR: dict[str, Callable[[], PlanarSet]] = {
    "eight_gaussians": ring,
    "25_gaussians": lattice,
    "moons": moons,
    "spirals": spirals,
    "checkerboard": checkerboard,
}
"""The sets by name."""


def planar_set(name: str) -> PlanarSet:
    """The set of this name, one of `PLANAR`.

    Raises:
        UserError: if there is none of that name.

    Example:
        >>> planar_set("moons").modes.shape
        (2, 2)
    """
    if name not in PLANAR:
        raise UserError(f"no set of points {name!r}; there are {', '.join(PLANAR)}")
    return PLANAR[name]()
