"""Stochastic interpolants as a model: from one data set to another."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jaxgen import couplings, draws
from jaxgen.losses.interpolants import Interpolant, bridge_matching, drift
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params


def interpolant_model(
    net: Net,
    bridge: Interpolant,
    *,
    steps: int = 50,
    diffusion: Callable[[Any], Any] | None = None,
    margin: float = 1e-3,
    source: str = "source",
    data: str = "image",
    coupling: couplings.Coupling = couplings.independent,
) -> Model:
    """A model that carries ``batch[source]`` to ``batch[data]``, as noise is carried to data in flow matching.

    With `independent` coupling, row i of the one belongs to row i of the other where the data are pairs (an image and
    its translation); `optimal_transport` and `entropic` pair two sets without pairs. `jaxgen.losses.brownian` with
    ``entropic(2 sigma^2)`` and ``diffusion=lambda t: sigma**2 / 2`` is the Schrodinger bridge of Tong et al.

    Args:
        net: ``apply(params, x [b, *shape], t, key=None)``; the answer has twice the channels of x, the velocity and
            then the noise, where the bridge has noise, and the velocity alone where it has none.
        bridge: one of `jaxgen.losses.interpolants`.
        steps: from source to data, by the midpoint method, or by Euler and Maruyama's with `diffusion`.
        diffusion: ``epsilon(t)`` of ``dx = drift dt + sqrt(2 epsilon) dw``; None for the probability flow.
        margin: how far from the ends of time the solver keeps, where the bridge has noise.
        source: the entry of the batch to start from.
        data: the entry to arrive at.
        coupling: ``coupling(source, x, key=keys) -> source``, one of `jaxgen.couplings`.

    Returns:
        A `Model` with one group ``"net"``; ``sample(params, key, n, cond)`` gives ``[n, *shape]`` from the sources
        ``cond [n, *shape]``. It has no density, for that of the source is unknown.

    Raises:
        ValueError: if there is diffusion and the bridge has no noise; when sampling, if there are not n sources.

    Reference:
        Albergo, Boffi & Vanden-Eijnden 2023, "Stochastic interpolants: a unifying framework for flows and diffusions",
        arXiv 2303.08797; Tong et al. 2024, "Improving and generalizing flow-based generative models with minibatch
        optimal transport", section 3.2.

    Example:
        >>> import jax
        >>> from jaxgen.losses import interpolants
        >>> from jaxgen.nets import mlp
        >>> model = interpolant_model(mlp(4, widths=(8,)), interpolants.bump(0.5), data="x", steps=4)
        >>> params = model.init(jax.random.key(0), {"source": jnp.zeros((3, 2)), "x": jnp.zeros((3, 2))})
        >>> model.sample(params, jax.random.key(1), 5, jnp.zeros((5, 2))).shape
        (5, 2)
    """
    if diffusion is not None and bridge.noise is None:
        raise ValueError("a bridge without noise has no score to diffuse with: leave diffusion out")

    def init(key: Key, batch: Batch) -> Params:
        x = batch[source]
        return {"net": net.init(key, x, jnp.zeros(x.shape[:1]))}

    def answer(params: Params, x: Array, t: Array, key: Key | None = None) -> tuple[Array, Array | None]:
        out = net.apply(params, x, t, key=key)
        if bridge.noise is None:
            return out, None
        velocity, z_hat = jnp.split(out, 2, axis=-1)
        return velocity, z_hat

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        coupling_key, loss_key, dropout_key = draws.split(key, 3)
        start = coupling(batch[source], batch[data], key=coupling_key)
        predict = lambda x, t: answer(params["net"], x, t, dropout_key)  # noqa: E731
        return bridge_matching(predict, bridge, loss_key, start, batch[data]), {}

    def draw(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        if cond is None or cond.shape[0] != n:
            raise ValueError(f"give the {n} sources to start from as cond")
        x = cond.astype(jnp.promote_types(cond.dtype, jnp.float32))
        first = 0.0 if bridge.noise is None else margin
        grid = jnp.linspace(first, 1 - first, steps + 1)

        def rate(params: Params, x: Array, t: Array) -> Array:
            level = 0.0 if diffusion is None else diffusion(t)
            return drift(bridge, *answer(params, x, t), t, level)

        if diffusion is None:
            from jaxgen.samplers.ode import solve_ode  # diffrax takes a second to load, and training does without

            x = solve_ode(rate, params["net"], x, grid[0], grid[-1], solver="midpoint", steps=steps)
        else:
            from jaxgen.samplers.sde import solve_sde

            x = solve_sde(rate, lambda _, x, t: jnp.sqrt(2 * diffusion(t)), params["net"], key, x, grid)
        if bridge.noise is None:
            return x
        velocity, z_hat = answer(params["net"], x, grid[-1])
        return x + margin * velocity - bridge.noise(grid[-1]) * z_hat

    return Model(init, (Objective("net", loss),), draw)
