"""Flow matching and its kin: regress what a network predicts along a path, one value per example."""

from collections.abc import Callable

import jax.numpy as jnp

from jaxgen import draws
from jaxgen.losses.times import uniform_time
from jaxgen.paths import Path, convert, perturb, view
from jaxgen.types import Array, Key


def flow_matching(
    predict: Callable[[Array, Array], Array],
    path: Path,
    key: Key,
    x: Array,
    *,
    noise: Array | None = None,
    t: Array | None = None,
    time: Callable[[Path, Key, int], Array] = uniform_time,
    prediction: str = "velocity",
    target: str = "velocity",
    weight: Callable[[Array], Array] | None = None,
) -> Array:
    """The squared error of a prediction along a path: ``w(t) mean |target(predict(x_t, t)) - target(x, noise)|^2``.

    On the path `rectified(sigma_min)` and with the defaults this is the optimal transport objective
    ``|u(x_t, t) - (x - (1 - sigma_min) noise)|^2``; with ``prediction=target="noise"`` on `variance_preserving` it is
    the simple objective of diffusion models. The mean is over all axes but the first.

    Args:
        predict: the network, ``(x_t [b, *spatial, c], t [b]) -> [b, *spatial, c]``.
        path: the path; its sigma_min, if any, is the loss's.
        key: one key, or keys ``[b]``: then each example draws from its own key alone.
        x: clean data ``[b, *spatial, c]``.
        noise: standard normal noise to use instead of drawing it, such as that of a coupling.
        t: times ``[b]`` (or a scalar) to use instead of drawing them.
        time: draws the times, ``(path, key, b) -> [b]``.
        prediction: what the network answers, one of `jaxgen.paths.PREDICTIONS`.
        target: the space in which the error is taken; equal to `prediction`, no conversion takes place. The velocity
            of `variance_preserving` is unbounded at the data end: give a weight there, or take another target.
        weight: ``w(t [b]) -> [b]``; None weighs all times alike.

    Returns:
        Float32 ``[b]``.

    Raises:
        ValueError: if a name is unknown, or the prediction's shape is not that of x.

    Reference:
        Lipman et al. 2023, "Flow matching for generative modeling", eq. 9, and eq. 23 for the optimal transport path;
        Ho et al. 2020, "Denoising diffusion probabilistic models", eq. 14, for the noise.

    Example:
        >>> import jax
        >>> from jaxgen.paths import rectified
        >>> x = jnp.ones((4, 8, 8, 1))
        >>> loss = flow_matching(lambda x_t, t: 0 * x_t, rectified(), jax.random.key(0), x, noise=jnp.zeros_like(x))
        >>> loss.tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    key_time, key_noise = draws.split(key, 2)
    if noise is None:
        noise = draws.normal(key_noise, x.shape)
    t = time(path, key_time, x.shape[0]) if t is None else jnp.broadcast_to(jnp.asarray(t), x.shape[:1])
    x_t = perturb(path, x, noise, t)
    out = predict(x_t, t)
    if out.shape != x.shape:
        raise ValueError(f"the prediction has shape {out.shape}, the data {x.shape}")
    out = convert(path, x_t, t, out.astype(jnp.promote_types(out.dtype, jnp.float32)), prediction, target)
    error = jnp.mean((out - view(path, x, noise, t, target)) ** 2, axis=tuple(range(1, x.ndim)))
    return error if weight is None else weight(t) * error
