"""MeanFlow: learn the mean velocity between two times, so that one step goes from noise to data."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxgen import draws
from jaxgen.losses.times import logit_normal
from jaxgen.paths import Path, perturb, view
from jaxgen.types import Array, Key

_TIME = logit_normal(0.4, 1.0)


def interval_times(
    path: Path,
    key: Key,
    n: int,
    *,
    time: Callable[[Path, Key, int], Array] = _TIME,
    instant: float = 0.75,
) -> tuple[Array, Array]:
    """Two times an example: two draws in order, or for a share of the examples the same time twice.

    Args:
        path: the path.
        key: a key, or keys ``[n]``.
        n: how many.
        time: distribution of each, ``(path, key, n) -> [n]``.
        instant: the share of examples whose two times are equal: there MeanFlow is flow matching.

    Returns:
        The pair (t, s), each ``[n]``; t is the one nearer to the noise.

    Reference:
        Geng et al. 2025, "Mean flows for one-step generative modeling", arXiv 2505.13447.

    Example:
        >>> from jaxgen.paths import rectified
        >>> t, s = interval_times(rectified(), jax.random.key(0), 100)
        >>> bool((t <= s).all()), 50 < int((t == s).sum()) < 100
        (True, True)
    """
    first_key, second_key, instant_key = draws.split(key, 3)
    a, b = time(path, first_key, n), time(path, second_key, n)
    low, high = jnp.minimum(a, b), jnp.maximum(a, b)
    t, s = (low, high) if path.t_noise < path.t_data else (high, low)
    return t, jnp.where(draws.bernoulli(instant_key, instant, (n,)), t, s)


def mean_flow(
    predict: Callable[[Array, Array, Array], Array],
    path: Path,
    key: Key,
    x: Array,
    *,
    noise: Array | None = None,
    t: Array | None = None,
    s: Array | None = None,
    times: Callable[[Path, Key, int], tuple[Array, Array]] = interval_times,
) -> Array:
    """The squared error of a mean velocity: ``mean |u(x_t, t, s) - sg(v + (s - t) du/dt)|^2``.

    ``u(x_t, t, s)`` is to be the mean over the times from t to s of the velocity met on the way from x_t, so that
    ``x_s = x_t + (s - t) u``. Differentiating ``(s - t) u`` along the way gives the target, in which v is the velocity
    of the path at t and ``du/dt = v . grad_x u + partial_t u`` one Jacobian-vector product; sg stops the gradient.

    Args:
        predict: the network, ``(x_t [b, *shape], t [b], s [b]) -> [b, *shape]``; `jax.jvp` must work through it.
        path: the path, of finite velocity.
        key: one key, or keys ``[b]``: then each example draws from its own key alone.
        x: clean data ``[b, *shape]``.
        noise: standard normal noise to use instead of drawing it, such as that of a coupling.
        t: the times nearer to the noise ``[b]``, to use with `s` instead of drawing them.
        s: the times nearer to the data ``[b]``.
        times: draws the two times, ``(path, key, b) -> (t, s)``.

    Returns:
        Float32 ``[b]``, to be weighed by `adaptively_weighted`.

    Raises:
        ValueError: if one of t and s is given without the other.

    Reference:
        Geng et al. 2025, "Mean flows for one-step generative modeling", arXiv 2505.13447 (there t=1 is noise, and r is
        our s).

    Example:
        >>> from jaxgen.paths import rectified
        >>> x = jnp.ones((4, 2))
        >>> mean_flow(lambda x_t, t, s: 0 * x_t + 1, rectified(), jax.random.key(0), x, noise=0 * x).tolist()
        [0.0, 0.0, 0.0, 0.0]
    """
    if (t is None) != (s is None):
        raise ValueError("give both times, or neither")
    time_key, noise_key = draws.split(key, 2)
    if noise is None:
        noise = draws.normal(noise_key, x.shape)
    if t is None or s is None:
        t, s = times(path, time_key, x.shape[0])
    x_t = perturb(path, x, noise, t)
    v = view(path, x, noise, t, "velocity").astype(x_t.dtype)
    u, rate = jax.jvp(lambda x_t, t: predict(x_t, t, s), (x_t, t), (v, jnp.ones_like(t)))
    u = u.astype(jnp.promote_types(u.dtype, jnp.float32))
    duration = (s - t).reshape((-1,) + (1,) * (x.ndim - 1))
    return jnp.mean((u - lax.stop_gradient(v + duration * rate)) ** 2, axis=tuple(range(1, x.ndim)))


def adaptively_weighted(error: Array, power: float = 1.0, epsilon: float = 1e-3) -> Array:
    """An error weighed by its own size: ``sg(1 / (error + epsilon)^power) error``, so that none dominates.

    Args:
        error: squared errors ``[b]``.
        power: 0 leaves the error as it is, 0.5 is near a Huber loss, 1 gives all examples nearly equal weight.
        epsilon: keeps small errors small.

    Returns:
        ``[b]``.

    Reference:
        Geng et al. 2025, "Mean flows for one-step generative modeling", arXiv 2505.13447.

    Example:
        >>> adaptively_weighted(jnp.array([0.0, 4.0]), power=0.5, epsilon=0.0).tolist()[1]
        2.0
    """
    return error / lax.stop_gradient((error + epsilon) ** power)
