"""Registered pairs: the images under each method's field, and the way from the moving image to the fixed one."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from jaxgen.figures.figure import Figure
from jaxgen.figures.pictures import rows as rows_of
from jaxgen.medical.registration.transformer import voxel_grid, warp

LINES = 8
"""Voxels from one line of a drawn grid to the next."""


def registered_pairs(moving: np.ndarray, fixed: np.ndarray, flows: Mapping[str, np.ndarray]) -> Figure:
    """Both images, and for each method the moved image and a grid of lines moved with it.

    Args:
        moving: ``[n, *spatial, 1]`` in [-1, 1]; of volumes the middle slice along the last axis is shown.
        fixed: the same shape.
        flows: fields ``[n, *spatial, r]`` by method.
    """
    shown = {"moving": moving, "fixed": fixed}
    for name, flow in flows.items():
        on_line = (voxel_grid(moving.shape[1:-1]) % LINES < 1)[..., :2].any(-1)
        grid = np.where(on_line, 1.0, -1.0).astype(np.float32)[None, ..., None].repeat(len(moving), 0)
        shown[name] = _warped(moving, flow)
        shown[f"{name}, grid"] = _warped(grid, flow)
    return rows_of(
        {name: _slices(x) for name, x in shown.items()},
        "Pairs of images: the moving image should look like the fixed one under each field; lines show the field.",
    )


def trajectory(moving: np.ndarray, fixed: np.ndarray, flows: np.ndarray) -> Figure:
    """Moved images along shares of the way ``[steps, n, *spatial, r]``, the fixed image last, and what is left."""
    steps = [_warped(moving, flow) for flow in flows]
    shown = {}
    for i in range(len(moving)):
        shown[f"pair {i + 1}"] = _slices(np.stack([x[i] for x in (*steps, fixed)]))
        shown[f"error {i + 1}"] = _slices(np.stack([np.abs(x[i] - fixed[i]) - 1 for x in (*steps, fixed)]))
    heads = [f"{share:.2g}" for share in np.linspace(0, 1, len(flows))] + ["fixed"]
    return rows_of(shown, "From the moving to the fixed image by shares of the way, and the error left.", heads=heads)


def _warped(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    return np.asarray(warp(jnp.asarray(image), jnp.asarray(flow)))


def _slices(x: np.ndarray) -> np.ndarray:
    return x[..., x.shape[3] // 2, :] if x.ndim == 5 else x
