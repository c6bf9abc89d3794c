"""LoRA: small low-rank updates of a frozen network's kernels, as a transform of parameter trees."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.types import Array, Batch, Info, Key, Model, Objective, Params

ATTENTION = r"Attention_\d+/Dense_\d+/kernel"
"""The queries, keys, values and outputs of every attention layer."""
TARGETS = {"attention": ATTENTION, "all": "kernel$"}
"""What can be updated: attention, as in the paper, or all layers, convolutions too."""


def kernels(params: Params, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Array]]:
    """The path and the array of every parameter with two axes or more.

    Example:
        >>> [path for path, _ in kernels({"a": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}})]
        [('a', 'kernel')]
    """
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from kernels(value, (*prefix, name))
        elif value.ndim > 1:
            yield (*prefix, name), value


def init_lora(key: Key, params: Params, rank: int, targets: str = ATTENTION, *, stacked: str = "blocks") -> Params:
    """Low-rank updates that begin as no change: ``A`` is drawn with standard deviation ``1 / rank``, ``B`` is zero.

    A kernel ``[..., in, out]`` gets ``A [in, rank]`` and ``B [rank, out]``; of a convolution, the window counts among
    its inputs. Query, key and value of self-attention are one kernel here: they share ``A``, each with a ``B`` of its
    own. Equal layers that are stacked along a first axis get an update each.

    Args:
        key: to draw ``A`` with.
        params: the network's, or their shapes.
        rank: of the updates.
        targets: a regular expression; kernels are updated whose path, joined by ``/``, has it.
        stacked: the subtree, by its name, whose layers are stacked.

    Returns:
        The tree of `params` with only the kernels that are updated, each ``{"a": A, "b": B}``.

    Raises:
        ValueError: if the rank is less than 1, or no kernel has a path like that.

    Reference:
        Hu et al. 2021, "LoRA: low-rank adaptation of large language models", arXiv 2106.09685, section 4.1.

    Example:
        >>> params = {"MultiHeadAttention_0": {"Dense_0": {"kernel": jnp.ones((8, 24)), "bias": jnp.ones(24)}}}
        >>> lora = init_lora(jax.random.key(0), params, 2)
        >>> jax.tree.map(jnp.shape, lora)
        {'MultiHeadAttention_0': {'Dense_0': {'kernel': {'a': (8, 2), 'b': (2, 24)}}}}
    """
    if rank < 1:
        raise ValueError(f"the rank must be 1 or more, got {rank}")
    chosen = [(path, x) for path, x in kernels(params) if re.search(targets, "/".join(path))]
    if not chosen:
        raise ValueError(f"no kernel has a path like {targets!r}: see jaxgen.families.lora.kernels for their paths")
    lora: Params = {}
    for path, x, one in zip(*zip(*chosen, strict=True), jax.random.split(key, len(chosen)), strict=True):
        lead = x.shape[:1] if stacked in path else ()
        inputs = math.prod(x.shape[len(lead) : -1])
        a = jax.random.normal(one, (*lead, inputs, rank)) / rank
        put(lora, path, {"a": a, "b": jnp.zeros((*lead, rank, x.shape[-1]))})
    return lora


def put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set what stands at a path of a nested dict.

    Example:
        >>> tree = {}
        >>> put(tree, ("a", "b"), 1)
        >>> tree
        {'a': {'b': 1}}
    """
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def merge(params: Params, lora: Params, scale: Array | float = 1.0) -> Params:
    """The network with its updates in its kernels, ``W + scale A B``: nothing is slower for them then.

    Args:
        params: the network's.
        lora: the updates, as `init_lora` makes them or `jaxgen.interop.lora` reads them.
        scale: 1 is all of the update; ``alpha / rank`` of the paper.

    Returns:
        A tree like `params`; what has no update is the same array.

    Raises:
        ValueError: if an update belongs to no kernel of the network, or to one of another shape.

    Reference:
        Hu et al. 2021, arXiv 2106.09685, eq. 3.

    Example:
        >>> lora = {"kernel": {"a": jnp.ones((2, 1)), "b": jnp.full((1, 3), 0.5)}}
        >>> merge({"kernel": jnp.zeros((2, 3)), "bias": jnp.ones(3)}, lora, 2.0)["kernel"][0].tolist()
        [1.0, 1.0, 1.0]
    """
    return _merge(params, lora, scale, ())


def _merge(params: Params, lora: Params, scale: Array | float, path: tuple[str, ...]) -> Params:
    if not isinstance(params, Mapping):
        return _updated(params, lora, scale, "/".join(path))
    unknown = next((name for name in lora if name not in params), None)
    if unknown is not None:
        raise ValueError(f"an update is for {'/'.join((*path, unknown))}, which this network has not")
    return {
        name: _merge(value, lora[name], scale, (*path, name)) if name in lora else value
        for name, value in params.items()
    }


