"""Continuous normalizing flows: a velocity that carries noise to data, trained by maximum likelihood."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.families.labels import Labels
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params


class Costs(NamedTuple):
    """What training adds to the negative log-likelihood, so that the way is straight and few steps suffice (RNODE).

    Attributes:
        kinetic: weight of the kinetic energy, the integral of ``|velocity|^2``; 0.01 is usual.
        jacobian: weight of the integral of the squared Frobenius norm of the velocity's Jacobian; 0.01 is usual.
    """

    kinetic: float = 0.0
    jacobian: float = 0.0


def cnf_model(
    net: Net,
    shape: Sequence[int],
    *,
    solver: Any = "dopri5",
    steps: int = 8,
    trace: str = "exact",
    probes: int = 1,
    costs: Costs = Costs(),  # noqa: B008  (a tuple, which no one can change)
    adjoint: Any = None,
    data: str = "image",
    classes: int | None = None,
) -> Model:
    """A continuous normalizing flow from standard normal noise (t=0) to ``batch[data]`` (t=1).

    Trained on ``-log p(x) + costs.kinetic * K + costs.jacobian * J`` in nats, where K is the integral of
    ``|velocity|^2`` and J that of the squared Frobenius norm of its Jacobian, on the way from data to noise in `steps`
    equal steps. The likelihood is that of the steps as they are made; ``log_prob`` and ``sample`` solve the equation to
    a tolerance, by Dopri5 unless told otherwise. The network computes in float32 whatever its parameters are: a
    divergence says how the velocity changes with x, and must be that of the velocity which carries x, not of one that
    sees x rounded.

    Args:
        net: the velocity, ``apply(params, x [b, *shape], t, key=None)``, and ``label=[b]`` with `classes`.
        shape: of one example, ``(*spatial, c)`` or ``(d,)``.
        solver: one of `jaxgen.samplers.ode.SOLVERS`, or a diffrax solver.
        steps: of the solver while training.
        trace: the divergence while training: ``"exact"``, at as many derivatives as an example has dimensions, or
            ``"hutchinson"``, from random probes (FFJORD).
        probes: how many probes an example.
        costs: the weights of K and J; none by default.
        adjoint: a diffrax adjoint for training; None checkpoints every step, the fastest of those measured.
        data: the entry of the batch to model.
        classes: the number of labels in ``batch["label"]``, integers ``[b]``; None for no labels.

    Returns:
        A `Model` with one group ``"net"``. ``sample(params, key, n, cond=None, **options)`` gives ``[n, *shape]`` and
        ``log_prob(params, key, x, cond=None, **options)`` ``[b]``; `cond` is labels, needed where there are classes;
        options are those of `jaxgen.samplers.ode.solve_ode`, and for ``log_prob`` `trace` and `probes` as well.

    Raises:
        ValueError: if the trace is an unknown word; when sampling, if labels are missing or not one per example.

    Reference:
        Chen et al. 2018, "Neural ordinary differential equations"; Grathwohl et al. 2019, "FFJORD"; Finlay et al.
        2020, "How to train your neural ODE: the world of Jacobian and kinetic regularization" (RNODE).

    Example:
        >>> import jax
        >>> from jaxgen.nets import mlp
        >>> model = cnf_model(mlp(2, widths=(8,)), (2,), data="x", costs=Costs(kinetic=0.01))
        >>> params = model.init(jax.random.key(0), {"x": jnp.zeros((3, 2))})
        >>> model.log_prob(params, jax.random.key(1), jnp.zeros((5, 2))).shape
        (5,)
    """
    if trace not in ("exact", "hutchinson"):
        raise ValueError(f"unknown trace {trace!r}: choose exact or hutchinson")
    labels, (kinetic, jacobian) = Labels(classes), costs

    def asked(n: int, cond: Array | None) -> dict[str, Array]:
        if classes is not None and cond is None:
            raise ValueError("this model was trained label by label and has no null label: give cond")
        return labels.asked(n, cond)

    def init(key: Key, batch: Batch) -> Params:
        x = batch[data]
        return {"net": net.init(key, x, jnp.zeros(x.shape[:1]), **labels.null(x.shape[0]))}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        from jaxgen.samplers import continuous_flow  # diffrax takes a second to load

        x, held = batch[data], _unrounded(params["net"])
        label = asked(x.shape[0], labels.of(batch))
        carried = continuous_flow.carry(
            lambda x, t: net.apply(held, x, t, **label),
            x,
            1.0,
            0.0,
            probes=continuous_flow.draw_probes(key, x, trace, probes),
            costs=bool(kinetic or jacobian),
            solver=solver,
            steps=steps,
            adjoint=adjoint,
        )
        nats = -continuous_flow.normal_log_prob(carried.x) - carried.gained
        if carried.kinetic is None or carried.jacobian is None:
            return nats, {}
        info = {"nats": nats, "kinetic": carried.kinetic, "jacobian": carried.jacobian}
        return nats + kinetic * carried.kinetic + jacobian * carried.jacobian, info

    def draw(params: Params, key: Key, n: int, cond: Array | None = None, **options: Any) -> Array:
        from jaxgen.samplers.ode import explicit, solve_ode

        label = asked(n, cond)
        noise = draws.normal(key, (n, *shape))
        net_params = _unrounded(params["net"])
        velocity, held = explicit(lambda x, t: net.apply(net_params, x, t, **label), noise, jnp.float32(0))
        return solve_ode(velocity, held, noise, 0.0, 1.0, **{"solver": "dopri5", **options})

    def log_prob(params: Params, key: Key, x: Array, cond: Array | None = None, **options: Any) -> Array:
        from jaxgen.samplers import continuous_flow

        label, held = asked(x.shape[0], cond), _unrounded(params["net"])
        options = {"trace": trace, "probes": probes, "solver": "dopri5", **options}
        return continuous_flow.log_prob(lambda x, t: net.apply(held, x, t, **label), key, x, **options)

    return Model(init, (Objective("net", loss),), draw, log_prob)


def _unrounded(params: Params) -> Params:
    return jax.tree.map(lambda leaf: leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)), params)
