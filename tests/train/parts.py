"""A train step of a U-Net on 8 fake devices: what each holds, and what is sent between them; prints JSON."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax

if __name__ == "__main__":  # not where pytest imports it to look for doctests
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 8)
from jaxgen import draws
from jaxgen.errors import UserError
from jaxgen.nets import ops, unet
from jaxgen.train import init_state, make_train_step
from jaxgen.train.mesh import make_mesh, over_space, placement
from jaxgen.train.sharding import data_parallel
from jaxgen.types import Model, Objective

SIZE = 32
PLACES = {
    "whole": {"devices": 1},
    "shard": {"devices": 4, "shard": 4},
    "space": {"devices": 4, "space": 4},
}


def make_model():
    net = unet(1, channels=(32, 64), blocks=1)

    def init(key, batch):
        return {"net": net.init(key, batch["image"], jnp.zeros(len(batch["image"])))}

    def loss(params, key, batch):
        t, noise = draws.uniform(key, key.shape), draws.normal(key, batch["image"].shape)
        found = net.apply(params["net"], batch["image"] + noise, t)
        return ((found - noise) ** 2).mean((1, 2, 3)), {}

    def sample(params, key, n, cond=None):
        x = jax.random.normal(key, (n, SIZE, SIZE, 1))
        return jax.lax.fori_loop(0, 3, lambda i, x: x - 0.1 * net.apply(params["net"], x, jnp.full(n, 0.3 * i)), x)

    return Model(init, (Objective("net", loss),), sample)


def bytes_of(tree):
    """On the first device."""
    return sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree) if leaf.ndim)


def gathered(text):
    """The shapes that all-gathers and all-to-alls of a compiled program make."""
    found = re.findall(r"= (\S+)\[([\d,]*)\]\S* (?:all-gather|all-to-all)(?:-start)?\(", text)
    return [[int(n) for n in shape.split(",")] for _, shape in found]


def gap(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(np.abs(np.asarray(x) - np.asarray(y)).max() / np.abs(np.asarray(x)).max()) for x, y in pairs)


def main():
    model, optimizers = make_model(), {"net": optax.adam(1e-3, eps=1e-2)}
    batch = {"image": np.random.default_rng(0).normal(size=(4, SIZE, SIZE, 1)).astype(np.float32)}
    state = init_state(model, optimizers, jax.random.key(0), batch)
    moved = jax.tree.map(lambda x: x + 0.05 * jnp.cos(jnp.arange(x.size)).reshape(x.shape), state.params)
    state = state._replace(params=moved, ema=moved)  # away from the zeros that a U-Net starts with
    results, one = {}, None
    for name, place in PLACES.items():
        parallel = data_parallel("jit", **place)
        step = make_train_step(model, optimizers, ema_decay=0.9, placed=parallel.placement)

        def chunk(state, arrays, inputs, step=step):
            state, metrics = step(state, {"image": inputs["image"][0]})
            return state, metrics["loss"]

        placed = jax.device_put(jax.tree.map(jnp.copy, state), parallel.kept(state))  # it is donated
        inputs = {"image": batch["image"][None]}
        program = parallel.compile(chunk, placed).lower(placed, {}, inputs).compile()
        results[name] = {
            "state": bytes_of(placed.params) + bytes_of(placed.ema) + bytes_of(placed.opt_state),
            "temporary": program.memory_analysis().temp_size_in_bytes,
            "gathered": gathered(program.as_text()),
        }
        new, _ = program(placed, {}, inputs)
        results[name]["kept"] = bytes_of(new.params) + bytes_of(new.ema) + bytes_of(new.opt_state)
        one = one or jax.device_get(new.params)
        results[name]["gap"] = gap(one, new.params)
    results["parameters"] = [list(leaf.shape) for leaf in jax.tree.leaves(state.params)]
    results["sample"] = sampled(model, state.params)
    results["refused"] = refused(model)
    print(json.dumps(results))


def sampled(model, params):
    """The sampler with its images split over 4 devices, against one."""
    key = jax.random.key(1)
    one = jax.jit(model.sample, static_argnums=2).lower(params, key, 2).compile()
    program = over_space(lambda params, key: model.sample(params, key, 2), make_mesh(4, space=4)).lower(params, key)
    program = program.compile()
    return {
        "gap": gap(one(params, key), program(params, key)),
        "gathered": gathered(program.as_text()),
        "temporary": [each.memory_analysis().temp_size_in_bytes for each in (one, program)],
    }


def refused(model):
    """What is said of images that cannot be divided."""
    images = {"image": jnp.zeros((2, SIZE + 2, SIZE, 1)), "label": jnp.zeros(2)}
    try:
        jax.eval_shape(placement(make_mesh(8, space=4)).batch, images)
    except UserError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    with ops.form("accelerator"):
        main()
