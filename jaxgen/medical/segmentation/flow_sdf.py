"""FlowSDF: conditional flow matching on truncated signed distance maps of segmentation masks.

A mask is turned into its signed distance, **negative inside** (the sign of the authors' code; lecture notes that write
"+ inside" need ``-distance``), truncated at delta and divided by it, so that the mask is ``distance <= 0``. A flow from
noise to that map is learned given the image; the mean of several samples is the segmentation, their spread its
uncertainty.

Reference:
    Bogensperger, Narnhofer, Falk, Schindler & Pock 2025, "FlowSDF: flow matching for medical image segmentation using
    distance transforms", arXiv 2405.18087.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.losses.matching import flow_matching
from jaxgen.losses.times import uniform_time
from jaxgen.medical.segmentation.conditional import ConditionalNet
from jaxgen.paths import Path, convert
from jaxgen.samplers import Sampling, denoiser, sample
from jaxgen.types import Array, Batch, Denoise, Info, Key, Model, Objective, Params, Step


def flow_sdf(
    net: ConditionalNet,
    sampling: Sampling,
    *,
    repeats: int = 1,
    time: Callable[[Path, Key, int], Array] = uniform_time,
    weight: Callable[[Array], Array] | None = None,
) -> Model:
    """The model: flow matching on ``batch["distance"]`` given ``batch["image"]``.

    The loss of an example is ``mean_k w(t_k) |net(x_k, t_k, f(image)) - target|^2`` over `repeats` independent times
    and noises, for which the image is encoded once; the error is taken in the space that the network predicts.

    Args:
        net: the network.
        sampling: the path from noise to distance maps (the paper's is ``rectified(sigma_min)``), the sampler's step and
            grid, and what the network predicts (in the paper the velocity).
        repeats: noisy versions of each distance map in one training step.
        time: distribution of the training times, ``(path, key, n) -> [n]``, one of `jaxgen.losses.times`.
        weight: ``w(t)``.

    Returns:
        A `Model` with one group ``"net"``; ``sample(params, key, n, cond=image [n, *spatial, c])`` gives one distance
        map an image.

    Reference:
        arXiv 2405.18087, section 3; the loss is eq. 23 of Lipman et al. 2023, arXiv 2210.02747.
    """

    def init(key: Key, batch: Batch) -> Params:
        return {"net": net.init(key, batch["image"], batch["distance"])}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        image, distance = batch["image"], batch["distance"]
        b = image.shape[0]

        def repeat(x: Array) -> Array:
            return jnp.concatenate([x] * repeats)

        features = repeat(net.encode(params["net"], image))
        keys = draws.split(key, repeats).reshape(-1) if key.ndim else key
        values = flow_matching(
            lambda x_t, t: net.apply(params["net"], x_t, t, features),
            sampling.path,
            keys,
            repeat(distance),
            time=time,
            prediction=sampling.prediction,
            target=sampling.prediction,
            weight=weight,
        )
        return jnp.mean(values.reshape(repeats, b), axis=0), {}

    def draw(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        if cond is None or cond.shape[0] != n:
            raise ValueError("masks are drawn given images: pass cond=image [n, *spatial, c]")
        return ensemble(net, sampling, params["net"], key, cond, 1)[0]

    return Model(init, (Objective("net", loss),), draw)


def ensemble(
    net: ConditionalNet,
    sampling: Sampling,
    params: Params,
    key: Key,
    image: Array,
    members: int,
    *,
    classes: int = 1,
    noise: Array | None = None,
    keep: bool = False,
) -> Array:
    """Several distance maps for each image, from different noise; the image is encoded once for all of them.

    Args:
        net: the network.
        sampling: as of `flow_sdf`.
        params: the network's parameters.
        key: a key, or keys ``[b]``: then an image's maps do not depend on the rest of the batch.
        image: ``[b, *spatial, c]``.
        members: how many maps an image.
        classes: channels of a map.
        noise: ``[b, *spatial, members * classes]`` to start from, in place of what the key gives: windows of a volume
            that overlap start from the same noise where they do.
        keep: whether to return the whole trajectory.

    Returns:
        ``[members, b, *spatial, classes]``, or with `keep` ``[members, steps + 1, b, *spatial, classes]``.

    Raises:
        ValueError: if the step asks for a learned variance.
    """
    path, step, grid, prediction = sampling
    if not isinstance(step, Step):
        raise ValueError("FlowSDF takes a plain step: it learns no variance")
    features = net.encode(params, image)
    shape = (*image.shape[:-1], classes)
    given = None if noise is None else jnp.moveaxis(noise.reshape(*image.shape[:-1], members, classes), -2, 0)

    def member(drawn: tuple[Key, Array | None]) -> Array:
        noise_key, step_key = draws.split(drawn[0], 2)
        white = draws.normal(noise_key, shape) if drawn[1] is None else drawn[1]
        start = path.sigma(jnp.asarray(path.t_noise, jnp.float32)) * white
        denoise = denoiser(lambda x, t: net.apply(params, x, t, features), path, prediction)
        return sample(step, denoise, step_key, start, grid, keep=keep)

    return jax.lax.map(member, (draws.split(key, members), given))


def compiled_ensemble(
    net: ConditionalNet, sampling: Sampling, params: Params, classes: int = 1, **options: Any
) -> Callable[..., Array]:
    """`ensemble` of a trained network, compiled: ``draw(key, image, noise=None)``.

    Args:
        net: the network.
        sampling: as of `flow_sdf`.
        params: the network's parameters.
        classes: channels of a map.
        **options: ``members`` and ``keep``, as of `ensemble`.

    Returns:
        The function.
    """

    def draw(params: Params, key: Key, image: Array, noise: Array | None = None) -> Array:
        return ensemble(net, sampling, params, key, image, classes=classes, noise=noise, **options)

    return functools.partial(jax.jit(draw), params)


def velocity_weight(path: Path, most: float) -> Callable[[Array], Array]:
    """``w(t) = min(1 / sigma(t)^2, most)``: the error of x0, so weighted, is that of the velocity, up to a limit.

    Args:
        path: the rectified path.
        most: the limit.

    Returns:
        The `weight` of `flow_sdf` for the prediction ``"x0"``.

    Example:
        >>> from jaxgen.paths import rectified
        >>> velocity_weight(rectified(), 9.0)(jnp.array([0.5, 1.0])).tolist()
        [4.0, 9.0]
    """
    return lambda t: jnp.minimum(1 / jnp.square(path.sigma(t)), most)


class _Started(NamedTuple):
    """The state of `authors_euler`: the sample, and the noise that it started from."""

    x: Array
    noise: Array


def authors_euler(path: Path) -> Step:
    """Euler's method as the authors' code has it, for comparison only: it does not converge.

    The velocity is asked for at ``alpha(t) x_t + sigma(t) noise`` in place of the current sample ``x_t``, which lies
    off the path that the network was trained on. On an exact one-dimensional distribution with two modes it settles at
    a wrong share of each, whatever the number of steps.

    Reference:
        The sampler published with arXiv 2405.18087.
    """

    def step(denoise: Denoise, key: Key, state: _Started, t: Array, s: Array) -> _Started:
        del key
        x_in = path.alpha(t) * state.x + path.sigma(t) * state.noise
        velocity = convert(path, x_in, t, denoise(x_in, t), "x0", "velocity")
        return _Started((state.x + (s - t) * velocity).astype(state.x.dtype), state.noise)

    return Step(lambda x, grid: _Started(x, x), step)
