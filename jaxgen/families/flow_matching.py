"""Flow matching as a model: a network learns the velocity that carries noise to data."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp

from jaxgen import couplings, draws
from jaxgen.losses.matching import flow_matching
from jaxgen.paths import Path
from jaxgen.samplers import from_velocity, sample
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params, Step


def flow_matching_model(
    net: Net,
    path: Path,
    shape: Sequence[int],
    step: Step,
    grid: Array,
    *,
    data: str = "image",
    coupling: Callable[..., Array] = couplings.independent,
) -> Model:
    """A flow matching model of ``batch[data]``, unconditional, with a pluggable coupling of noise and data.

    Trained on ``|net(x_t, t) - dx_t/dt|^2`` and sampled by integrating ``dx/dt = net(x, t)`` from noise.

    Args:
        net: the velocity; ``apply(params, x [b, *shape], t)``.
        path: the path from noise to data.
        shape: of one example, ``(*spatial, c)`` or ``(d,)``.
        step: the sampler's step.
        grid: its times.
        data: the entry of the batch to model.
        coupling: ``coupling(noise, x) -> noise``, one of `jaxgen.couplings`.

    Returns:
        A `Model` with one group ``"net"``; ``sample(params, key, n)`` gives ``[n, *shape]``.

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

    def init(key: Key, batch: Batch) -> Params:
        x = batch[data]
        return {"net": net.init(key, x, jnp.zeros(x.shape[:1]))}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        x = batch[data]
        noise_key, loss_key = draws.split(key, 2)
        noise = coupling(draws.normal(noise_key, x.shape), x)
        return flow_matching(lambda x_t, t: net.apply(params["net"], x_t, t), path, loss_key, x, noise=noise), {}

    def draw(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        if cond is not None:
            raise ValueError("this model is unconditional: leave cond out")
        noise_key, step_key = draws.split(key, 2)
        start = path.sigma(jnp.asarray(path.t_noise, jnp.float32)) * draws.normal(noise_key, (n, *shape))
        denoise = from_velocity(lambda x, t: net.apply(params["net"], x, t), path)
        return sample(step, denoise, step_key, start, grid)

    return Model(init, (Objective("net", loss),), draw)
