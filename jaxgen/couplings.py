"""Couplings: which noise is paired with which data within a batch.

A coupling chooses the *noise* of each example and never moves the data, so conditions, masks and labels stay with their
data: ``noise = coupling(noise, x, key=keys, labels=labels)``. The noise may be another data set, such as the images
that a translation starts from.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxgen import draws
from jaxgen.types import Array, Key

Coupling = Callable[..., Array]
"""``coupling(noise, x, *, key=None, labels=None) -> noise``; the key is for couplings that draw."""


def independent(noise: Array, x: Array, *, key: Key | None = None, labels: Array | None = None) -> Array:
    """Leave the noise as it was drawn: noise and data are independent.

    Args:
        noise: standard normal noise ``[b, *spatial, c]``.
        x: clean data of the same shape.
        key: ignored, as `labels` is; there so that couplings can replace each other.
        labels: ignored.

    Returns:
        The noise.

    Example:
        >>> independent(jnp.ones((2, 3)), jnp.zeros((2, 3))).shape
        (2, 3)
    """
    del x, key, labels
    return noise


def optimal_transport(noise: Array, x: Array, *, key: Key | None = None, labels: Array | None = None) -> Array:
    """Reorder the noise to minimise ``sum_i |x_i - noise_i|^2`` over the batch, exactly (Hungarian algorithm, O(b^3)).

    A model that is given a condition learns, for each condition, the noise that was paired with it. Optimal transport
    over the whole batch makes that noise depend on the condition, while sampling starts from standard normal noise: the
    conditional distribution comes out wrong. With `labels`, noise is exchanged only between examples of equal label and
    stays standard normal given the label. Where every condition is its own (one image each), use `independent`.

    Args:
        noise: standard normal noise ``[b, *spatial, c]``.
        x: clean data of the same shape.
        key: ignored: nothing is drawn.
        labels: the condition of each example, ``[b]`` or ``[b, ...]``, compared for equality; None pairs
            the whole batch.

    Returns:
        The noise reordered along the first axis: row i is paired with ``x[i]``.

    Raises:
        ValueError: if the shapes differ.

    Reference:
        Tong et al. 2024, "Improving and generalizing flow-based generative models with minibatch optimal transport",
        section 3.2; Pooladian et al. 2023, "Multisample flow matching", section 3.

    Example:
        >>> x, noise = jnp.array([[0.0], [5.0]]), jnp.array([[4.0], [1.0]])
        >>> optimal_transport(noise, x).tolist()
        [[1.0], [4.0]]
        >>> optimal_transport(noise, x, labels=jnp.array([0, 1])).tolist()
        [[4.0], [1.0]]
    """
    del key
    inner = _inner_products(noise, x, labels)
    # |x|^2 and |noise|^2 add the same to every assignment: only the inner product decides.
    row, column = optax.assignment.hungarian_algorithm(-inner)
    return noise[jnp.zeros_like(column).at[row].set(column)]


COUPLINGS: dict[str, Coupling] = {"independent": independent, "optimal_transport": optimal_transport}
"""Those without settings, by name."""


def entropic(regularisation: float, iterations: int = 100) -> Coupling:
    """A coupling that draws the noise of each example from the entropic transport plan of the batch.

    ``noise[i]`` becomes ``noise[j]`` with probability ``plan[i, j] / sum_j plan[i, j]``; the plan is `entropic_plan`.
    With regularisation ``2 sigma^2`` and Brownian bridges of diffusion sigma between the pairs
    (`jaxgen.losses.brownian`) it is the Schrodinger bridge between noise and data, of the batch; towards 0 it becomes
    `optimal_transport`, towards infinity `independent`.

    Args:
        regularisation: in units of squared distance, above 0; where it is far below the distances the iterations
            converge slowly.
        iterations: of Sinkhorn's algorithm.

    Returns:
        A coupling, which needs ``key``: one, or keys ``[b]``. Some noise may be chosen twice and some not at all.

    Raises:
        ValueError: if the regularisation is not above 0; when it is called, if there is no key or the shapes differ.

    Reference:
        Tong et al. 2024, "Improving and generalizing flow-based generative models with minibatch optimal transport",
        section 3.2 (SB-CFM); Cuturi 2013, "Sinkhorn distances".

    Example:
        >>> x, noise = jnp.array([[0.0], [5.0]]), jnp.array([[4.0], [1.0]])
        >>> entropic(0.1)(noise, x, key=jax.random.key(0)).tolist()
        [[1.0], [4.0]]
    """
    if regularisation <= 0:
        raise ValueError(f"the regularisation must be above 0, got {regularisation}")

    def coupling(noise: Array, x: Array, *, key: Key | None = None, labels: Array | None = None) -> Array:
        if key is None:
            raise ValueError("an entropic coupling draws: give it a key")
        log_plan = _log_plan(noise, x, regularisation, iterations, labels)
        gumbel = -jnp.log(-jnp.log(draws.uniform(key, log_plan.shape) + jnp.finfo(jnp.float32).tiny))
        return jnp.asarray(noise)[jnp.argmax(log_plan + gumbel, axis=1)]

    return coupling


def entropic_plan(
    noise: Array, x: Array, regularisation: float, iterations: int = 100, *, labels: Array | None = None
) -> Array:
    """The plan P that minimises ``sum_ij P_ij |x_i - noise_j|^2 + regularisation sum_ij P_ij log P_ij``.

    Each row and each column sums to ``1 / b``: the columns up to rounding, the rows as far as the iterations went.

    Args:
        noise: ``[b, *spatial, c]``.
        x: data of the same shape.
        regularisation: in units of squared distance, above 0.
        iterations: of Sinkhorn's algorithm, in the logarithm of the plan.
        labels: the condition of each example; nothing is transported between different ones.

    Returns:
        ``[b, b]``, a row for each example of x and a column for each noise.

    Raises:
        ValueError: if the shapes differ.

    Reference:
        Cuturi 2013, "Sinkhorn distances: lightspeed computation of optimal transport", algorithm 1.

    Example:
        >>> plan = entropic_plan(jnp.array([[4.0], [1.0]]), jnp.array([[0.0], [5.0]]), 10.0)
        >>> [[round(float(p), 4) for p in row] for row in plan]
        [[0.0912, 0.4088], [0.4088, 0.0912]]
    """
    return jnp.exp(_log_plan(noise, x, regularisation, iterations, labels))


def _inner_products(noise: Array, x: Array, labels: Array | None) -> Array:
    """``x_i . noise_j``, ``[b, b]``, -inf between different labels."""
    if noise.shape != x.shape:
        raise ValueError(f"noise of shape {noise.shape} cannot be paired with data of shape {x.shape}")
    rows, columns = (jnp.reshape(a, (a.shape[0], -1)) for a in (x, noise))
    dtype = jnp.promote_types(rows.dtype, jnp.float32)
    inner = jnp.matmul(rows, columns.T, precision=lax.Precision.HIGHEST, preferred_element_type=dtype)
    if labels is not None:
        labels = jnp.reshape(labels, (labels.shape[0], -1))
        # The identity keeps to the labels, so an infinite price is never paid; a large finite one would cost digits.
        inner = jnp.where(jnp.all(labels[:, None] == labels[None], axis=-1), inner, -jnp.inf)
    return lax.stop_gradient(inner)


def _log_plan(noise: Array, x: Array, regularisation: float, iterations: int, labels: Array | None) -> Array:
    # |x|^2 and |noise|^2 fall to the scalings of rows and columns, as they do in an assignment.
    log_kernel = 2 * _inner_products(noise, x, labels) / regularisation

    def scale(_: int, log_plan: Array) -> Array:
        log_plan = log_plan - jax.nn.logsumexp(log_plan, axis=1, keepdims=True)
        return log_plan - jax.nn.logsumexp(log_plan, axis=0, keepdims=True)

    return lax.fori_loop(0, iterations, scale, log_kernel) - jnp.log(x.shape[0])
