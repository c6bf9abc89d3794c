"""One train step for every model."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from jaxgen import draws
from jaxgen.train.ema import update_ema
from jaxgen.train.mesh import Placement
from jaxgen.train.state import TrainState
from jaxgen.types import Array, Batch, Key, Model, Objective, Params

Metrics = dict[str, Array]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
Prepare = Callable[[Key, Batch], Batch]


def cast_floats(tree: Any, dtype: Any) -> Any:
    """A tree with its floating-point leaves cast to `dtype`; the others are left alone.

    Example:
        >>> cast_floats({"image": jnp.ones(2), "label": jnp.arange(2)}, jnp.bfloat16)["image"].dtype
        dtype(bfloat16)
    """
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


_UNROUNDED = frozenset({"entries", "log_diagonal", "log_scale", "lower", "scale", "shift", "theta", "upper", "weight"})
"""Parameters that enter float32 arithmetic (norms, transforms of flows, codebooks, frequencies): left as they are."""


def cast_parameters(params: Params, dtype: Any) -> Params:
    """Parameters as a network is to compute with them: in `dtype`, but for those that enter no large product.

    A layer computes in the dtype of its kernel. What enters float32 arithmetic in any case keeps its digits, so that
    training and sampling see the same numbers: scalars, scales and shifts of norms, splines, 1x1 convolutions and other
    parameters of bijections, codebooks, random Fourier frequencies.

    Args:
        params: any tree of parameters, such as all groups of a model.
        dtype: of kernels, biases, tables of embeddings and whatever else is none of these.

    Returns:
        A tree of the same structure.

    Example:
        >>> layer = {"kernel": jnp.ones((2, 2)), "log_scale": jnp.ones(2)}
        >>> [leaf.dtype.name for leaf in jax.tree.leaves(cast_parameters(layer, jnp.bfloat16))]
        ['bfloat16', 'float32']
    """

    def cast(path: Any, leaf: Array) -> Array:
        keeps = jnp.ndim(leaf) == 0 or (path and getattr(path[-1], "key", None) in _UNROUNDED)
        return leaf if keeps else cast_floats(leaf, dtype)

    return jax.tree_util.tree_map_with_path(cast, params)


def _labels(model: Model) -> list[str]:
    """What is put after the names of each objective's metrics: nothing where there is only one objective."""
    if len(model.objectives) == 1:
        return [""]
    seen: Counter[str] = Counter()
    labels = []
    for objective in model.objectives:
        name = "+".join(objective.groups)
        seen[name] += 1
        labels.append(f"/{name}" + (f"_{seen[name]}" if seen[name] > 1 else ""))
    return labels


