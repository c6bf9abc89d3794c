"""Optimizers and learning-rate schedules, built from optax."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from jaxgen.types import Params


def make_schedule(learning_rate: float, warmup_steps: int, steps: int, schedule: str = "cosine") -> optax.Schedule:
    """A linear warm-up, then a constant, a half cosine down to zero, or a constant and a line down to zero.

    The warm-up starts at ``learning_rate / warmup_steps``, so that no step is taken with a rate of zero.

    Args:
        learning_rate: the rate at the end of the warm-up.
        warmup_steps: length of the warm-up, in steps; it is cut to `steps`.
        steps: length of the whole training, in steps.
        schedule: ``"cosine"``, ``"constant"``, or ``"linear"``: constant until half of the steps, then a line to zero.

    Returns:
        A function from the step to the learning rate.

    Raises:
        ValueError: if `schedule` is none of these.

    Reference:
        Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", equation 5 (one period).

    Example:
        >>> rate = make_schedule(1.0, warmup_steps=4, steps=8)
        >>> [round(float(rate(step)), 2) for step in (0, 3, 4, 6, 8)]
        [0.25, 0.81, 1.0, 0.5, 0.0]
    """
    if schedule not in ("cosine", "constant", "linear"):
        raise ValueError(f"schedule must be 'cosine', 'constant' or 'linear', not {schedule!r}")
    warmup = max(1, min(warmup_steps, steps - 1))
    start = learning_rate / warmup if warmup_steps else learning_rate
    if schedule == "constant":
        return optax.schedules.warmup_constant_schedule(start, learning_rate, warmup)
    if schedule == "linear":
        half = max(warmup, steps // 2)
        fall = optax.schedules.linear_schedule(learning_rate, 0.0, max(1, steps - half))
        rise = optax.schedules.warmup_constant_schedule(start, learning_rate, warmup)
        return optax.schedules.join_schedules([rise, fall], [half])
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


def _matrices(params: Params) -> Any:
    """How Muon takes each parameter as a matrix; None for what it leaves to Adam."""

    def numbers(kernel: bool, leaf: Any) -> Any:
        last = leaf.ndim - 1
        return optax.contrib.MuonDimensionNumbers(tuple(range(last)), (last,)) if kernel and last > 0 else None

    return jax.tree.map(numbers, decayed(params), params)


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
    """Adam, AdamW or Muon with a schedule and a bound on the gradient's norm.

    Muon orthogonalises the momentum of every kernel, a convolution's taken as the matrix ``[all else, channels out]``,
    and scales it to the root mean square of an Adam step, 0.2 of the rate, so that rates of Adam serve; all else is
    trained by Adam with Nesterov's momentum.

    Args:
        learning_rate: the rate at the end of the warm-up.
        warmup_steps: length of the warm-up, in steps.
        steps: length of the whole training, in steps.
        schedule: ``"cosine"``, ``"constant"`` or ``"linear"``, see `make_schedule`.
        clip: the global norm that gradients are scaled down to; 0 leaves them alone.
        weight_decay: decoupled weight decay of ``adamw`` and ``muon``, on kernels only (see `decayed`).
        name: ``"adamw"``, ``"adam"`` or ``"muon"``.
        b1: decay of the first moment of Adam.
        b2: decay of the second moment of Adam.

    Returns:
        An optax transformation.

    Raises:
        ValueError: if `name` or `schedule` is not one of those above.

    Reference:
        Loshchilov and Hutter, "Decoupled Weight Decay Regularization", algorithm 2; Jordan et al. 2024, "Muon: an
        optimizer for hidden layers in neural networks"; the scale: Liu et al. 2025, "Muon is scalable for LLM
        training", arXiv 2502.16982, section 2.2.

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
    elif name == "muon":
        options: dict[str, Any] = {"weight_decay": weight_decay, "adam_b1": b1, "adam_b2": b2, "consistent_rms": 0.2}
        optimizer = optax.contrib.muon(rate, muon_weight_dimension_numbers=_matrices, **options)
    else:
        raise ValueError(f"the optimizer must be 'adamw', 'adam' or 'muon', not {name!r}")
    return optax.chain(optax.clip_by_global_norm(clip), optimizer) if clip > 0 else optimizer


def bounded(optimizer: optax.GradientTransformation, limit: float) -> optax.GradientTransformation:
    """The optimizer, after whose updates every parameter lies in ``[-limit, limit]``.

    Args:
        optimizer: of optax.
        limit: above 0.

    Returns:
        The optimizer; its `update` needs the parameters.

    Reference:
        Arjovsky et al. 2017, "Wasserstein GAN", arXiv 1701.07875, algorithm 1.

    Example:
        >>> import jax.numpy as jnp
        >>> made, params = bounded(optax.sgd(1.0), 0.5), {"w": jnp.array([0.25, -0.25])}
        >>> updates, _ = made.update({"w": jnp.array([-1.0, 0.125])}, made.init(params), params)
        >>> optax.apply_updates(params, updates)["w"].tolist()
        [0.5, -0.375]
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        moved, state = optimizer.update(updates, state, params)
        kept = jax.tree.map(lambda u, p: jnp.clip(p + u, -limit, limit) - p, moved, params)
        return kept, state

    return optax.GradientTransformation(optimizer.init, update)
