"""Inpainting: keep what is known, draw the rest.

Images under a Gaussian have an exact denoiser, a prior for pictures like this one without any training. `inpaint` turns
a denoiser into one that keeps known pixels; any sampler takes it.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.data import phantoms
from jaxgen.figures.pictures import rows
from jaxgen.guidance import inpaint
from jaxgen.mixtures import gaussian
from jaxgen.paths import variance_preserving
from jaxgen.samplers import grids, sample
from jaxgen.samplers.catalogue import SAMPLERS

SIZE = 24
source = phantoms.phantom_source("brain2d", 601, size=SIZE)
images = np.stack([2 * source[i]["image"].ravel() - 1 for i in range(601)])
path = variance_preserving()
prior = gaussian(images[1:].mean(0), np.cov(images[1:].T) + 1e-3 * np.eye(SIZE**2)).denoiser(path)

known = jnp.asarray(images[:1])
mask = jnp.asarray((np.arange(SIZE**2) % SIZE < SIZE // 2).astype(np.float32))
start = path.sigma(path.t_noise) * jax.random.normal(jax.random.key(0), (5, SIZE**2))
drawn = sample(
    SAMPLERS["ddim_eta1"].step(path), inpaint(prior, known, mask), jax.random.key(1), start, grids.uniform(path, 100)
)


def square(x):
    return np.asarray(x).reshape(-1, SIZE, SIZE, 1)


given = {"image": square(known), "known": square(known * mask - (1 - mask))}
figure = rows(
    {**given, "drawn": square(drawn.clip(-1, 1))}, "The left half is given; the right half is drawn five times."
)
