"""Membership inference: does the loss of an image tell whether a model was trained on it?"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.metrics import auroc
from jaxgen.types import Array, Key, Params

Loss = Callable[[Params, Key, Mapping[str, Any]], tuple[Array, Any]]


def repeated_loss(loss: Loss, params: Params, key: Key, batch: Mapping[str, Array], draws: int = 16) -> Array:
    """The mean loss of each example over random draws of time and noise, the same draws for every example.

    Images are then compared at equal times under equal noise, and differ in nothing but themselves.

    Args:
        loss: that of a `jaxgen.types.Objective`: ``loss(params, key, batch) -> (value [b], info)``, with keys ``[b]``.
        params: all groups.
        key: one key.
        batch: the examples.
        draws: how many.

    Returns:
        ``[b]``.

    Example:
        >>> def noisy(params, key, batch):
        ...     return jax.vmap(jax.random.normal)(key) * batch["image"], {}
        >>> found = repeated_loss(noisy, {}, jax.random.key(0), {"image": jnp.array([1.0, 2.0])}, 3)
        >>> bool(jnp.isclose(2 * found[0], found[1]))
        True
    """
    b = len(next(iter(batch.values())))

    def one(key: Key) -> Array:
        return loss(params, jnp.broadcast_to(key, (b,)), batch)[0]

    return jnp.mean(jax.lax.map(one, jax.random.split(key, draws)), axis=0)


def membership_auc(members: np.ndarray, others: np.ndarray) -> float:
    """The area under the ROC curve of telling training images by their low loss; 0.5 if they cannot be told.

    Args:
        members: the losses of images trained on, ``[n]``.
        others: those of images of other people, from the same source, ``[m]``.

    Returns:
        The probability that a training image has the lower loss, a tie counting one half.

    Reference:
        Yeom et al. 2018, "Privacy risk in machine learning: analyzing the connection to overfitting", arXiv 1709.01604,
        adversary 1, at all thresholds; for diffusion Matsumoto et al. 2023, "Membership inference attacks against
        diffusion models", arXiv 2302.03262.

    Example:
        >>> membership_auc(np.array([0.1, 0.2]), np.array([0.3, 0.15]))
        0.75
    """
    score = np.concatenate([-np.asarray(members), -np.asarray(others)])
    return float(auroc(score, np.arange(len(score)) < len(members)))
