"""Likelihood of images by an equation that is solved, or by a bound: bits per dimension, compared with a Gaussian's."""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import numpy as np

from jaxgen.config import option
from jaxgen.experiment import Run
from jaxgen.tasks import generation, presets
from jaxgen.tasks.images import ImageConfig, in_chunks
from jaxgen.tasks.likelihood import bits, dequantised_test_images, gaussian_baseline
from jaxgen.types import Array, Key, Params

CHUNK = 24
"""Images whose likelihood is computed together, at most: the adaptive solver takes the smallest step of all of them."""

DEFAULTS: dict[str, presets.Changes] = {
    "small": generation.SMALL,
    "smoke": generation.SMOKE,
    "full": {
        **generation.FULL,
        "schedule": "constant",
        "optimizer": "adam",
        "likelihood_images": 1000,
        "tolerance": 1e-5,
    },
}

Density = Callable[[Params, Key, Array], Array]
"""``density(params, keys [b], x [b, h, w, c]) -> [b]``, nats."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlowLikelihoodConfig(ImageConfig):
    """The options of an experiment that solves an equation for the likelihood of test images."""

    likelihood_images: int = option(48, "test images whose likelihood is computed", ge=2, group="evaluation")
    tolerance: float = option(1e-3, "tolerances of the adaptive solver", gt=0, lt=1, group="evaluation")

    @property
    def solver(self) -> dict[str, float]:
        """Options of the adaptive solver."""
        return {"rtol": self.tolerance, "atol": self.tolerance}


def log_density(run: Run, density: Density, params: Params, key: Key, x: np.ndarray, chunk: int = CHUNK) -> np.ndarray:
    """The log-density ``[n]`` of images x ``[n, h, w, c]``, each with random numbers of its own.

    Args:
        run: the run.
        density: the density, to be compiled.
        params: its parameters.
        key: one key.
        x: dequantised images.
        chunk: how many are computed together at most, if ``config.chunk`` is not less.
    """
    program, keys = jax.jit(density), jax.random.split(key, len(x))
    return in_chunks(lambda keys, x: program(params, keys, x), len(x), min(run.config.chunk, chunk), keys, x)


def compared_bits(
    run: Run, params: Params, densities: Mapping[str, tuple[Density, Key]], data_key: Key, fit_key: Key
) -> dict[str, dict[str, float]]:
    """Bits per dimension of ``config.likelihood_images`` test images, by each density and by a fitted Gaussian.

    Args:
        run: the run.
        params: the parameters that the densities are given.
        densities: each with the key of its random numbers.
        data_key: of the dequantisation of the test images.
        fit_key: of that of the images to which the Gaussian is fitted.
    """
    x = dequantised_test_images(run, data_key, run.config.likelihood_images)
    nats = {name: log_density(run, density, params, key, x) for name, (density, key) in densities.items()}
    nats["gaussian"] = gaussian_baseline(run, fit_key, x)
    return {name: bits(values, x[0].size) for name, values in nats.items()}


def sentence(found: Mapping[str, Mapping[str, float]], method: str) -> str:
    """The bits of a method and of the Gaussian, for a headline."""
    own, others = found[method], {name: row for name, row in found.items() if name != method}
    compared = ", ".join(f"{name} {row['bits']:.3f}" for name, row in others.items())
    return f"{own['bits']:.3f} +- {own['bits_error']:.3f} bits per dimension by {method} ({compared})."
