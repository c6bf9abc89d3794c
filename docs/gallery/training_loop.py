"""A training loop of one's own.

A loss is a pure function that takes any network and returns one value per example; optax does the rest. Flow matching
learns two half moons in some seconds.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgen.data.planar import PLANAR
from jaxgen.figures.points import panels
from jaxgen.losses import flow_matching
from jaxgen.nets import mlp
from jaxgen.paths import rectified
from jaxgen.samplers import denoiser, euler, grids, sample

STEPS = 2000
moons, path = PLANAR["moons"](), rectified()
points, _ = moons.draw(np.random.default_rng(0), 4000)
net = mlp(2, widths=(128, 128), time_scale=10.0)
params = net.init(jax.random.key(0), jnp.asarray(points[:2]), jnp.zeros(2))
optimizer = optax.adam(optax.cosine_decay_schedule(4e-3, STEPS))


def loss(params, key, x):
    return flow_matching(lambda x_t, t: net.apply(params, x_t, t), path, key, x).mean()


@jax.jit
def step(params, state, key):
    chosen, noise = jax.random.split(key)
    x = jnp.asarray(points)[jax.random.randint(chosen, (512,), 0, len(points))]
    updates, state = optimizer.update(jax.grad(loss)(params, noise, x), state)
    return optax.apply_updates(params, updates), state


state = optimizer.init(params)
for i in range(STEPS):
    params, state = step(params, state, jax.random.key(i))

denoise = denoiser(lambda x, t: net.apply(params, x, t), path, "velocity")
start = jax.random.normal(jax.random.key(1), (2000, 2))
way = sample(euler(path), denoise, jax.random.key(2), start, grids.uniform(path, 50), keep=True)
sets, ways = {"data": points[:2000], "drawn": np.asarray(way[-1])}, {"on the way": np.asarray(way)}
figure = panels(moons, "Two half moons, samples of the network, and the way of some of them.", sets=sets, ways=ways)
