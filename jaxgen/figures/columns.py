"""Columns of k-space filled in one by one."""

import jax.numpy as jnp
import numpy as np

from jaxgen.figures.figure import Figure
from jaxgen.figures.pictures import rows as rows_of
from jaxgen.medical.reconstruction import kspace_cold_diffusion as cold
from jaxgen.medical.reconstruction.columns import ColumnScan, magnitude


def columns_filled(scan: ColumnScan, restored: np.ndarray) -> Figure:
    """Restorations at equal times, from zero-filled to whole: as a column is filled once, they are degradations."""
    order = cold.removal_order(scan.keys, jnp.asarray(scan.mask[:, 0]))[: len(restored)]
    times = np.linspace(int(cold.columns_missing(order).max()), 0, 8).round().astype(int)
    way = [magnitude(cold.degrade(jnp.asarray(restored), order, int(t))) for t in times]
    rows = {f"image {i + 1}": [2 * np.clip(x[i], 0, 1) - 1 for x in way] for i in range(len(restored))}
    return rows_of(rows, "Restorations on their way: columns are filled in, those measured stay.")
