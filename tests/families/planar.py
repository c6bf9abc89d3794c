"""Small models of point sets in the plane, trained within one compiled call."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from jaxgen import draws


def points(law, n, seed=0):
    """``[n, 2]`` of a `jaxgen.data.planar` set."""
    return jnp.asarray(law.draw(np.random.default_rng(seed), n)[0])


def train(model, data, key, steps, batch=128, rate=2e-3, decay=0.99, group="net"):
    """The averaged parameters of a model of ``batch["x"]`` after so many steps of Adam with a cosine schedule.

    Pure: jit it, and vmap it over keys.
    """
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(rate, steps)))
    (objective,) = model.objectives
    init_key, key = jax.random.split(key)
    params = model.init(init_key, {name: a[:2] for name, a in data.items()})

    def step(carried, i):
        params, average, state = carried
        keys = draws.split(jax.random.split(jax.random.fold_in(key, i), batch), 2)
        chosen = jnp.floor(draws.uniform(keys[0], (batch,)) * len(data["x"])).astype(int)
        examples = {name: a[chosen] for name, a in data.items()}

        def loss(trained):
            return objective.loss({**params, group: trained}, keys[1], examples)[0].mean()

        updates, state = optimizer.update(jax.grad(loss)(params[group]), state)
        params = {**params, group: optax.apply_updates(params[group], updates)}
        share = jnp.minimum(decay, (i + 1) / (i + 10))
        average = jax.tree.map(lambda a, p: share * a + (1 - share) * p, average, params)
        return (params, average, state), None

    (_, average, _), _ = lax.scan(step, (params, params, optimizer.init(params[group])), jnp.arange(steps))
    return average
