"""Flow matching as a model: a network learns the velocity that carries noise to data."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from jaxgen import couplings, draws
from jaxgen.families.labels import Labels
from jaxgen.losses.matching import flow_matching
from jaxgen.losses.times import uniform_time
from jaxgen.paths import Path
from jaxgen.samplers import from_velocity, sample
from jaxgen.types import Array, Batch, Denoise, Info, Key, Model, Net, Objective, Params, Step


def flow_matching_model(
    net: Net,
    path: Path,
    shape: Sequence[int],
    step: Step,
    grid: Array,
    *,
    data: str = "image",
    coupling: couplings.Coupling = couplings.independent,
    time: Callable[[Path, Key, int], Array] = uniform_time,
    classes: int | None = None,
    drop_label: float = 0.1,
    guide: Callable[[Callable[..., Array], Array, Array], Denoise] | None = None,
) -> Model:
    """A flow matching model of ``batch[data]``, of all of it or class by class, with any coupling of noise and data.

    Trained on ``|net(x_t, t) - dx_t/dt|^2`` and sampled by integrating ``dx/dt = net(x, t)`` from noise. With `classes`
    the network is called with ``label [b]`` as well, noise and data are paired within each label, and a share
    `drop_label` of the labels is replaced by the null label, the number `classes`.

    Args:
        net: the velocity; ``apply(params, x [b, *shape], t, key=None)``, and ``label=[b]`` with `classes`.
        path: the path from noise to data.
        shape: of one example, ``(*spatial, c)`` or ``(d,)``.
        step: the sampler's step.
        grid: its times.
        data: the entry of the batch to model.
        coupling: ``coupling(noise, x, key=keys, labels=labels) -> noise``, one of `jaxgen.couplings`.
        time: the law of the training times.
        classes: the number of labels in ``batch["label"]``, integers ``[b]``; None for no labels.
        drop_label: the probability that training replaces a label by the null label.
        guide: ``(denoise(x, t, label), label, null label) -> denoise`` to sample with, such as
            ``lambda denoise, label, null: classifier_free_batched(denoise, label, null, 3.0)``; None samples the class
            itself.

    Returns:
        A `Model` with one group ``"net"``. ``sample(params, key, n, cond=None)`` gives ``[n, *shape]``; `cond` is
        labels ``[n]``, and None the null label. ``log_prob(params, key, x, cond=None, **options)`` is
        `jaxgen.samplers.continuous_flow.log_prob` of the unguided velocity, its trace by random probes unless told
        otherwise.

    Raises:
        ValueError: if `guide` is given without `classes`; when sampling, if labels are given without `classes` or are
            not one an example.

    Reference:
        Lipman et al. 2023, arXiv 2210.02747; with minibatch optimal transport Tong et al. 2024, arXiv 2302.00482.

    Example:
        >>> import jax
        >>> from jaxgen.nets import mlp
        >>> from jaxgen.paths import rectified
        >>> from jaxgen.samplers import euler, grids
        >>> path = rectified()
        >>> model = flow_matching_model(mlp(2, widths=(8,)), path, (2,), euler(path), grids.uniform(path, 4), data="x")
        >>> params = model.init(jax.random.key(0), {"x": jnp.zeros((3, 2))})
        >>> model.sample(params, jax.random.key(1), 5).shape
        (5, 2)
    """
    if guide is not None and classes is None:
        raise ValueError("guide steers towards a class: give the number of classes")
    labels = Labels(classes, drop_label)
    scale = path.sigma(jnp.asarray(path.t_noise, jnp.float32))

    def init(key: Key, batch: Batch) -> Params:
        x = batch[data]
        return {"net": net.init(key, x, jnp.zeros(x.shape[:1]), **labels.null(x.shape[0]))}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        x = batch[data]
        noise_key, loss_key, coupling_key, label_key, dropout_key = draws.split(key, 5)
        noise = coupling(draws.normal(noise_key, x.shape), x, key=coupling_key, labels=labels.of(batch))
        label = labels.training(label_key, batch)

        def predict(x_t: Array, t: Array) -> Array:
            return net.apply(params["net"], x_t, t, key=dropout_key, **label)

        return flow_matching(predict, path, loss_key, x, noise=noise, time=time), {}

    def velocity(params: Params, label: dict[str, Array]) -> Callable[[Array, Array], Array]:
        return lambda x, t: net.apply(params["net"], x, t, **label)

    def draw(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        asked = labels.asked(n, cond)
        noise_key, step_key = draws.split(key, 2)
        start = scale * draws.normal(noise_key, (n, *shape))
        if guide is not None and cond is not None:

            def denoise(x: Array, t: Array, label: Array) -> Array:
                return from_velocity(velocity(params, {"label": label}), path)(x, t)

            chosen = guide(denoise, cond, labels.null(n)["label"])
        else:
            chosen = from_velocity(velocity(params, asked), path)
        return sample(step, chosen, step_key, start, grid)

    def log_prob(params: Params, key: Key, x: Array, cond: Array | None = None, **options: Any) -> Array:
        from jaxgen.samplers import continuous_flow  # diffrax takes a second to load, and training does without

        asked = labels.asked(x.shape[0], cond)
        ends = {"t_data": path.t_data, "t_noise": path.t_noise, "scale": scale}
        options = {"trace": "hutchinson", **ends, **options}
        return continuous_flow.log_prob(velocity(params, asked), key, x, **options)

    return Model(init, (Objective("net", loss),), draw, log_prob)
