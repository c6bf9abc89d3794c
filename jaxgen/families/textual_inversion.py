"""Textual inversion: a new word is learned, and nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from jaxgen.types import Array, Batch, Info, Key, Model, Objective, Params

TABLE = ("text", "tokens")
"""The group of a text encoder and its table of tokens, as `jaxgen.nets.clip_text` names it."""


def _table_at(params: Params, path: Sequence[str]) -> Array:
    found: Any = params
    for name in path:
        if not isinstance(found, Mapping) or name not in found:
            raise ValueError(f"the parameters have no table of tokens at {'/'.join(path)}")
        found = found[name]
    return found


def _with_table(params: Params, path: Sequence[str], table: Array) -> Params:
    return {**params, path[0]: _with_table(params[path[0]], path[1:], table)} if path else table


def extend(params: Params, rows: Array, table: Sequence[str] = TABLE) -> Params:
    """The parameters with rows for new words behind the last token.

    The text encoder must be built for as many tokens more (``vocabulary`` of `jaxgen.nets.clip_text.TextSizes`).

    Args:
        params: with the table at `table`.
        rows: ``[n, width]``: learned embeddings, or those of words that mean something near.
        table: the path of the table.

    Returns:
        A tree like `params`, its table ``n`` rows longer.

    Raises:
        ValueError: if the rows are of another width, or there is no table at that path.

    Example:
        >>> params = {"text": {"tokens": jnp.arange(6.0).reshape(3, 2)}}
        >>> extend(params, params["text"]["tokens"][1:2])["text"]["tokens"].tolist()
        [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [2.0, 3.0]]
    """
    old = _table_at(params, table)
    if rows.ndim != 2 or rows.shape[1] != old.shape[1]:
        raise ValueError(f"new words have rows of shape {rows.shape}, and this text encoder takes [n, {old.shape[1]}]")
    return _with_table(params, table, jnp.concatenate([old, jnp.asarray(rows, old.dtype)]))


def replace_rows(params: Params, tokens: Sequence[int], rows: Array, table: Sequence[str] = TABLE) -> Params:
    """The parameters with other rows for some tokens, such as the embeddings that were learned for them.

    Args:
        params: with the table at `table`.
        tokens: n numbers of tokens.
        rows: ``[n, width]``.
        table: the path of the table.

    Returns:
        A tree like `params`.

    Raises:
        ValueError: if there is no table at that path.

    Example:
        >>> params = {"text": {"tokens": jnp.zeros((3, 2))}}
        >>> replace_rows(params, [1], jnp.ones((1, 2)))["text"]["tokens"].tolist()
        [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    """
    old = jnp.asarray(_table_at(params, table))
    return _with_table(params, table, old.at[jnp.asarray(tokens, jnp.int32)].set(rows.astype(old.dtype)))


def textual_inversion_model(
    model: Model, tokens: Sequence[int], *, base: Params, table: Sequence[str] = TABLE
) -> Model:
    """A model that learns the embeddings of new tokens, and in which everything else stays as it is.

    Args:
        model: the model, whose text encoder knows the new tokens.
        tokens: their numbers, such as those that ``added`` of a tokenizer names.
        base: the pretrained parameters, all groups, with rows for the new tokens (`extend`): training starts from them.
        table: the path of the table of tokens in the parameters, its group first.

    Returns:
        A `Model` with the groups of `model`, which nothing trains, and ``"embedding"`` ``[len(tokens), width]``. Its
        objectives are those of `model`; it samples, and has a density, with the learned rows in the table.

    Raises:
        ValueError: if a token has no row in the table, or there is no table at that path.

    Reference:
        Gal et al. 2022, "An image is worth one word: personalizing text-to-image generation using textual inversion",
        arXiv 2208.01618, section 3.

    Example:
        >>> import jax
        >>> loss = lambda params, key, batch: (params["text"]["tokens"][batch["text"]].sum((1, 2)), {})
        >>> base = extend({"text": {"tokens": jnp.zeros((4, 3))}}, jnp.ones((1, 3)))
        >>> model = Model(lambda key, batch: base, (Objective("text", loss),), lambda *_: None)
        >>> learned = textual_inversion_model(model, [4], base=base)
        >>> params = learned.init(jax.random.key(0), {})
        >>> batch = {"text": jnp.array([[0, 4], [4, 4]])}
        >>> learned.objectives[0].trains, learned.objectives[0].loss(params, jax.random.key(1), batch)[0].tolist()
        ('embedding', [3.0, 6.0])
    """
    rows = jnp.asarray(tokens, jnp.int32)
    size = _table_at(base, table).shape[0]
    if not len(tokens) or min(tokens) < 0 or max(tokens) >= size:
        raise ValueError(f"tokens must be from 0 to {size - 1}, got {list(tokens)}")

    def init(key: Key, batch: Batch) -> Params:
        return {**base, "embedding": jnp.asarray(_table_at(base, table))[rows]}

    def learned(params: Params) -> Params:
        rest = {name: group for name, group in params.items() if name != "embedding"}
        return replace_rows(rest, tokens, params["embedding"], table)

    def objective(inner: Objective) -> Objective:
        def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
            return inner.loss(learned(params), key, batch)

        return Objective("embedding", loss)

    def sample(params: Params, *rest: Any, **named: Any) -> Array:
        return model.sample(learned(params), *rest, **named)

    density = model.log_prob

    def log_prob(params: Params, *rest: Any, **named: Any) -> Array:
        return density(learned(params), *rest, **named)  # type: ignore[misc]

    return Model(init, tuple(map(objective, model.objectives)), sample, None if density is None else log_prob)
