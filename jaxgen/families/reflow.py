"""Reflow: a flow learnt from the noise and samples of another is straighter, and needs fewer steps."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from jaxgen import draws
from jaxgen.losses.matching import flow_matching
from jaxgen.paths import Path
from jaxgen.samplers import from_velocity, sample
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params, Step


def reflow_model(
    net: Net,
    path: Path,
    shape: Sequence[int],
    step: Step,
    grid: Array,
    teacher: Params,
    teacher_step: Step,
    teacher_grid: Array,
    *,
    data: str = "image",
) -> Model:
    """Flow matching between noise and what a trained flow made of that noise (2-rectified flow).

    The pairs are drawn as training goes, so none is seen twice; the student starts from the teacher's parameters. The
    batch only says how many pairs to draw.

    Args:
        net: the velocity, of teacher and student; ``apply(params, x [b, *shape], t, key=None)``.
        path: the path from noise to data that the teacher was trained on.
        shape: of one example, ``(*spatial, c)`` or ``(d,)``.
        step: the student's sampler step.
        grid: its times.
        teacher: the trained parameters, ``params["net"]`` of a `flow_matching_model`.
        teacher_step: the step that draws the teacher's samples.
        teacher_grid: its times: as many as it takes to follow the teacher's curves.
        data: an entry of the batch.

    Returns:
        A `Model` with the group ``"net"``, and ``"teacher"`` that nothing trains; ``sample(params, key, n)`` gives
        ``[n, *shape]``. ``log_prob(params, key, x, **options)`` is `jaxgen.samplers.continuous_flow.log_prob`.

    Reference:
        Liu, Gong & Liu 2023, "Flow straight and fast: learning to generate and transfer data with rectified flow",
        algorithm 1.

    Example:
        >>> import jax
        >>> from jaxgen.nets import mlp
        >>> from jaxgen.paths import rectified
        >>> from jaxgen.samplers import euler, grids, heun
        >>> path, net = rectified(), mlp(2, widths=(8,))
        >>> teacher = net.init(jax.random.key(0), jnp.zeros((1, 2)), jnp.zeros(1))
        >>> one, ten = grids.uniform(path, 1), grids.uniform(path, 10)
        >>> model = reflow_model(net, path, (2,), euler(path), one, teacher, heun(path), ten, data="x")
        >>> model.sample(model.init(jax.random.key(1), {}), jax.random.key(2), 5).shape
        (5, 2)
    """
    scale = path.sigma(jnp.asarray(path.t_noise, jnp.float32))

    def init(key: Key, batch: Batch) -> Params:
        return {"net": teacher, "teacher": teacher}

    def carry(params: Params, key: Key, noise: Array, step: Step, grid: Array) -> Array:
        denoise = from_velocity(lambda x, t: net.apply(params, x, t), path)
        return sample(step, denoise, key, scale * noise, grid)

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        noise_key, step_key, loss_key, dropout_key = draws.split(key, 4)
        noise = draws.normal(noise_key, (batch[data].shape[0], *shape))
        x = carry(params["teacher"], step_key, noise, teacher_step, teacher_grid)

        def predict(x_t: Array, t: Array) -> Array:
            return net.apply(params["net"], x_t, t, key=dropout_key)

        return flow_matching(predict, path, loss_key, x, noise=noise), {}

    def draw(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        if cond is not None:
            raise ValueError("this model is unconditional: leave cond out")
        noise_key, step_key = draws.split(key, 2)
        return carry(params["net"], step_key, draws.normal(noise_key, (n, *shape)), step, grid)

    def log_prob(params: Params, key: Key, x: Array, cond: Array | None = None, **options: Any) -> Array:
        from jaxgen.samplers import continuous_flow  # diffrax takes a second to load, and training does without

        if cond is not None:
            raise ValueError("this model is unconditional: leave cond out")
        ends = {"t_data": path.t_data, "t_noise": path.t_noise, "scale": scale}
        options = {"trace": "hutchinson", **ends, **options}
        return continuous_flow.log_prob(lambda x, t: net.apply(params["net"], x, t), key, x, **options)

    return Model(init, (Objective("net", loss),), draw, log_prob)
