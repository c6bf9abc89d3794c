"""Flow matching as a model: a network learns the velocity that carries noise to data."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from jaxgen import couplings, draws
from jaxgen.families.labels import Labels
from jaxgen.losses.matching import flow_matching
from jaxgen.losses.times import uniform_time
from jaxgen.paths import Path
from jaxgen.samplers import Sampling, from_velocity, sample
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params, Step


def flow_matching_model(
    net: Net,
    shape: Sequence[int],
    sampling: Sampling,
    *,
    data: str = "image",
    coupling: couplings.Coupling = couplings.independent,
    time: Callable[[Path, Key, int], Array] = uniform_time,
    labels: Labels = Labels(),  # noqa: B008  (a tuple, which no one can change)
) -> Model:
    """A flow matching model of ``batch[data]``, of all of it or class by class, with any coupling of noise and data.

    Trained on ``|net(x_t, t) - dx_t/dt|^2`` and sampled by integrating ``dx/dt = net(x, t)`` from noise. With labels
    the network is called with ``label [b]`` as well, noise and data are paired within each label, and a share
    ``labels.drop`` of them is replaced by the null label, the number of classes.

    Args:
        net: the velocity; ``apply(params, x [b, *shape], t, key=None)``, and ``label=[b]`` with labels.
        shape: of one example, ``(*spatial, c)`` or ``(d,)``.
        sampling: the path from noise to data, the sampler's step and its grid; the network predicts the velocity.
        data: the entry of the batch to model.
        coupling: ``coupling(noise, x, key=keys, labels=labels) -> noise``, one of `jaxgen.couplings`.
        time: distribution of the training times, ``(path, key, n) -> [n]``, one of `jaxgen.losses.times`.
        labels: those in ``batch["label"]``, integers ``[b]``, and how samples follow them; without any by default.

    Returns:
        A `Model` with one group ``"net"``. ``sample(params, key, n, cond=None)`` gives ``[n, *shape]``; `cond` is
        labels ``[n]``, and None the null label. ``log_prob(params, key, x, cond=None, **options)`` is
        `jaxgen.samplers.continuous_flow.log_prob` of the unguided velocity, its trace by random probes unless told
        otherwise.

    Raises:
        ValueError: if there is a `labels.guide` but no class, or the prediction is another than the velocity; when
            sampling, if labels are given to a model without, or not one per example.

    Reference:
        Lipman et al. 2023, arXiv 2210.02747; with minibatch optimal transport Tong et al. 2024, arXiv 2302.00482.

    Example:
        >>> import jax
        >>> from jaxgen.nets import mlp
        >>> from jaxgen.paths import rectified
        >>> from jaxgen.samplers import euler, grids
        >>> path = rectified()
        >>> sampling = Sampling(path, euler(path), grids.uniform(path, 4))
        >>> model = flow_matching_model(mlp(2, widths=(8,)), (2,), sampling, data="x")
        >>> params = model.init(jax.random.key(0), {"x": jnp.zeros((3, 2))})
        >>> model.sample(params, jax.random.key(1), 5).shape
        (5, 2)
    """
    labels.check()
    path, step, grid, prediction = sampling
    if prediction != "velocity" or not isinstance(step, Step):
        raise ValueError(f"flow matching trains the velocity and takes a plain step: the prediction is {prediction!r}")
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
        if labels.guide is not None and cond is not None:

            def denoise(x: Array, t: Array, label: Array) -> Array:
                return from_velocity(velocity(params, {"label": label}), path)(x, t)

            chosen = labels.guide(denoise, cond, labels.null(n)["label"])
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
