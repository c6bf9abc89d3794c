"""Points carried along a velocity field, and with them their log-density: continuous normalizing flows."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgen import divergence
from jaxgen.divergence import Field
from jaxgen.samplers.ode import explicit, solve_ode
from jaxgen.types import Array, Key


class Carried(NamedTuple):
    """Where points came to, and what it took.

    Attributes:
        x: the points at the end, of the shape of those at the start.
        gained: the integral of the divergence along the way ``[b]``:
            ``log p_start(x_start) = log p_end(x_end) + gained``.
        kinetic: the integral of ``|velocity|^2`` over the time taken ``[b]``; None if costs were not asked for.
        jacobian: that of the squared Frobenius norm of its Jacobian ``[b]``, estimated where the divergence is.
    """

    x: Array
    gained: Array
    kinetic: Array | None = None
    jacobian: Array | None = None


def _sum(values: Array) -> Array:
    return jnp.sum(values, tuple(range(1, values.ndim)))


def _with_costs(field: Field, x: Array, probes: Array | None) -> tuple[Array, Array, Array]:
    """The field, its divergence and the squared norm of its Jacobian, from the same products."""
    if probes is None:
        # The divergence is the mean over these probes, exactly, as it is over random ones on average.
        probes = math.sqrt(x[0].size) * divergence.basis(x)
    value, each = divergence.products(field, x, probes)
    inner, squares = (jnp.mean(jax.vmap(_sum)(a), 0) for a in (each * probes, each**2))
    return value, inner, squares


def carry(
    velocity: Any, x: Array, t0: Any, t1: Any, *, probes: Array | None = None, costs: bool = False, **options: Any
) -> Carried:
    """Carry points along ``dx/dt = velocity(x, t)`` and integrate the divergence, in one solve.

    Args:
        velocity: ``(x [b, *shape], t) -> dx/dt``, example by example, with a scalar t.
        x: the points at t0.
        t0: where to start.
        t1: where to end, on either side.
        probes: ``[k, b, *shape]`` of `jaxgen.divergence.draw_probes` for Hutchinson's estimate of the divergence, held
            fixed along the way; None for the exact one, at as many derivatives as an example has dimensions.
        costs: whether to integrate the kinetic energy and the Jacobian's norm as well.
        **options: of `solve_ode`: solver, steps or rtol and atol, adjoint.

    Returns:
        A `Carried`. Gradients flow to x and to what the velocity closes over.

    Reference:
        Chen et al. 2018, "Neural ordinary differential equations", theorem 1; Grathwohl et al. 2019, "FFJORD"; Finlay
        et al. 2020, "How to train your neural ODE", section 4, for the costs.

    Example:
        >>> carried = carry(lambda x, t: -x, jnp.ones((1, 2)), 0.0, 1.0, costs=True, rtol=1e-6, atol=1e-6)
        >>> [round(float(v[0]), 4) for v in (carried.x[:, 0], carried.gained, carried.kinetic, carried.jacobian)]
        [0.3679, -2.0, 0.8647, 2.0]
    """
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    forwards = jnp.sign(jnp.asarray(t1 - t0, dtype))
    start = x.astype(dtype)
    pure, held = explicit(lambda y, t: velocity(y.astype(x.dtype), t).astype(dtype), start, jnp.asarray(t0, dtype))

    def rates(params: Any, state: Any, t: Array) -> Any:
        held, probes = params
        y = state[0]

        def field(y: Array) -> Array:
            return pure(held, y, t)

        if costs:
            value, div, squares = _with_costs(field, y, probes)
            return value, div, forwards * _sum(value**2), forwards * squares
        if probes is None:
            return divergence.exact(field, y)
        return divergence.estimate(field, y, probes)

    zeros = (jnp.zeros(x.shape[0], dtype),) * (3 if costs else 1)
    end, *integrals = solve_ode(rates, (held, probes), (start, *zeros), t0, t1, **options)
    return Carried(end, *integrals)


def normal_log_prob(x: Array, scale: Array | float = 1.0) -> Array:
    """The log-density of ``scale * normal``, in float32 or wider.

    Args:
        x: ``[b, *shape]``.
        scale: the standard deviation.

    Returns:
        ``[b]`` nats.

    Example:
        >>> round(float(normal_log_prob(jnp.zeros((1, 2)))[0]), 4)
        -1.8379
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return -0.5 * _sum((x / scale) ** 2) - x[0].size * (0.5 * math.log(2 * math.pi) + jnp.log(scale))


def log_prob(
    velocity: Any,
    key: Key | None,
    x: Array,
    *,
    t_data: float = 1.0,
    t_noise: float = 0.0,
    scale: Array | float = 1.0,
    trace: str = "exact",
    probes: int = 1,
    gaussian: bool = False,
    **options: Any,
) -> Array:
    """The log-density at t_data of what starts as ``scale * normal`` at t_noise and follows a velocity.

    ``log p(x) = log N(x_noise; 0, scale^2) + integral from t_data to t_noise of div velocity dt``. For the velocity
    that a denoiser implies see `jaxgen.samplers.likelihood`, which keeps clear of the ends where that one is singular.

    Args:
        velocity: ``(x [b, *shape], t) -> dx/dt``, example by example, with a scalar t.
        key: one key, or keys ``[b]``, for the probes; unused, and may be None, where the trace is exact.
        x: data ``[b, *shape]``.
        t_data: the time of the data.
        t_noise: the time of the noise.
        scale: the standard deviation of the noise.
        trace: ``"exact"``, at as many derivatives as an example has dimensions, or ``"hutchinson"``, unbiased from
            random probes that are held fixed along the flow.
        probes: how many probes an example.
        gaussian: normal probes instead of signs.
        **options: of `solve_ode`: solver, steps or rtol and atol, adjoint.

    Returns:
        ``[b]`` nats, float32 (float64 for x in float64).

    Raises:
        ValueError: if the trace is an unknown word, or random probes have no key.

    Reference:
        Grathwohl et al. 2019, "FFJORD", eq. 5 and 8.

    Example:
        >>> value = log_prob(lambda x, t: 0 * x, None, jnp.zeros((1, 2)))
        >>> round(float(value[0]), 4)
        -1.8379
    """
    carried = carry(velocity, x, t_data, t_noise, probes=draw_probes(key, x, trace, probes, gaussian), **options)
    return normal_log_prob(carried.x, scale) + carried.gained


def draw_probes(key: Key | None, x: Array, trace: str, probes: int = 1, gaussian: bool = False) -> Array | None:
    """The probes for x that a word asks for: None for ``"exact"``, `jaxgen.divergence.draw_probes` for the other.

    Raises:
        ValueError: if the trace is an unknown word, or random probes have no key.

    Example:
        >>> draw_probes(None, jnp.zeros((2, 3)), "exact") is None
        True
    """
    if trace not in ("exact", "hutchinson"):
        raise ValueError(f"unknown trace {trace!r}: choose exact or hutchinson")
    if trace == "exact":
        return None
    if key is None:
        raise ValueError("random probes need a key")
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    return divergence.draw_probes(key, x.shape, probes, gaussian=gaussian, dtype=dtype)
