"""Measured columns of k-space, and a trained restoration of what is left of images, coil by coil."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.imaging.coils import root_sum_of_squares
from jaxgen.imaging.fourier import centred_ifft2, from_complex, to_complex
from jaxgen.imaging.mri import measured_columns
from jaxgen.types import Array, Key, Params

Restore = Callable[[Params, Key, Array, int], Mapping[str, Array]]
"""``(params, keys [b], kspace [b, h, w, 1], missing) -> images [b, h, w, 2]`` by the name of the method."""


@dataclasses.dataclass(frozen=True, eq=False)
class ColumnScan:
    """Measured images.

    Attributes:
        y: k-space ``[n, h, w, 1]``, 0 where not measured.
        mask: ``[n, h, w]``, whole columns.
        keys: one for the random numbers of each image, ``[n]``.
        missing: the number of columns that an image lacks, nearly.
    """

    y: np.ndarray
    mask: np.ndarray
    keys: Key
    missing: int


def magnitude(x: np.ndarray | Array) -> np.ndarray:
    """Magnitudes ``[..., 1]`` of complex images in two channels."""
    return np.asarray(_magnitude(jnp.asarray(x)))


@jax.jit
def _magnitude(x: Array) -> Array:
    return jnp.sqrt(jnp.sum(x**2, -1, keepdims=True))


def restore_coils(params: Params, restore: Restore) -> Callable[[Key, np.ndarray], dict[str, np.ndarray]]:
    """Restore k-space ``[h, w, coils]``: coils one by one, joined by the root of their sum of squares."""

    @functools.partial(jax.jit, static_argnames="missing")
    def program(params: Params, key: Key, kspace: Array, missing: int) -> dict[str, Array]:
        each = jnp.moveaxis(kspace, -1, 0)[..., None]
        keys = jnp.broadcast_to(key, each.shape[:1])  # one order for all coils
        found = {"zero_filled": from_complex(centred_ifft2(each)[..., 0]), **restore(params, keys, each, missing)}
        return {name: root_sum_of_squares(jnp.moveaxis(to_complex(x), 0, -1)) for name, x in found.items()}

    def restored(key: Key, kspace: np.ndarray) -> dict[str, np.ndarray]:
        missing = int((~measured_columns(kspace)).sum())
        found = program(params, key, jnp.asarray(kspace), missing)
        names = {"reconstruction": "cold diffusion", "direct": "direct prediction", "zero_filled": "zero_filled"}
        return {name: np.asarray(found[method]) for name, method in names.items()}

    return restored
