"""Paths: how data become noise.

A path says how much of an image and how much noise is in ``x_t = alpha(t) x_0 + sigma(t) noise``. Every loss and every
sampler asks the path; none has a schedule of its own.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.data import phantoms
from jaxgen.figures.pictures import rows
from jaxgen.paths import PATHS, perturb

brain = jnp.asarray(2 * phantoms.phantom_source("brain2d", 1, size=64)[0]["image"] - 1)[None]
noise = jax.random.normal(jax.random.key(0), brain.shape)
shares = np.linspace(0, 1, 7)

shown = {}
for name in ("linear", "cosine", "rectified"):
    path = PATHS[name]()
    times = path.t_data + shares * (path.t_noise - path.t_data)
    shown[name] = np.concatenate([np.asarray(perturb(path, brain, noise, jnp.full(1, t))) for t in times])

figure = rows(shown, "One image and one noise along three paths.", heads=[f"{share:.2f}" for share in shares])