def _updated(kernel: Array, update: Params, scale: Array | float, path: str) -> Array:
    if set(update) != {"a", "b"}:
        raise ValueError(f"the update of {path} has {', '.join(map(str, update))} where a and b are needed")
    a, b = (update[name].astype(jnp.float32) for name in ("a", "b"))
    if a.shape[-1] != b.shape[-2] or math.prod(a.shape[:-1]) * b.shape[-1] != kernel.size:
        raise ValueError(f"the update of {path} is {a.shape} by {b.shape}, for a kernel of {kernel.shape}")
    change = jnp.matmul(a, b, precision="highest").reshape(kernel.shape)
    return (kernel.astype(jnp.float32) + scale * change).astype(kernel.dtype)


def unmerge(params: Params, lora: Params, scale: Array | float = 1.0) -> Params:
    """The network without the updates that `merge` put into it, to the rounding of one addition.

    Args:
        params: as `merge` gave them.
        lora: the updates.
        scale: as it was merged with.

    Returns:
        A tree like `params`.

    Example:
        >>> base, lora = {"kernel": jnp.ones((2, 3))}, {"kernel": {"a": jnp.ones((2, 1)), "b": jnp.ones((1, 3))}}
        >>> unmerge(merge(base, lora, 0.5), lora, 0.5)["kernel"][0].tolist()
        [1.0, 1.0, 1.0]
    """
    return merge(params, lora, -scale)


def share(lora: Params, params: Params) -> float:
    """The number of parameters of updates, as a share of the network's.

    Example:
        >>> share({"kernel": {"a": jnp.ones((8, 1)), "b": jnp.ones((1, 8))}}, {"kernel": jnp.ones((8, 8))})
        0.25
    """
    small, large = (sum(x.size for x in jax.tree.leaves(tree)) for tree in (lora, params))
    return small / large


def trained_share(params: Params, groups: Sequence[str], whole: Sequence[str] = ("net", "text")) -> float:
    """The number of parameters of the groups that are trained, as a share of those of whole networks.

    Example:
        >>> trained_share({"net": jnp.ones(6), "text": jnp.ones(4), "lora": jnp.ones(1)}, ["lora"])
        0.1
    """
    return share({name: params[name] for name in groups}, {name: params[name] for name in whole})


def lora_model(
    model: Model,
    rank: int,
    *,
    base: Params | None = None,
    groups: tuple[str, ...] = ("net",),
    targets: str = ATTENTION,
    scale: float = 1.0,
    stacked: str = "blocks",
) -> Model:
    """A model whose networks stay as they are and learn low-rank updates only.

    Args:
        model: the model.
        rank: of the updates.
        base: its pretrained parameters, all groups; None initialises them.
        groups: the groups of parameters that are updated.
        targets: see `init_lora`.
        scale: see `merge`.
        stacked: see `init_lora`.

    Returns:
        A `Model` with the groups of `model`, which nothing trains, and ``"lora"``, the updates by group. Its objectives
        are those of `model` that train one of `groups`; it samples, and has a density, with all updates merged.

    Raises:
        ValueError: if no objective trains one of `groups`.

    Reference:
        Hu et al. 2021, "LoRA: low-rank adaptation of large language models", arXiv 2106.09685.

    Example:
        >>> loss = lambda params, key, batch: ((batch["x"] @ params["net"]["kernel"] ** 2).mean(1), {})
        >>> init = lambda key, batch: {"net": {"kernel": jnp.ones((8, 8))}}
        >>> model = lora_model(Model(init, (Objective("net", loss),), lambda *_: None), rank=1, targets="kernel")
        >>> params = model.init(jax.random.key(0), {})
        >>> sorted(params), model.objectives[0].trains, round(share(params["lora"], params["net"]), 3)
        (['lora', 'net'], 'lora', 0.25)
    """
    chosen = [one for one in model.objectives if set(one.groups) & set(groups)]
    if not chosen:
        raise ValueError(f"no objective of this model trains one of {', '.join(groups)}")

    def init(key: Key, batch: Batch) -> Params:
        model_key, lora_key = draws.split(key, 2)
        params = model.init(model_key, batch) if base is None else base
        keys = jax.random.split(lora_key, len(groups))
        lora = {
            group: init_lora(one, params[group], rank, targets, stacked=stacked)
            for group, one in zip(groups, keys, strict=True)
        }
        return {**params, "lora": lora}

    def merged(params: Params) -> Params:
        rest = {name: group for name, group in params.items() if name != "lora"}
        return {**rest, **{group: merge(rest[group], params["lora"][group], scale) for group in groups}}

    def objective(inner: Objective) -> Objective:
        def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
            return inner.loss(merged(params), key, batch)

        return Objective("lora", loss)

    def sample(params: Params, *rest: Any, **named: Any) -> Array:
        return model.sample(merged(params), *rest, **named)

    density = model.log_prob

    def log_prob(params: Params, *rest: Any, **named: Any) -> Array:
        return density(merged(params), *rest, **named)  # type: ignore[misc]

    return Model(init, tuple(map(objective, chosen)), sample, None if density is None else log_prob)
