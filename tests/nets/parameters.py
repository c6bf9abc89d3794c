"""Parameters for tests of networks."""

import jax
import jax.numpy as jnp
import numpy as np


def drawn(init, *inputs, **named):
    """Parameters off zero, where every layer has a say.

    Of ``init(key, *inputs, **named)`` only the shapes are asked, and the numbers are drawn on the host: nothing is
    compiled.
    """
    shapes = jax.eval_shape(lambda key: init(key, *inputs, **named), jax.random.key(0))
    leaves, tree = jax.tree.flatten_with_path(shapes)
    return jax.tree.unflatten(tree, [_leaf(i, path, leaf) for i, (path, leaf) in enumerate(leaves)])


def _leaf(i, path, leaf):
    noise = np.random.default_rng(i).normal(size=leaf.shape)
    if leaf.ndim > 1:
        values = noise / np.sqrt(np.prod(leaf.shape[:-1]))
    else:
        values = 0.1 * noise + ("scale" in jax.tree_util.keystr(path[-1:]))
    return jnp.asarray(values, leaf.dtype)


def perturbed(params, scale=0.1):
    """These parameters, off the zeros that they start with."""
    leaves, tree = jax.tree.flatten(jax.tree.map(np.asarray, params))  # on the host: nothing to compile
    noise = [np.random.default_rng(i).normal(size=leaf.shape).astype(np.float32) for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(tree, [jnp.asarray(leaf + scale * n) for leaf, n in zip(leaves, noise, strict=True)])
