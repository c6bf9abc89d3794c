"""Precision and recall: what a single number hides.

A generator that has lost half of its modes draws only good samples: precision stays, recall falls. One that adds noise
loses precision first. Both may have the same Frechet distance.
"""

import numpy as np

from jaxgen.figures.pictures import curves
from jaxgen.metrics import precision_recall

rng = np.random.default_rng(0)
angles = 2 * np.pi * np.arange(8) / 8
centres = np.stack([np.cos(angles), np.sin(angles)], 1)


def draw(n, modes=8, noise=0.05):
    return centres[rng.integers(modes, size=n)] + noise * rng.standard_normal((n, 2))


real = draw(1000)
kept = [8, 6, 4, 2, 1]
values = np.array([precision_recall(real, draw(1000, modes)) for modes in kept])
series = {"precision": (kept, values[:, 0]), "recall": (kept, values[:, 1])}
figure = curves(series, "Samples from fewer and fewer of 8 modes.", x="modes that are left", y="share")
