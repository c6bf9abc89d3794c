"""Guidance: a function from denoisers to denoisers.

Classifier-free guidance pushes the denoiser of a class away from that of all classes. Stronger guidance moves samples
out of the overlap, and makes them more alike: part of the class is lost.
"""

import jax
import numpy as np

from jaxgen.data.planar import PLANAR
from jaxgen.figures.points import panels
from jaxgen.guidance import classifier_free
from jaxgen.mixtures import mixture
from jaxgen.paths import variance_preserving
from jaxgen.samplers import dpm_solver_2m, grids, sample

path = variance_preserving()
spread = np.diag([0.5, 0.15])
of_class = mixture([1.0], [[-0.6, 0.0]], [spread]).denoiser(path)
of_all = mixture([0.5, 0.5], [[-0.6, 0.0], [0.6, 0.0]], [spread, spread]).denoiser(path)
start = path.sigma(path.t_noise) * jax.random.normal(jax.random.key(0), (1000, 2))

sets = {}
for scale in (1.0, 2.0, 4.0):
    denoise = classifier_free(of_class, of_all, scale)
    drawn = sample(dpm_solver_2m(path), denoise, jax.random.key(1), start, grids.uniform(path, 40))
    sets[f"scale {scale:g}"] = np.asarray(drawn)

figure = panels(next(iter(PLANAR.values()))(), "Samples of the left one of two classes that overlap.", sets=sets)
