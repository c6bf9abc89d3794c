"""Normalizing flows as a model: data is what a bijection makes of normal numbers, so its density is known."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.bijections import Bijection
from jaxgen.families.dequantisation import Dequantiser
from jaxgen.losses import gaussian
from jaxgen.types import Array, Batch, Info, Key, Model, Objective, Params


def flow_model(
    bijection: Bijection,
    shape: Sequence[int],
    *,
    data: str = "image",
    condition: str | None = None,
    classes: int | None = None,
    dequantiser: Dequantiser | None = None,
) -> Model:
    """A normalizing flow of ``batch[data]``, trained on its negative log-likelihood.

    ``log p(x) = log N(f(x); 0, I) + log |det df/dx|``. With a dequantiser the data is whole numbers and the loss an
    upper bound of its negative log-probability, ``log q(y | x) - log p(y)`` at one y a step.

    Args:
        bijection: f, from data to the base.
        shape: of one example, ``(*spatial, c)`` or ``(d,)``.
        data: the entry of the batch to model.
        condition: the entry of the batch that the bijection is given as its condition, ``[b, e]``; None for none.
        classes: the number of labels where that entry is one of labels, integers ``[b]``; they are given one-hot.
        dequantiser: for data of few values in [-1, 1], see `jaxgen.families.dequantisation`; None for continuous data.

    Returns:
        A `Model` with one group ``"net"``, which with a dequantiser logs bits per dimension.
        ``sample(params, key, n, cond=None, temperature=1.0)`` gives ``[n, *shape]`` from a base of standard deviation
        `temperature`; `cond` is what `condition` names: labels ``[n]``, or ``[n, e]``. ``log_prob(params, key, x,
        cond=None)`` is exact, `key` not used; with a dequantiser it is that bound from one draw a call, in nats of a
        log-probability of whole numbers.

    Raises:
        ValueError: if `classes` is given without `condition`; later, if `cond` is missing or not asked for.

    Reference:
        Rezende & Mohamed 2015, "Variational inference with normalizing flows", eq. 5; Dinh, Sohl-Dickstein & Bengio
        2017, "Density estimation using Real NVP", eq. 2.

    Example:
        >>> from jaxgen.families import real_nvp
        >>> model = flow_model(real_nvp(2, layers=2, widths=(8,)), (2,), data="x")
        >>> params = model.init(jax.random.key(0), {"x": jnp.eye(2)})
        >>> model.sample(params, jax.random.key(1), 5).shape, model.log_prob(params, None, jnp.eye(2)).shape
        ((5, 2), (2,))
    """
    if classes is not None and condition is None:
        raise ValueError("classes counts the labels that condition names: name their entry of the batch")

    def given(cond: Array | None, n: int) -> Array | None:
        if condition is None:
            if cond is not None:
                raise ValueError("this flow is unconditional: leave cond out, or name a condition")
            return None
        if cond is None or cond.shape[:1] != (n,):
            raise ValueError(f"this flow is conditional: give cond, one {condition} an example")
        return cond.astype(jnp.float32) if classes is None else jax.nn.one_hot(cond, classes)

    def of(batch: Batch) -> Array | None:
        return None if condition is None else given(batch[condition], batch[data].shape[0])

    def continuous(params: Params, key: Key, x: Array) -> tuple[Array, Array]:
        if dequantiser is None:
            return x, jnp.zeros(x.shape[0])
        return dequantiser.draw(params["dequantiser"], key, x)

    def init(key: Key, batch: Batch) -> Params:
        x, params = batch[data], {}
        flow_key, dequantiser_key, noise_key = jax.random.split(key, 3)
        if dequantiser is not None:
            params["dequantiser"] = dequantiser.init(dequantiser_key, x)
        params["flow"] = bijection.init(flow_key, continuous(params, noise_key, x)[0], of(batch))
        return {"net": params}

    def density(params: Params, key: Key, x: Array, condition: Array | None) -> Array:
        y, log_q = continuous(params["net"], key, x)
        z, log_det = bijection.forward(params["net"]["flow"], y, condition)
        return log_det - gaussian(jnp.zeros_like(z), z) - log_q

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        x = batch[data]
        value = -density(params, key, x, of(batch))
        return value, {} if dequantiser is None else {"bits": value / (x[0].size * jnp.log(2.0))}

    def sample(params: Params, key: Key, n: int, cond: Array | None = None, temperature: float = 1.0) -> Array:
        flow, asked = params["net"]["flow"], given(cond, n)
        example = jax.ShapeDtypeStruct((n, *shape), jnp.float32)
        base, _ = jax.eval_shape(bijection.forward, flow, example, asked)
        y, _ = bijection.inverse(flow, temperature * draws.normal(key, base.shape), asked)
        return y if dequantiser is None else dequantiser.restore(y)

    def log_prob(params: Params, key: Key, x: Array, cond: Array | None = None) -> Array:
        return density(params, key, x, given(cond, x.shape[0]))

    return Model(init, (Objective("net", loss),), sample, log_prob)
