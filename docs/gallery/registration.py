"""Registration: displacement fields.

A field says for every pixel of the fixed image where its value lies in the moving one. Its Jacobian determinant is how
it changes areas: at 0 or below it folds.
"""

import jax.numpy as jnp
import numpy as np

from jaxgen.data import phantoms
from jaxgen.data.registration_pairs import smooth_field
from jaxgen.figures.registration import registered_pairs
from jaxgen.medical.registration import exponential, jacobian_determinant, warp

source = phantoms.phantom_source("brain2d", 4, size=64)
moving = jnp.asarray(np.stack([2 * source[i]["image"] - 1 for i in range(4)]))
velocity = jnp.asarray(np.stack([smooth_field(np.random.default_rng(i), (64, 64), 5.0) for i in range(4)]))
flow = exponential(velocity, steps=6)  # scaling and squaring: it can be undone
back = exponential(-velocity, steps=6)
fixed = warp(moving, flow)
smallest = float(jacobian_determinant(flow).min())

said = f"The smallest Jacobian determinant is {smallest:.2f}: nothing folds."
fields = {"moved": np.asarray(flow), "and back": np.asarray(back)}
figure = registered_pairs(np.asarray(moving), np.asarray(fixed), fields)._replace(caption=said)
