"""Diffusion as a model: a network learns to take noise away from data, at every level of noise."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp

from jaxgen import draws
from jaxgen.losses.matching import flow_matching, uniform_time
from jaxgen.paths import Path
from jaxgen.samplers import denoiser, sample
from jaxgen.types import Array, Batch, Denoise, Info, Key, Model, Net, Objective, Params, Step


def diffusion_model(
    net: Net,
    path: Path,
    shape: Sequence[int],
    step: Step,
    grid: Array,
    *,
    prediction: str = "noise",
    target: str | None = None,
    weight: Callable[[Array], Array] | None = None,
    time: Callable[[Path, Key, int], Array] = uniform_time,
    data: str = "image",
    classes: int | None = None,
    drop_label: float = 0.1,
    guide: Callable[[Denoise, Denoise], Denoise] | None = None,
) -> Model:
    """A diffusion model of ``batch[data]``, of all of it or class by class.

    Trained on ``w(t) mean |net(x_t, t) - target|^2`` at ``x_t = alpha x0 + sigma noise``; the defaults are the simple
    objective of DDPM. With `classes` the network is called with ``label [b]`` as well; a share `drop_label` of the
    labels is replaced by the null label, the number `classes`, so that one network serves both sides of
    classifier-free guidance.

    Args:
        net: ``apply(params, x [b, *shape], t [b] or scalar, key=None)``, and ``label=[b]`` with `classes`; a network of
            `jaxgen.preconditioning` predicts ``"x0"``.
        path: the path.
        shape: of one example, ``(*spatial, c)`` or ``(d,)``.
        step: the sampler's step.
        grid: its times.
        prediction: what the network answers, one of `jaxgen.paths.PREDICTIONS`.
        target: the space of the error; None for that of the prediction.
        weight: ``w(t [b]) -> [b]``, one of `jaxgen.losses.weights`; None weighs all times alike.
        time: the law of the training times.
        data: the entry of the batch to model.
        classes: the number of labels in ``batch["label"]``, integers ``[b]``; None for no labels.
        drop_label: the probability that training replaces a label by the null label.
        guide: ``(denoise of the class, denoise of the null label) -> denoise`` to sample with, such as
            ``lambda of_class, of_all: classifier_free(of_class, of_all, 3.0)``; None samples the class itself.

    Returns:
        A `Model` with one group ``"net"``. ``sample(params, key, n, cond=None)`` gives ``[n, *shape]``; `cond` is
        labels ``[n]``, and None the null label.

    Raises:
        ValueError: if `guide` is given without `classes`; when sampling, if labels are given without `classes` or are
            not one an image.

    Reference:
        Ho et al. 2020, "Denoising diffusion probabilistic models", eq. 14; Ho & Salimans 2022, "Classifier-free
        diffusion guidance", algorithm 1, for the dropped labels.

    Example:
        >>> import jax
        >>> from jaxgen.nets import mlp
        >>> from jaxgen.paths import variance_preserving
        >>> from jaxgen.samplers import ddim, grids
        >>> path = variance_preserving()
        >>> model = diffusion_model(mlp(2, widths=(8,)), path, (2,), ddim(path), grids.uniform(path, 4), data="x")
        >>> params = model.init(jax.random.key(0), {"x": jnp.zeros((3, 2))})
        >>> model.sample(params, jax.random.key(1), 5).shape
        (5, 2)
    """
    if guide is not None and classes is None:
        raise ValueError("guide steers towards a class: give the number of classes")

    null_label = 0 if classes is None else classes

    def null(n: int) -> Array:
        return jnp.full((n,), null_label, jnp.int32)

    def init(key: Key, batch: Batch) -> Params:
        x = batch[data]
        label = {} if classes is None else {"label": null(x.shape[0])}
        return {"net": net.init(key, x, jnp.zeros(x.shape[:1]), **label)}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        x = batch[data]
        loss_key, label_key, dropout_key = draws.split(key, 3)
        label = {}
        if classes is not None:
            dropped = draws.bernoulli(label_key, drop_label, x.shape[:1])
            label["label"] = jnp.where(dropped, null_label, batch["label"])

        def predict(x_t: Array, t: Array) -> Array:
            return net.apply(params["net"], x_t, t, key=dropout_key, **label)

        space = target or prediction
        value = flow_matching(predict, path, loss_key, x, time=time, prediction=prediction, target=space, weight=weight)
        return value, {}

    def denoise(params: Params, label: Array | None) -> Denoise:
        inputs = {} if label is None else {"label": label}
        return denoiser(lambda x, t: net.apply(params["net"], x, t, **inputs), path, prediction)

    def draw(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        if cond is not None and classes is None:
            raise ValueError("this model is unconditional: leave cond out, or give the number of classes")
        if cond is not None and cond.shape != (n,):
            raise ValueError(f"labels of shape {cond.shape} for {n} images: give one an image")
        noise_key, step_key = draws.split(key, 2)
        start = path.sigma(jnp.asarray(path.t_noise, jnp.float32)) * draws.normal(noise_key, (n, *shape))
        if classes is None:
            return sample(step, denoise(params, None), step_key, start, grid)
        chosen = denoise(params, null(n) if cond is None else cond)
        if guide is not None and cond is not None:
            chosen = guide(chosen, denoise(params, null(n)))
        return sample(step, chosen, step_key, start, grid)

    return Model(init, (Objective("net", loss),), draw)
