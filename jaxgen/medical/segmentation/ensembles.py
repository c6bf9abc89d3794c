"""Ensembles of deterministic networks, to compare samples of a generative model with."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.medical.segmentation.deterministic import class_probability
from jaxgen.types import Array, Key, Net, Params


def mc_dropout(net: Net, params: Params, members: int) -> Callable[[Key, Array], Array]:
    """Probabilities under several draws of a network's dropout, compiled.

    Args:
        net: a network with dropout, from images to logits, see `jaxgen.medical.segmentation.deterministic`.
        params: its parameters.
        members: how many draws.

    Returns:
        ``draw(keys [b], image [b, *spatial, c]) -> [members, b, *spatial, classes]``.

    Reference:
        Gal and Ghahramani 2016, "Dropout as a Bayesian approximation", arXiv 1506.02142, eq. 6.

    Example:
        >>> net = Net(lambda key, x: {}, lambda params, x, key: x + draws.normal(key, x.shape))
        >>> drawn = mc_dropout(net, {}, 3)(jax.random.split(jax.random.key(0), 2), jnp.zeros((2, 4, 1)))
        >>> drawn.shape, bool((drawn[0] != drawn[1]).all())
        ((3, 2, 4, 1), True)
    """

    @jax.jit
    def draw(params: Params, key: Key, image: Array) -> Array:
        return jax.lax.map(lambda one: class_probability(net.apply(params, image, key=one)), draws.split(key, members))

    return lambda key, image: draw(params, key, image)


def independent_pixels(net: Net, params: Params, members: int) -> Callable[[Key, Array], Array]:
    """Masks whose pixels are drawn one by one from a network's probabilities, compiled.

    In each pixel the classes are as frequent as the network says; that neighbours belong together it cannot say.

    Args:
        net: the network, from images to logits.
        params: its parameters.
        members: how many masks.

    Returns:
        ``draw(keys [b], image [b, *spatial, c]) -> [members, b, *spatial, classes]``, of zeros and ones.

    Example:
        >>> net = Net(lambda key, x: {}, lambda params, x: x)
        >>> draw = independent_pixels(net, {}, 2)
        >>> draw(jax.random.split(jax.random.key(0), 1), jnp.array([[[-99.0], [99.0]]])).tolist()
        [[[[0.0], [1.0]]], [[[0.0], [1.0]]]]
    """

    @jax.jit
    def draw(params: Params, key: Key, image: Array) -> Array:
        probability = class_probability(net.apply(params, image))
        above = jnp.cumsum(probability, axis=-1)

        def one(key: Key) -> Array:
            u = draws.uniform(key, (*probability.shape[:-1], 1))
            return ((above - probability <= u) & (u < above)).astype(probability.dtype)

        return jax.lax.map(one, draws.split(key, members))

    return lambda key, image: draw(params, key, image)


def deep_ensemble(net: Net, params: Sequence[Params]) -> Callable[[Key, Array], Array]:
    """Probabilities of several networks that were trained from different starts, compiled.

    Args:
        net: the network, from images to logits.
        params: of each of them.

    Returns:
        ``draw(keys, image [b, *spatial, c]) -> [members, b, *spatial, classes]``; nothing is drawn.

    Reference:
        Lakshminarayanan et al. 2017, "Simple and scalable predictive uncertainty estimation using deep ensembles",
        arXiv 1612.01474, section 2.4.

    Example:
        >>> net = Net(lambda key, x: 0.0, lambda params, x: x + params)
        >>> deep_ensemble(net, [0.0, 40.0])(None, jnp.zeros((1, 1))).tolist()
        [[[0.5]], [[1.0]]]
    """
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)

    @jax.jit
    def draw(stacked: Params, image: Array) -> Array:
        return jax.lax.map(lambda one: class_probability(net.apply(one, image)), stacked)

    return lambda key, image: draw(stacked, image)