def make_train_step(
    model: Model,
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    ema_decay: float,
    prepare: Prepare | None = None,
    precision: str = "float32",
    axis_name: str | None = None,
    accumulate: int = 1,
    placed: Placement = Placement(),  # noqa: B008  (a tuple, which no one can change)
) -> TrainStep:
    """The train step of a model: a pure function, to be compiled by the caller.

    The objectives are played in order; each takes the gradient of the mean of its values with respect to its own
    groups, as the objectives before it left them, and updates only those. The key of a step is
    ``fold_in(state.key, state.step)``, split into one key per example, so that neither the number of devices nor a
    restart changes what is drawn.

    Args:
        model: the model.
        optimizers: one for each group that an objective trains.
        ema_decay: decay of the running average of all groups (see `jaxgen.train.ema`).
        prepare: ``prepare(key [b], batch) -> batch``, scaling and augmentation on the device.
        precision: ``"float32"``, or ``"bfloat16"`` to hand the losses parameters in bfloat16 (`cast_parameters`), in
            which networks then compute. All else stays float32: batch, noise, targets, densities, losses, the
            parameters that are kept and their gradients.
        axis_name: the mapped axis that the batch is split over where the step runs inside `jax.pmap`; None elsewhere.
        accumulate: the number of parts of a batch whose gradients are computed one after the other, and averaged: less
            memory, and the same gradient wherever the loss of an example does not depend on the others in its batch.
        placed: keeps the arrays where they belong on a mesh (`jaxgen.train.mesh.placement`).

    Returns:
        ``step(state, batch) -> (state, metrics)``. The metrics are float32 scalars: ``loss`` and ``grad_norm`` (before
        any clipping) and the means of the objective's info; with several objectives each name ends in ``/<group>``, or
        ``/<group>+<group>``.

    Raises:
        ValueError: if `precision` is neither, or an objective's group has no optimizer; when it runs, if a batch cannot
            be divided into `accumulate` parts.

    Example:
        >>> from jaxgen.train.state import init_state
        >>> from jaxgen.types import Objective
        >>> loss = lambda params, key, batch: ((batch["image"] @ params["net"]) ** 2, {})
        >>> model = Model(lambda key, batch: {"net": jnp.ones(3)}, (Objective("net", loss),), lambda *_: None)
        >>> optimizers, batch = {"net": optax.sgd(0.1)}, {"image": jnp.ones((4, 3))}
        >>> state = init_state(model, optimizers, jax.random.key(0), batch)
        >>> state, metrics = jax.jit(make_train_step(model, optimizers, ema_decay=0.9))(state, batch)
        >>> int(state.step), sorted(metrics), float(metrics["loss"])
        (1, ['grad_norm', 'loss'], 9.0)
    """
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"precision must be 'float32' or 'bfloat16', not {precision!r}")
    for objective in model.objectives:
        for name in objective.groups:
            if name not in optimizers:
                raise ValueError(f"an objective trains {name!r}, which has no optimizer: {sorted(optimizers)}")

    def mean(value: Array) -> Array:
        value = jnp.mean(jnp.asarray(value, jnp.float32))
        return value if axis_name is None else jax.lax.pmean(value, axis_name)

    def example_keys(key: Key, b: int) -> Key:
        if axis_name is None:
            return jax.random.split(key, b)
        keys = jax.random.split(key, b * jax.lax.axis_size(axis_name))
        return jax.lax.dynamic_slice_in_dim(keys, jax.lax.axis_index(axis_name) * b, b)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        b = jax.tree.leaves(batch)[0].shape[0]
        keys = example_keys(jax.random.fold_in(state.key, state.step), b)
        keys = draws.split(keys, 1 + len(model.objectives))
        if prepare is not None:
            batch = prepare(keys[0], batch)
        batch = placed.batch(batch)
        params, opt_state = dict(state.params), dict(state.opt_state)
        metrics: Metrics = {}
        for objective, label, key in zip(model.objectives, _labels(model), keys[1:], strict=True):

            def reduced(
                trained: Params, key: Key, batch: Batch, objective: Objective = objective
            ) -> tuple[Array, Mapping[str, Array]]:
                full = {**params, **trained}
                if precision == "bfloat16":
                    full = cast_parameters(full, jnp.bfloat16)
                value, info = objective.loss(placed.whole(full), key, batch)
                chex.assert_shape(value, (b // accumulate,))
                return jnp.mean(value.astype(jnp.float32)), info

            trained = {name: params[name] for name in objective.groups}
            gradient = partial(jax.value_and_grad(reduced, has_aux=True), trained)
            (loss, info), grads = (
                gradient(key, batch) if accumulate == 1 else in_parts(gradient, accumulate, key, batch)
            )
            grads = placed.part(grads)
            if axis_name is not None:
                # The mean stays outside the differentiated function: inside, its transpose would depend on how pmap
                # treats replicated values.
                grads = jax.lax.pmean(grads, axis_name)
            for name, group in trained.items():
                updates, opt_state[name] = optimizers[name].update(grads[name], opt_state[name], group)
                params[name] = optax.apply_updates(group, updates)
            metrics |= {f"{entry}{label}": mean(value) for entry, value in info.items()}
            metrics |= {f"loss{label}": mean(loss), f"grad_norm{label}": optax.global_norm(grads)}
        ema = update_ema(state.ema, params, state.step, ema_decay)
        return TrainState(state.step + 1, params, ema, opt_state, state.key), metrics

    return step


def in_parts(gradient: Callable[[Key, Batch], Any], parts: int, key: Key, batch: Batch) -> Any:
    """The mean of a gradient over parts of a batch, one after the other.

    Args:
        gradient: ``gradient(key [b / parts], batch) -> ((loss, info), gradients)``, means over its examples.
        parts: how many.
        key: ``[b]``.
        batch: of `b` examples; a part has every `parts`-th one, so that each device has some of every part.

    Returns:
        As `gradient` of the whole batch; the entries of info as their means, in float32.

    Raises:
        ValueError: if the batch cannot be divided so.

    Example:
        >>> gradient = lambda key, batch: ((batch["x"].mean(), {"largest": batch["x"].max()}), batch["x"].mean())
        >>> keys = jax.random.split(jax.random.key(0), 4)
        >>> (loss, info), grads = in_parts(gradient, 2, keys, {"x": jnp.arange(4.0)})
        >>> float(loss), float(info["largest"]), float(grads)
        (1.5, 2.5, 1.5)
    """
    b = len(key)
    if b % parts:
        raise ValueError(f"a batch of {b} examples cannot be computed in {parts} equal parts")

    def one(part: tuple[Key, Batch]) -> Any:
        (loss, info), grads = gradient(*part)
        return (loss, {name: jnp.mean(jnp.asarray(value, jnp.float32)) for name, value in info.items()}), grads

    split = jax.tree.map(lambda x: x.reshape(b // parts, parts, *x.shape[1:]).swapaxes(0, 1), (key, batch))
    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(one, jax.tree.map(lambda x: x[0], split))
    )
    total, _ = jax.lax.scan(lambda total, part: (jax.tree.map(jnp.add, total, one(part)), None), zeros, split)
    return jax.tree.map(lambda x: x / parts, total)


def make_many_steps(step: TrainStep) -> Callable[[TrainState, Batch, Any], tuple[TrainState, Metrics]]:
    """Several train steps in one call.

    Args:
        step: a train step.

    Returns:
        ``many(state, arrays, inputs) -> (state, metrics)``; the metrics have the shape ``[k]``. With `arrays`, a dict
        of whole data sets on the device, `inputs` are the indices of the examples, ``[k, b]``; with `arrays` empty,
        `inputs` is a dict of k batches, ``[k, b, ...]``.

    Example:
        >>> step = lambda state, batch: (state + 1, {"loss": batch["image"].mean()})
        >>> arrays, indices = {"image": jnp.arange(4.0)}, jnp.array([[0, 1], [2, 3]])
        >>> state, metrics = make_many_steps(step)(0, arrays, indices)
        >>> int(state), metrics["loss"].tolist()
        (2, [0.5, 2.5])
    """

    def many(state: TrainState, arrays: Batch, inputs: Any) -> tuple[TrainState, Metrics]:
        def one(state: TrainState, chosen: Any) -> tuple[TrainState, Metrics]:
            batch = {name: array[chosen] for name, array in arrays.items()} if arrays else chosen
            return step(state, batch)

        if jax.tree.leaves(inputs)[0].shape[0] > 1:
            return jax.lax.scan(one, state, inputs)
        state, metrics = one(state, jax.tree.map(lambda x: x[0], inputs))
        return state, jax.tree.map(lambda x: x[None], metrics)

    return many
