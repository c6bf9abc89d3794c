"""Optimizers and learning-rate schedules, built from optax."""

from typing import Any

import jax
import optax

from jaxgen.types import Params


def make_schedule(learning_rate: float, warmup_steps: int, steps: int, schedule: str = "cosine") -> optax.Schedule:
    """A linear warm-up, then a constant or a half cosine down to zero.

    The warm-up starts at ``learning_rate / warmup_steps``, so that no step is taken with a rate of zero.

    Args:
        learning_rate: the rate at the end of the warm-up.
        warmup_steps: length of the warm-up, in steps; it is cut to `steps`.
        steps: length of the whole training, in steps.
        schedule: ``"cosine"`` or ``"constant"``.

    Returns:
        A function from the step to the learning rate.

    Raises:
        ValueError: if `schedule` is neither.

    Reference:
        Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", equation 5 (one period).

    Example:
        >>> rate = make_schedule(1.0, warmup_steps=4, steps=8)
        >>> [round(float(rate(step)), 2) for step in (0, 3, 4, 6, 8)]
        [0.25, 0.81, 1.0, 0.5, 0.0]
    """
    if schedule not in ("cosine", "constant"):
        raise ValueError(f"schedule must be 'cosine' or 'constant', not {schedule!r}")
    warmup = max(1, min(warmup_steps, steps - 1))
    start = learning_rate / warmup if warmup_steps else learning_rate
    if schedule == "constant":
        return optax.schedules.warmup_constant_schedule(start, learning_rate, warmup)
    return optax.schedules.warmup_cosine_decay_schedule(start, learning_rate, warmup, max(steps, warmup + 1))


def decayed(params: Params) -> Any:
    """Which parameters weight decay reaches: the kernels of dense layers and convolutions, by their name.

    Biases, norms, embeddings, codebooks and the parameters of bijections are left alone. Their rank says nothing of
    that: layers that are stacked by a scan have an axis more.

    Args:
        params: a tree of parameters.

    Returns:
        A tree of the same structure with True at each leaf named ``"kernel"`` that is not a table of embeddings.

    Example:
        >>> import jax.numpy as jnp
        >>> decayed({"Dense_0": {"kernel": jnp.ones((3, 2, 2)), "bias": jnp.ones((3, 2))}})
        {'Dense_0': {'bias': False, 'kernel': True}}
    """

    def is_kernel(path: Any, leaf: Any) -> bool:
        names = [str(getattr(entry, "key", "")) for entry in path]
        table = len(names) > 1 and names[-2].startswith("ClassEmbedding")  # named so for the sake of spectral norms
        return names[-1:] == ["kernel"] and not table

    return jax.tree_util.tree_map_with_path(is_kernel, params)


def make_optimizer(
    learning_rate: float,
    warmup_steps: int = 0,
    steps: int = 1000,
    schedule: str = "cosine",
    clip: float = 0.0,
    weight_decay: float = 0.0,
    name: str = "adamw",
    b1: float = 0.9,
    b2: float = 0.999,
) -> optax.GradientTransformation:
    """Adam or AdamW with a schedule and a bound on the gradient's norm.

    Args:
        learning_rate: the rate at the end of the warm-up.
        warmup_steps: length of the warm-up, in steps.
        steps: length of the whole training, in steps.
        schedule: ``"cosine"`` or ``"constant"``.
        clip: the global norm that gradients are scaled down to; 0 leaves them alone.
        weight_decay: decoupled weight decay of ``adamw``, on kernels only (see `decayed`).
        name: ``"adamw"`` or ``"adam"``.
        b1: decay of the first moment.
        b2: decay of the second moment.

    Returns:
        An optax transformation.

    Raises:
        ValueError: if `name` or `schedule` is not one of those above.

    Reference:
        Loshchilov and Hutter, "Decoupled Weight Decay Regularization", algorithm 2.

    Example:
        >>> import jax.numpy as jnp
        >>> optimizer = make_optimizer(0.1, steps=10, clip=1.0)
        >>> params = {"w": jnp.ones(3)}
        >>> updates, _ = optimizer.update({"w": jnp.ones(3)}, optimizer.init(params), params)
        >>> bool((updates["w"] < 0).all())
        True
    """
    rate = make_schedule(learning_rate, warmup_steps, steps, schedule)
    if name == "adam":
        optimizer = optax.adam(rate, b1, b2)
    elif name == "adamw":
        optimizer = optax.adamw(rate, b1, b2, weight_decay=weight_decay, mask=decayed)
    else:
        raise ValueError(f"the optimizer must be 'adamw' or 'adam', not {name!r}")
    return optax.chain(optax.clip_by_global_norm(clip), optimizer) if clip > 0 else optimizer
