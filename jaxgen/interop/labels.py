"""Labels of networks from elsewhere, looked at before the network is asked."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxgen.types import Array, Params


def checked(apply: Callable[..., Array], rows: int, *, null: bool) -> Callable[..., Array]:
    """The `apply` of a network with a table of labels, which refuses labels that the table does not have.

    Args:
        apply: ``apply(params, x, t, ..., label=None)``.
        rows: of the table.
        null: whether the last row is the null label, which is meant where `label` is None.

    Returns:
        A function like `apply`. It raises a ValueError without a label where there is no null label, and where a label
        is no row; within jit only the first can be seen, and a label that is no row gives NaN.

    Example:
        >>> checked(lambda params, x, t, label=None: x, 3, null=False)({}, 1.0, 0.0)
        Traceback (most recent call last):
        ...
        ValueError: give a label from 0 to 2: this network was trained with one for each image (if its last row is the \
null label of classifier-free guidance, put "_null_label": true into its config.json)
    """

    @functools.wraps(apply)
    def labelled(params: Params, x: Array, t: Array, *rest: Any, label: Array | None = None, **named: Any) -> Array:
        if label is None and not null:
            raise ValueError(
                f"give a label from 0 to {rows - 1}: this network was trained with one for each image (if its last row "
                'is the null label of classifier-free guidance, put "_null_label": true into its config.json)'
            )
        if label is not None and not isinstance(label, jax.core.Tracer):
            given = np.asarray(label)
            if not np.issubdtype(given.dtype, np.integer):
                raise ValueError(f"labels must be whole numbers from 0 to {rows - 1}, got {given.dtype}")
            wrong = given[(given < 0) | (given >= rows)]
            if wrong.size:
                raise ValueError(f"label {wrong.flat[0]} is none of this network's, 0 to {rows - 1}")
        return apply(params, x, t, *rest, label=label, **named)

    return labelled
