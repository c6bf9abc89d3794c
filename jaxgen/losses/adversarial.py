"""Losses of generative adversarial networks, one value per example, and the penalties that keep a critic smooth.

A critic answers logits, larger for what it takes to be real: ``[b]``, or ``[b, *spatial]`` one a patch, over which the
losses take the mean. Both sides' losses are to be minimised.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.types import Array, Key

Critic = Callable[[Array], Array]


def _require_equal_shapes(real: Array, generated: Array) -> None:
    if real.shape != generated.shape:
        raise ValueError(f"real of shape {real.shape} and generated of shape {generated.shape} are no pairs")


class Adversarial(NamedTuple):
    """The two players' losses, functions of the critic's logits of real and of generated examples.

    Attributes:
        generator: ``generator(real, generated) -> [b]``.
        critic: ``critic(real, generated) -> [b]``.
        boundary: the logit above which the critic says real; None where only differences of logits mean anything.
    """

    generator: Callable[[Array, Array], Array]
    critic: Callable[[Array, Array], Array]
    boundary: float | None


def _each(value: Array) -> Array:
    return jnp.mean(value, tuple(range(1, value.ndim)))


def _pair(generator: Callable[..., Array], critic: Callable[..., Array], boundary: float | None) -> Adversarial:
    """Losses of logits in float32, one value per example."""

    def per_example(loss: Callable[..., Array]) -> Callable[..., Array]:
        def value(real: Array, generated: Array) -> Array:
            _require_equal_shapes(real, generated)
            return _each(loss(real.astype(jnp.float32), generated.astype(jnp.float32)))

        return value

    return Adversarial(per_example(generator), per_example(critic), boundary)


def minimax() -> Adversarial:
    """The zero-sum game: critic ``-log D(x) - log(1 - D(G))``, generator ``log(1 - D(G))``, D the sigmoid of the logit.

    The generator's gradient vanishes where the critic is sure: it is here to be compared with.

    Returns:
        The pair; each side maps logits ``[b, *spatial]`` of real and generated examples to float32 ``[b]``.

    Reference:
        Goodfellow et al. 2014, "Generative adversarial nets", arXiv 1406.2661, eq. 1.

    Example:
        >>> round(float(minimax().critic(jnp.zeros(1), jnp.zeros(1))[0]), 4)  # 2 log 2
        1.3863
    """
    return _pair(lambda real, fake: -jax.nn.softplus(fake), _cross_entropy, 0.0)


def _cross_entropy(real: Array, fake: Array) -> Array:
    return jax.nn.softplus(-real) + jax.nn.softplus(fake)


def non_saturating() -> Adversarial:
    """The critic of `minimax`; the generator takes ``-log D(G)``, which has a gradient where it is worst.

    Returns:
        The pair; each side maps logits ``[b, *spatial]`` of real and generated examples to float32 ``[b]``.

    Reference:
        Goodfellow et al. 2014, "Generative adversarial nets", arXiv 1406.2661, section 3.

    Example:
        >>> round(float(non_saturating().generator(jnp.zeros(1), jnp.array([-9.0]))[0]), 4)
        9.0001
    """
    return _pair(lambda real, fake: jax.nn.softplus(-fake), _cross_entropy, 0.0)


def least_squares(real: float = 1.0, generated: float = 0.0, wanted: float = 1.0) -> Adversarial:
    """Critic ``((d(x) - real)^2 + (d(G) - generated)^2) / 2``, generator ``(d(G) - wanted)^2 / 2``, d the logit.

    Args:
        real: what the critic should answer for real examples.
        generated: for generated ones.
        wanted: what the generator wants it to answer.

    Returns:
        The pair; each side maps logits ``[b, *spatial]`` of real and generated examples to float32 ``[b]``.

    Reference:
        Mao et al. 2017, "Least squares generative adversarial networks", arXiv 1611.04076, eq. 2.

    Example:
        >>> float(least_squares().critic(jnp.array([1.0]), jnp.array([1.0]))[0])
        0.5
    """
    return _pair(
        lambda x, fake: 0.5 * (fake - wanted) ** 2,
        lambda x, fake: 0.5 * (x - real) ** 2 + 0.5 * (fake - generated) ** 2,
        (real + generated) / 2,
    )


def hinge() -> Adversarial:
    """Critic ``max(0, 1 - d(x)) + max(0, 1 + d(G))``, generator ``-d(G)``, d the logit.

    Returns:
        The pair; each side maps logits ``[b, *spatial]`` of real and generated examples to float32 ``[b]``.

    Reference:
        Lim & Ye 2017, "Geometric GAN", arXiv 1705.02894; Miyato et al. 2018, arXiv 1802.05957, eq. 16 and 17.

    Example:
        >>> float(hinge().critic(jnp.array([2.0]), jnp.array([0.5]))[0])
        1.5
    """
    return _pair(lambda real, fake: -fake, lambda real, fake: jax.nn.relu(1 - real) + jax.nn.relu(1 + fake), 0.0)


def wasserstein() -> Adversarial:
    """Critic ``d(G) - d(x)``, generator ``-d(G)``; the critic must be kept Lipschitz, as by `gradient_penalty`.

    Returns:
        The pair; each side maps logits ``[b, *spatial]`` of real and generated examples to float32 ``[b]``.

    Reference:
        Arjovsky et al. 2017, "Wasserstein GAN", arXiv 1701.07875, eq. 2 and 3.

    Example:
        >>> float(wasserstein().critic(jnp.array([2.0]), jnp.array([0.5]))[0])
        -1.5
    """
    return _pair(lambda real, fake: -fake, lambda real, fake: fake - real, None)


def relativistic() -> Adversarial:
    """Relativistic pairing: critic ``softplus(d(G) - d(x))``, generator ``softplus(d(x) - d(G))``, pair by pair.

    A generated example is compared with a real one, so that giving up a mode is never a local optimum; with `r1` and
    `r2` training converges locally.

    Returns:
        The pair; each side maps logits ``[b, *spatial]`` of real and generated examples to float32 ``[b]``.

    Reference:
        Jolicoeur-Martineau 2018, arXiv 1807.00734; Huang et al. 2024, "The GAN is dead; long live the GAN!", arXiv
        2501.05441, section 2.

    Example:
        >>> losses = relativistic()
        >>> [round(float(side(jnp.array([3.0]), jnp.array([3.0]))[0]), 4) for side in (losses.generator, losses.critic)]
        [0.6931, 0.6931]
    """
    return _pair(lambda real, fake: jax.nn.softplus(real - fake), lambda real, fake: jax.nn.softplus(fake - real), None)


def squared_gradient(critic: Critic, x: Array) -> tuple[Array, Array]:
    """The critic's logits and the squared norm of their gradient, ``|d critic(x) / dx|^2``, from one pass.

    Args:
        critic: ``[b, ...] -> [b]`` or ``[b, *spatial]``, one example by itself; of patches the mean counts.
        x: where, ``[b, ...]``.

    Returns:
        The pair (logits, squared norms, float32 ``[b]``).

    Example:
        >>> squared_gradient(lambda x: 3 * x[:, 0] + 4 * x[:, 1], jnp.zeros((1, 2)))[1].tolist()
        [25.0]
    """

    def total(x: Array) -> tuple[Array, Array]:
        logits = critic(x)
        return jnp.sum(_each(logits.astype(jnp.float32))), logits

    gradient, logits = jax.grad(total, has_aux=True)(x.astype(jnp.float32))
    return logits, jnp.sum(jnp.square(gradient), tuple(range(1, x.ndim)))


def r1(critic: Critic, real: Array) -> Array:
    """The penalty of the gradient at real examples, ``|d critic(x) / dx|^2``; it is usually weighed by gamma / 2.

    Args:
        critic: ``[b, ...] -> [b]`` or ``[b, *spatial]``, example by example.
        real: real examples ``[b, ...]``.

    Returns:
        Float32 ``[b]``.

    Reference:
        Mescheder et al. 2018, "Which training methods for GANs do actually converge?", arXiv 1801.04406, eq. 9.

    Example:
        >>> r1(lambda x: jnp.sum(x**2, -1), jnp.ones((1, 3))).tolist()
        [12.0]
    """
    return squared_gradient(critic, real)[1]


def r2(critic: Critic, generated: Array) -> Array:
    """The penalty of the gradient at generated examples, ``|d critic(x) / dx|^2``; see `r1`.

    Args:
        critic: ``[b, ...] -> [b]`` or ``[b, *spatial]``, example by example.
        generated: generated examples ``[b, ...]``.

    Returns:
        Float32 ``[b]``.

    Reference:
        Mescheder et al. 2018, "Which training methods for GANs do actually converge?", arXiv 1801.04406, eq. 10.

    Example:
        >>> r2(lambda x: jnp.sum(x**2, -1), jnp.ones((1, 3))).tolist()
        [12.0]
    """
    return squared_gradient(critic, generated)[1]


def gradient_penalty(critic: Critic, key: Key, real: Array, generated: Array) -> Array:
    """``(|d critic(y) / dy| - 1)^2`` at ``y = u x + (1 - u) G``, a random point between a real and a generated example.

    Args:
        critic: ``[b, ...] -> [b]`` or ``[b, *spatial]``, example by example.
        key: one key, or keys ``[b]``.
        real: real examples ``[b, ...]``.
        generated: generated ones of the same shape.

    Returns:
        Float32 ``[b]``; it is usually weighed by 10.

    Reference:
        Gulrajani et al. 2017, "Improved training of Wasserstein GANs", arXiv 1704.00028, eq. 3.

    Example:
        >>> x = jnp.zeros((1, 2))
        >>> gradient_penalty(lambda x: 3 * x[:, 0], jax.random.key(0), x, x).tolist()
        [4.0]
    """
    _require_equal_shapes(real, generated)
    u = draws.uniform(key, (real.shape[0], *(1,) * (real.ndim - 1)))
    between = u * real.astype(jnp.float32) + (1 - u) * generated.astype(jnp.float32)
    square = squared_gradient(critic, between)[1]
    # The root's own gradient is infinite at 0, where a critic that is still flat would give NaN.
    norm = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    return jnp.square(norm - 1)


LOSSES: dict[str, Callable[[], Adversarial]] = {
    "relativistic": relativistic,
    "non_saturating": non_saturating,
    "hinge": hinge,
    "least_squares": least_squares,
    "wasserstein": wasserstein,
    "minimax": minimax,
}
"""The losses by name."""
