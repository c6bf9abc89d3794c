"""Filters against noise that need no training, and their settings, chosen on images whose truth is known."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.imaging.edge_preserving import bilateral_filter, non_local_means
from jaxgen.imaging.operators import LinearOperator
from jaxgen.imaging.smoothing import gaussian_filter
from jaxgen.medical.reconstruction.total_variation import total_variation
from jaxgen.types import Array


@jax.jit
def _variation(x: Array, weight: Array) -> Array:
    same = LinearOperator(lambda x: x, lambda y: y)
    return total_variation(same, x, weight, iterations=100, squared_norm=1.0)


FILTERS: dict[str, tuple[Any, tuple[tuple[float, ...], ...]]] = {
    "gaussian filter": (gaussian_filter, tuple((w,) for w in (0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2))),
    "bilateral filter": (
        bilateral_filter,
        tuple((w, e) for w in (0.7, 1.0, 1.5) for e in (0.03, 0.06, 0.12, 0.25)),
    ),
    "non-local means": (non_local_means, tuple((h,) for h in (0.01, 0.02, 0.03, 0.045, 0.065, 0.1))),
    "total variation": (_variation, tuple((w,) for w in (0.005, 0.01, 0.02, 0.03, 0.05, 0.08))),
}
"""The filters, and the settings to choose from; values of images are in [-1, 1]."""


def filtered(name: str, setting: tuple[float, ...], x: np.ndarray) -> np.ndarray:
    """Images ``[n, h, w, 1]`` in [-1, 1] after a filter of `FILTERS`, cut to [-1, 1].

    Example:
        >>> x = np.zeros((1, 8, 8, 1), np.float32)
        >>> all(np.abs(filtered(name, settings[0], x)).max() < 1e-6 for name, (_, settings) in FILTERS.items())
        True
    """
    smooth = FILTERS[name][0]
    return np.clip(np.asarray(smooth(x if smooth is gaussian_filter else jnp.asarray(x), *setting)), -1, 1)


def best_setting(
    name: str, noisy: np.ndarray, truth: np.ndarray, view: Callable[[np.ndarray], np.ndarray] = lambda x: x
) -> tuple[float, ...]:
    """The setting of a filter with the least squared error.

    Args:
        name: of the filter.
        noisy: images ``[n, h, w, 1]``.
        truth: what they should be, as `view` shows it.
        view: what is compared of images, such as a window of values.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> truth = np.zeros((1, 16, 16, 1), np.float32)
        >>> best_setting("gaussian filter", truth + 0.1 * rng.normal(size=truth.shape).astype(np.float32), truth)
        (1.2,)
    """
    errors = {
        setting: float(np.square(view(np.asarray(FILTERS[name][0](noisy, *setting))) - truth).mean())
        for setting in FILTERS[name][1]
    }
    return min(errors, key=lambda setting: errors[setting])
