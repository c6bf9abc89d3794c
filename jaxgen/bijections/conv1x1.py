"""Invertible 1x1 convolutions: a learned, invertible matrix that mixes the channels."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg as linalg

from jaxgen.bijections.bijection import Bijection, lift
from jaxgen.types import Array, Key, Params

# The default precision of an accelerator's products is too low for what must be inverted.
_PRECISION = jax.lax.Precision.HIGHEST


def conv1x1() -> Bijection:
    """Mix the channels of every pixel: ``y = W x`` with ``W = L (U + diag(exp(s)))``.

    L is lower triangular with ones on its diagonal and U strictly upper triangular, so the log-determinant is the sum
    of s times the number of pixels. W starts as a random orthogonal matrix. Row exchanges and signs, which an LU form
    needs for some matrices, go into the choice of that matrix: exchanged or negated rows leave it orthogonal.

    Returns:
        A `Bijection` of vectors or images; channels are the last axis.

    Reference:
        Kingma & Dhariwal 2018, "Glow", arXiv 1807.03039, section 3.2, eq. 10 and 11.

    Example:
        >>> layer, x = conv1x1(), jnp.ones((1, 2, 2, 3))
        >>> y, log_det = layer.forward(layer.init(jax.random.key(0), x), x)
        >>> bool(jnp.allclose((y**2).sum(), (x**2).sum(), rtol=1e-5)), bool(jnp.abs(log_det[0]) < 1e-5)
        (True, True)
    """

    def init(key: Key, x: Array, condition: Array | None = None) -> Params:
        c = x.shape[-1]
        rotation, _ = jnp.linalg.qr(jax.random.normal(key, (c, c)))
        _, lower, upper = linalg.lu(rotation)
        sign = jnp.sign(jnp.diag(upper))
        lower, upper = sign[:, None] * lower * sign, sign[:, None] * upper
        return {"lower": jnp.tril(lower, -1), "upper": jnp.triu(upper, 1), "log_diagonal": jnp.log(jnp.diag(upper))}

    def factors(params: Params, dtype: Any) -> tuple[Array, Array]:
        c = params["log_diagonal"].shape[0]
        lower = jnp.tril(params["lower"].astype(dtype), -1) + jnp.eye(c, dtype=dtype)
        diagonal = jnp.diag(jnp.exp(params["log_diagonal"].astype(dtype)))
        return lower, jnp.triu(params["upper"].astype(dtype), 1) + diagonal

    def log_determinant(params: Params, x: Array) -> Array:
        value = math.prod(x.shape[1:-1]) * jnp.sum(params["log_diagonal"].astype(x.dtype))
        return jnp.broadcast_to(value, x.shape[:1])

    def forward(params: Params, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        x = lift(x)
        lower, upper = factors(params, x.dtype)
        return _mix(x, jnp.matmul(lower, upper, precision=_PRECISION)), log_determinant(params, x)

    def inverse(params: Params, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        y = lift(y)
        lower, upper = factors(params, y.dtype)
        eye = jnp.eye(len(lower), dtype=y.dtype)
        solved = linalg.solve_triangular(lower, eye, lower=True, unit_diagonal=True)
        return _mix(y, linalg.solve_triangular(upper, solved)), -log_determinant(params, y)

    return Bijection(init, forward, inverse)


def _mix(x: Array, matrix: Array) -> Array:
    return jnp.matmul(x.reshape(-1, x.shape[-1]), matrix.T, precision=_PRECISION).reshape(x.shape)
