"""Couplings: which noise is paired with which data within a batch.

A coupling reorders the *noise* and never the data, so conditions, masks and labels stay with their data without being
handed in: ``noise = optimal_transport(noise, x)``.
"""

import jax.numpy as jnp
import optax
from jax import lax

from jaxgen.types import Array


def independent(noise: Array, x: Array, *, labels: Array | None = None) -> Array:
    """Leave the noise as it was drawn: noise and data are independent.

    Args:
        noise: standard normal noise ``[b, *spatial, c]``.
        x: clean data of the same shape.
        labels: ignored; there so that couplings can replace each other.

    Returns:
        The noise.

    Example:
        >>> independent(jnp.ones((2, 3)), jnp.zeros((2, 3))).shape
        (2, 3)
    """
    del x, labels
    return noise


def optimal_transport(noise: Array, x: Array, *, labels: Array | None = None) -> Array:
    """Reorder the noise to minimise ``sum_i |x_i - noise_i|^2`` over the batch, exactly (Hungarian algorithm, O(b^3)).

    A model that is given a condition learns, for each condition, the noise that was paired with it. Optimal transport
    over the whole batch makes that noise depend on the condition, while sampling starts from standard normal noise: the
    conditional law comes out wrong. With `labels`, noise is exchanged only between examples of equal label and stays
    standard normal given the label. Where every condition is its own (one image each), use `independent`.

    Args:
        noise: standard normal noise ``[b, *spatial, c]``.
        x: clean data of the same shape.
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
    if noise.shape != x.shape:
        raise ValueError(f"noise of shape {noise.shape} cannot be paired with data of shape {x.shape}")
    rows, columns = (jnp.reshape(a, (a.shape[0], -1)) for a in (x, noise))
    # |x|^2 and |noise|^2 add the same to every assignment: only the inner product decides.
    dtype = jnp.promote_types(rows.dtype, jnp.float32)
    cost = -jnp.matmul(rows, columns.T, precision=lax.Precision.HIGHEST, preferred_element_type=dtype)
    if labels is not None:
        labels = jnp.reshape(labels, (labels.shape[0], -1))
        # The identity keeps to the labels, so an infinite price is never paid; a large finite one would cost digits.
        cost = jnp.where(jnp.all(labels[:, None] == labels[None], axis=-1), cost, jnp.inf)
    row, column = optax.assignment.hungarian_algorithm(lax.stop_gradient(cost))
    return noise[jnp.zeros_like(column).at[row].set(column)]
