"""Which samples of k-space are kept.

Masks with the same number of samples: lines at random, evenly spaced, spokes, and points at a distance from each other.
"""

import jax
import numpy as np

from jaxgen.figures.pictures import rows
from jaxgen.imaging.sampling_masks import MASKS, true_acceleration

shown, said = {}, []
for name, make in MASKS.items():
    masks = [np.asarray(make(jax.random.key(seed), (64, 64), 4)) for seed in range(3)]
    shown[name] = 2.0 * np.stack(masks)[..., None] - 1
    said.append(f"{name} {float(true_acceleration(masks[0])):.2f}")

figure = rows(shown, f"Masks at four times fewer samples; what they keep in truth: {', '.join(said)}.")
