"""MeanFlow as a model: a flow that one step, or a few, can follow."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import lax

from jaxgen import couplings, draws
from jaxgen.losses.mean_flow import adaptively_weighted, interval_times, mean_flow
from jaxgen.paths import Path
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params


def mean_flow_model(
    net: Net,
    path: Path,
    shape: Sequence[int],
    grid: Array,
    *,
    data: str = "image",
    coupling: couplings.Coupling = couplings.independent,
    times: Callable[[Path, Key, int], tuple[Array, Array]] = interval_times,
    power: float = 1.0,
) -> Model:
    """A model of ``batch[data]`` whose network answers the mean velocity between two times.

    Trained on the adaptively weighed error of `jaxgen.losses.mean_flow`. A step of any length is one evaluation,
    ``x_s = x_t + (s - t) net(x_t, t, s)``: the grid ``[t_noise, t_data]`` draws samples with one.

    Args:
        net: ``apply(params, x [b, *shape], t, s, key=None)``, such as `jaxgen.nets.interval` makes of other networks.
        path: the path from noise to data, of finite velocity: `jaxgen.paths.rectified`.
        shape: of one example, ``(*spatial, c)`` or ``(d,)``.
        grid: the times to sample at ``[steps + 1]``, from noise to data.
        data: the entry of the batch to model.
        coupling: ``coupling(noise, x, key=keys) -> noise``, one of `jaxgen.couplings`.
        times: draws the training times, ``(path, keys [b], b) -> (t [b], s [b])``.
        power: of the adaptive weight; 0 leaves the squared error as it is.

    Returns:
        A `Model` with one group ``"net"``, which logs the squared error itself; ``sample(params, key, n)`` gives
        ``[n, *shape]``. It has no density.

    Reference:
        Geng et al. 2025, "Mean flows for one-step generative modeling", arXiv 2505.13447.

    Example:
        >>> import jax
        >>> from jaxgen.nets import interval, mlp
        >>> from jaxgen.paths import rectified
        >>> net = interval(mlp(2, widths=(8,)), "condition")
        >>> model = mean_flow_model(net, rectified(), (2,), jnp.array([0.0, 1.0]), data="x")
        >>> params = model.init(jax.random.key(0), {"x": jnp.zeros((3, 2))})
        >>> model.sample(params, jax.random.key(1), 5).shape
        (5, 2)
    """

    def init(key: Key, batch: Batch) -> Params:
        x = batch[data]
        t = jnp.zeros(x.shape[:1])
        return {"net": net.init(key, x, t, t)}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        x = batch[data]
        noise_key, loss_key, coupling_key, dropout_key = draws.split(key, 4)
        noise = coupling(draws.normal(noise_key, x.shape), x, key=coupling_key)

        def predict(x_t: Array, t: Array, s: Array) -> Array:
            return net.apply(params["net"], x_t, t, s, key=dropout_key)

        error = mean_flow(predict, path, loss_key, x, noise=noise, times=times)
        return adaptively_weighted(error, power), {"error": error}

    def draw(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        if cond is not None:
            raise ValueError("this model is unconditional: leave cond out")
        start = path.sigma(jnp.asarray(path.t_noise, jnp.float32)) * draws.normal(key, (n, *shape))

        def step(x: Array, ends: tuple[Array, Array]) -> tuple[Array, None]:
            t, s = ends
            return x + (s - t) * net.apply(params["net"], x, t, s).astype(x.dtype), None

        return lax.scan(step, start, (grid[:-1], grid[1:]))[0]

    return Model(init, (Objective("net", loss),), draw)
