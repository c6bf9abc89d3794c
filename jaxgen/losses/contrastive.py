"""The contrastive loss of pairs: two views of one thing lie near each other, and far from those of other things."""

import jax
import jax.numpy as jnp

from jaxgen.types import Array


def info_nce(first: Array, second: Array, owner: Array | None = None, *, temperature: float = 0.1) -> Array:
    """Cross-entropy of finding the other view of each example among those of the batch, in both directions.

    ``l_i = -(log softmax_j(s_ij)_i + log softmax_j(s_ji)_i) / 2`` with ``s_ij = cos(a_i, b_j) / temperature``. What
    belongs to the same owner as example i is no example of another one: it is left out of the sums.

    Args:
        first: embeddings ``[b, d]`` of one view of each example.
        second: of another view of it.
        owner: ``[b]``, equal for examples of the same thing, such as a patient; None if all differ.
        temperature: above 0; the lower, the more the nearest of the others count.

    Returns:
        Float32 ``[b]``.

    Reference:
        van den Oord et al. 2018, "Representation learning with contrastive predictive coding", arXiv 1807.03748, eq.
        4; in both directions as Radford et al. 2021, arXiv 2103.00020, figure 3.

    Example:
        >>> a = jnp.eye(2)
        >>> [round(float(value), 4) for value in info_nce(a, a, temperature=1.0)]
        [0.3133, 0.3133]
        >>> info_nce(a, a, jnp.zeros(2)).tolist()
        [0.0, 0.0]
    """
    a, b = (x.astype(jnp.float32) for x in (first, second))
    a, b = (x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-6) for x in (a, b))
    likeness = a @ b.T / temperature
    own = jnp.eye(len(a), dtype=bool)
    same = own if owner is None else owner[:, None] == owner[None]
    compared = jnp.where(same & ~own, -jnp.inf, likeness)
    both = jax.nn.logsumexp(compared, axis=0) + jax.nn.logsumexp(compared, axis=1)
    return both / 2 - jnp.diagonal(likeness)
