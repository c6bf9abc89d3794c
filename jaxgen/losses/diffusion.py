"""The losses of diffusion models: denoising in any prediction, and the hybrid loss that learns the reverse variance."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from jaxgen import draws
from jaxgen.losses.matching import flow_matching
from jaxgen.losses.times import uniform_time
from jaxgen.losses.variational import step_bound
from jaxgen.paths import Path, convert, perturb
from jaxgen.types import Array, Key


def denoising(
    predict: Callable[[Array, Array], Array],
    path: Path,
    key: Key,
    x: Array,
    *,
    prediction: str = "noise",
    target: str | None = None,
    noise: Array | None = None,
    t: Array | None = None,
    time: Callable[[Path, Key, int], Array] = uniform_time,
    weight: Callable[[Array], Array] | None = None,
) -> Array:
    """The denoising loss: ``w(t) mean |net(x_t, t) - target|^2``, by default DDPM's simple objective.

    It is `jaxgen.losses.flow_matching` with the error taken, unless told otherwise, in the space that the network
    predicts; see there for the arguments. `jaxgen.losses.weights` has the weights.

    Args:
        predict: the network, ``(x_t [b, *spatial, c], t [b]) -> [b, *spatial, c]``.
        path: the path.
        key: one key, or keys ``[b]``.
        x: clean data ``[b, *spatial, c]``.
        prediction: what the network answers, one of `jaxgen.paths.PREDICTIONS`.
        target: the space of the error; None for that of the prediction.
        noise: standard normal noise to use instead of drawing it.
        t: times to use instead of drawing them.
        time: distribution of the times.
        weight: ``w(t [b]) -> [b]``.

    Returns:
        Float32 ``[b]``.

    Raises:
        ValueError: if a name is unknown, or the prediction's shape is not that of x.

    Reference:
        Ho et al. 2020, "Denoising diffusion probabilistic models", eq. 14.

    Example:
        >>> import jax
        >>> from jaxgen.paths import variance_preserving
        >>> x = jnp.ones((2, 3))
        >>> denoising(lambda x_t, t: 0 * x_t, variance_preserving(), jax.random.key(0), x, noise=2 * x).tolist()
        [4.0, 4.0]
    """
    return flow_matching(
        predict,
        path,
        key,
        x,
        noise=noise,
        t=t,
        time=time,
        prediction=prediction,
        target=prediction if target is None else target,
        weight=weight,
    )


def split_variance(answer: Array) -> tuple[Array, Array]:
    """The two halves of the channels of a network that learns its variance: a prediction and a fraction.

    The second half, meant to lie in [-1, 1], becomes the fraction in [0, 1] of the way from the small to the large log
    variance: what `jaxgen.samplers.ddpm` takes as its `variance`.

    Args:
        answer: ``[b, *spatial, 2 c]``.

    Returns:
        The pair (prediction, fraction), each ``[b, *spatial, c]``.

    Reference:
        Nichol & Dhariwal 2021, "Improved denoising diffusion probabilistic models", eq. 15.

    Example:
        >>> prediction, fraction = split_variance(jnp.array([[3.0, -1.0]]))
        >>> prediction.tolist(), fraction.tolist()
        ([[3.0]], [[0.0]])
    """
    prediction, v = jnp.split(answer, 2, axis=-1)
    return prediction, 0.5 * (v + 1)


def hybrid(
    predict: Callable[[Array, Array], Array],
    path: Path,
    key: Key,
    x: Array,
    grid: Array,
    *,
    prediction: str = "noise",
    scale: float = 1e-3,
    weight: Callable[[Array], Array] | None = None,
    bins: int | None = 256,
    value_range: tuple[float, float] = (-1.0, 1.0),
) -> Array:
    """The hybrid loss that learns the reverse variance along with the denoiser: ``L_simple + scale * L_bound``.

    One random step of the grid an example: the denoising loss there, and that step's share of the variational bound
    (`jaxgen.losses.variational.step_bound`, times the number of steps, in nats a dimension). The bound trains the
    variance only: its mean lets no gradient through.

    Args:
        predict: the network, ``(x_t [b, *spatial, c], t [b]) -> [b, *spatial, 2 c]``; see `split_variance`.
        path: the path.
        key: one key, or keys ``[b]``.
        x: clean data ``[b, *spatial, c]`` of `bins` equally spaced values.
        grid: times ``[steps + 1]`` from noise to data, sigma 0 at the last one: the steps that the variance is for. The
            prediction must tell x0 at the first one: noise and score do not where alpha is 0.
        prediction: what the first half of the answer is, one of `jaxgen.paths.PREDICTIONS`.
        scale: lambda in the paper, where there are 1000 steps.
        weight: of the denoising loss, ``w(t [b]) -> [b]``.
        bins: the number of values that x can take; None for continuous data.
        value_range: the least and the greatest of them.

    Returns:
        Float32 ``[b]``.

    Raises:
        ValueError: if the prediction is unknown, or the answer's channels are not twice those of x.

    Reference:
        Nichol & Dhariwal 2021, "Improved denoising diffusion probabilistic models", eq. 15 and 16.

    Example:
        >>> import jax
        >>> from jaxgen.paths import variance_preserving
        >>> x, grid = jnp.zeros((2, 1)), jnp.linspace(1.0, 0.0, 11)
        >>> predict = lambda x_t, t: jnp.concatenate([x_t, 0 * x_t], -1)
        >>> hybrid(predict, variance_preserving(), jax.random.key(0), x, grid).shape
        (2,)
    """
    steps = len(grid) - 1
    step_key, noise_key, rest = draws.split(key, 3)
    i = jnp.minimum(jnp.floor(draws.uniform(step_key, x.shape[:1]) * steps), steps - 1).astype(jnp.int32)
    t, s = grid[i], grid[i + 1]
    noise = draws.normal(noise_key, x.shape)
    x_t = perturb(path, x, noise, t)
    answer = predict(x_t, t)
    if answer.shape != (*x.shape[:-1], 2 * x.shape[-1]):
        raise ValueError(f"the answer has shape {answer.shape}: the data {x.shape} with its channels doubled is needed")
    mean, fraction = split_variance(answer.astype(jnp.promote_types(answer.dtype, jnp.float32)))
    simple = denoising(lambda *_: mean, path, rest, x, prediction=prediction, noise=noise, t=t, weight=weight)
    x0_hat = lax.stop_gradient(convert(path, x_t, t, mean, prediction, "x0"))
    low, high = value_range
    bound = step_bound(path, x, x0_hat, t, s, fraction=fraction, bins=bins, low=low, high=high)
    return simple + scale * steps / x[0].size * bound
