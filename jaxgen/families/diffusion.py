"""Diffusion as a model: a network learns to take noise away from data, at every level of noise."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxgen import draws
from jaxgen.families.labels import Labels
from jaxgen.losses.diffusion import denoising, hybrid, split_variance
from jaxgen.losses.times import uniform_time
from jaxgen.paths import Path
from jaxgen.samplers import Sampling, denoiser, sample
from jaxgen.types import Array, Batch, Info, Key, Model, Net, NoiseDistribution, Objective, Params, Step


class LearnedVariance(NamedTuple):
    """How a model learns the variance of its reverse steps, by `jaxgen.losses.hybrid`.

    Attributes:
        grid: the times ``[steps + 1]`` of the chain, from noise to data, sigma 0 at the last one.
        scale: the weight of the bound.
        bins: the number of values that data in [-1, 1] can take; None for continuous data.
    """

    grid: Array
    scale: float = 1e-3
    bins: int | None = 256


def diffusion_model(
    net: Net,
    shape: Sequence[int],
    sampling: Sampling,
    *,
    target: str | None = None,
    weight: Callable[[Array], Array] | None = None,
    time: Callable[[Path, Key, int], Array] = uniform_time,
    noise: NoiseDistribution | None = None,
    data: str = "image",
    labels: Labels = Labels(),  # noqa: B008  (a tuple, which no one can change)
    variance: LearnedVariance | None = None,
) -> Model:
    """A diffusion model of ``batch[data]``, of all of it or class by class.

    Trained on ``w(t) mean |net(x_t, t) - target|^2`` at ``x_t = alpha x0 + sigma noise``; for a network that predicts
    the noise the defaults are the simple objective of DDPM. With labels the network is called with ``label [b]`` as
    well; a share ``labels.drop`` of them is replaced by the null label, the number of classes.

    Args:
        net: ``apply(params, x [b, *shape], t [b] or scalar, key=None)``, and ``label=[b]`` with labels; a network of
            `jaxgen.preconditioning` predicts ``"x0"``.
        shape: of one example, ``(*spatial, c)`` or ``(d,)``.
        sampling: the path, the sampler's step and grid, and what the network predicts; with `variance`, the step is a
            function from the learned fraction to a step, such as ``functools.partial(jaxgen.samplers.ddpm, path)``.
        target: the space of the error; None for that of the prediction.
        weight: ``w(t [b]) -> [b]``, one of `jaxgen.losses.weights`; None weighs all times alike.
        time: distribution of the training times, ``(path, key, n) -> [n]``, one of `jaxgen.losses.times`.
        noise: what is mixed in, such as `jaxgen.imaging.noise.simplex_noise`; None for white noise. Give it to the step
            as well, if that draws noise.
        data: the entry of the batch to model.
        labels: those in ``batch["label"]``, integers ``[b]``, and how samples follow them; without any by default.
        variance: to learn the reverse variance along with the denoiser, with a network that answers twice the channels
            (`jaxgen.losses.split_variance`); times are then those of its grid, `time` and `target` without effect.

    Returns:
        A `Model` with one group ``"net"``. ``sample(params, key, n, cond=None)`` gives ``[n, *shape]``; `cond` is
        labels ``[n]``, and None the null label. ``log_prob(params, key, x, cond=None, **options)`` is
        `jaxgen.samplers.likelihood.log_prob` of the unguided model, its trace by random probes unless told otherwise.

    Raises:
        ValueError: if there is a `labels.guide` but no class, or both `noise` and `variance`; when sampling, if labels
            are given to a model without, or not one per image.

    Reference:
        Ho et al. 2020, "Denoising diffusion probabilistic models", eq. 14; Ho & Salimans 2022, "Classifier-free
        diffusion guidance", algorithm 1, for the dropped labels.

    Example:
        >>> import jax
        >>> from jaxgen.nets import mlp
        >>> from jaxgen.paths import variance_preserving
        >>> from jaxgen.samplers import ddim, grids
        >>> path = variance_preserving()
        >>> sampling = Sampling(path, ddim(path), grids.uniform(path, 4), prediction="noise")
        >>> model = diffusion_model(mlp(2, widths=(8,)), (2,), sampling, data="x")
        >>> params = model.init(jax.random.key(0), {"x": jnp.zeros((3, 2))})
        >>> model.sample(params, jax.random.key(1), 5).shape
        (5, 2)
    """
    labels.check()
    if noise is not None and variance is not None:
        raise ValueError("the bound of a learned variance is that of white noise: leave noise or variance out")
    path, step, grid, prediction = sampling

    def init(key: Key, batch: Batch) -> Params:
        x = batch[data]
        return {"net": net.init(key, x, jnp.zeros(x.shape[:1]), **labels.null(x.shape[0]))}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        x = batch[data]
        loss_key, label_key, dropout_key, noise_key = draws.split(key, 4)
        label = labels.training(label_key, batch)

        def predict(x_t: Array, t: Array) -> Array:
            return net.apply(params["net"], x_t, t, key=dropout_key, **label)

        if variance is not None:
            options: dict[str, Any] = {"scale": variance.scale, "bins": variance.bins}
            return hybrid(
                predict, path, loss_key, x, variance.grid, prediction=prediction, weight=weight, **options
            ), {}
        drawn = None if noise is None else noise(noise_key, x.shape)
        options = {"prediction": prediction, "target": target, "weight": weight}
        return denoising(predict, path, loss_key, x, noise=drawn, time=time, **options), {}

    def denoise(params: Params, x: Array, t: Array, label: dict[str, Array]) -> Array:
        def predict(x: Array, t: Array) -> Array:
            answer = net.apply(params["net"], x, t, **label)
            return answer if variance is None else split_variance(answer)[0]

        return denoiser(predict, path, prediction)(x, t)

    def draw(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        label = labels.asked(n, cond)
        noise_key, step_key = draws.split(key, 2)
        start = path.sigma(jnp.asarray(path.t_noise, jnp.float32)) * (noise or draws.normal)(noise_key, (n, *shape))

        def fraction(x: Array, t: Array) -> Array:
            return split_variance(net.apply(params["net"], x, t, **label))[1]

        if labels.guide is not None and cond is not None:
            null = labels.null(n)["label"]
            chosen = labels.guide(lambda x, t, label: denoise(params, x, t, {"label": label}), cond, null)
        else:
            chosen = lambda x, t: denoise(params, x, t, label)  # noqa: E731
        return sample(step if isinstance(step, Step) else step(fraction), chosen, step_key, start, grid)

    def log_prob(params: Params, key: Key, x: Array, cond: Array | None = None, **options: Any) -> Array:
        from jaxgen.samplers import likelihood  # diffrax takes a second to load, and training does without

        label = labels.asked(x.shape[0], cond)
        options = {"trace": "hutchinson", **options}
        return likelihood.log_prob(lambda x, t: denoise(params, x, t, label), path, key, x, **options)

    return Model(init, (Objective("net", loss),), draw, log_prob)
