"""The posterior methods that experiments offer by name, with the settings to choose from on validation images.

A new one is a function like `dps_sampler` and a line in `METHODS`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxgen.imaging.operators import LinearOperator, pseudo_inverse
from jaxgen.medical.reconstruction.measurement_projection import measurement_projection, score_mri
from jaxgen.medical.reconstruction.null_space import ddnm
from jaxgen.medical.reconstruction.posterior_sampling import dps
from jaxgen.medical.reconstruction.proximal import diffpir
from jaxgen.paths import Path
from jaxgen.samplers import ddim, renewal, reverse_diffusion
from jaxgen.types import Array, Denoise, Step


class Posed(NamedTuple):
    """Measurements ``y = A x`` of images in [-1, 1], as a posterior method is given them.

    Attributes:
        path: the path of the prior.
        grid: times from noise to image.
        operator: A.
        y: what ``A x`` should be.
        iterations: conjugate gradients per step, in methods that invert.
        snr: signal-to-noise ratio of the corrections, in methods that correct.
        ends_on_prior: whether DiffPIR's last step leaves the measurements out: an ill-conditioned operator would leave
            streaks that no prior mends any more.
    """

    path: Path
    grid: np.ndarray
    operator: LinearOperator
    y: Array
    iterations: int
    snr: float
    ends_on_prior: bool = False


class PosteriorMethod(NamedTuple):
    """A posterior sampler.

    Attributes:
        make: ``make(posed, denoise, setting) -> (step, denoise)``.
        settings: to choose from on validation images, by the kind of problem; the first is that of a run that is not
            evaluated. It is not offered for other kinds.
    """

    make: Callable[[Posed, Denoise, Array], tuple[Step, Denoise]]
    settings: Mapping[str, tuple[float, ...]]


def ddnm_sampler(posed: Posed, denoise: Denoise, damping: Array) -> tuple[Step, Denoise]:
    """DDNM with all noise new, and conjugate gradients for the inverse; the setting is their damping."""
    inverse = pseudo_inverse(posed.operator, iterations=posed.iterations, damping=damping)
    return ddim(posed.path, eta=1.0), ddnm(denoise, posed.operator, posed.y, inverse)


def diffpir_sampler(posed: Posed, denoise: Denoise, weight: Array) -> tuple[Step, Denoise]:
    """DiffPIR; the setting is the weight of the prior."""
    # A noise of 1 makes the weight that of the noise and of the prior together.
    options: dict[str, Any] = {"noise": 1.0, "weight": weight, "iterations": posed.iterations}
    if posed.ends_on_prior:
        options["interval"] = (float(posed.grid[0]), float(posed.grid[-3]))
    return renewal(posed.path, 1.0), diffpir(denoise, posed.operator, posed.y, posed.path, **options)


def dps_sampler(posed: Posed, denoise: Denoise, scale: Array) -> tuple[Step, Denoise]:
    """DPS; the setting is the scale of its gradient."""
    return dps(ddim(posed.path, eta=1.0), posed.operator, posed.y, scale), denoise


def score_mri_sampler(posed: Posed, denoise: Denoise, strength: Array) -> tuple[Step, Denoise]:
    """Score-MRI; the setting is the strength of its projections."""
    options: dict[str, Any] = {"strength": strength, "snr": posed.snr}
    return score_mri(reverse_diffusion(posed.path), posed.path, posed.operator, posed.y, **options), denoise


def projection_sampler(posed: Posed, denoise: Denoise, strength: Array) -> tuple[Step, Denoise]:
    """Song's projection; the setting is its strength."""
    inverse = pseudo_inverse(posed.operator, iterations=posed.iterations, damping=1e-3)
    options: dict[str, Any] = {"strength": strength, "pseudo_inverse": inverse, "snr": posed.snr}
    return measurement_projection(
        reverse_diffusion(posed.path), posed.path, posed.operator, posed.y, **options
    ), denoise


METHODS: dict[str, PosteriorMethod] = {
    "ddnm": PosteriorMethod(ddnm_sampler, {"mri": (1e-4, 1e-3, 1e-2), "ct": (1e-6, 1e-5, 1e-3), "thick": (0.0,)}),
    "diffpir": PosteriorMethod(
        diffpir_sampler, {"mri": (1e-5, 1e-4, 1e-3, 1e-2), "ct": (1e-6, 1e-5, 1e-4), "thick": (1e-3, 1e-2, 1e-1)}
    ),
    "dps": PosteriorMethod(dps_sampler, {"mri": (3.0, 1.0, 10.0), "ct": (3.0, 1.0, 10.0), "thick": (3.0, 1.0, 10.0)}),
    "score_mri": PosteriorMethod(score_mri_sampler, {"mri": (1.0, 0.5)}),
    "projection": PosteriorMethod(projection_sampler, {"ct": (0.6, 0.355, 0.841, 1.0)}),
}


class offered(Collection[str]):  # noqa: N801  (called like a function, and as long as the table is)
    """The names of the posterior methods for a kind of problem, "mri", "ct" or "thick" (slices): those of `METHODS`.

    Example:
        >>> list(offered("ct"))
        ['ddnm', 'diffpir', 'dps', 'projection']
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __iter__(self) -> Iterator[str]:
        """The names in the order of the table."""
        return (name for name, method in METHODS.items() if self._kind in method.settings)

    def __contains__(self, name: object) -> bool:
        """Whether a method is offered."""
        return any(name == one for one in self)

    def __len__(self) -> int:
        """The number of methods."""
        return sum(1 for _ in self)
