"""``jaxgen plan``: what a training will need, before there is a machine for it. Nothing is compiled or trained."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgen.app.info import bytes_said
from jaxgen.config import RunConfig
from jaxgen.errors import UserError
from jaxgen.experiment import Experiment, Run, StageSpec, stages_of
from jaxgen.flops import count_flops
from jaxgen.live_memory import peak_bytes
from jaxgen.nets import ops
from jaxgen.train import Stage, init_state, make_train_step
from jaxgen.train.memory import StepMemory, estimated_memory

GIB = 2**30
SHARE = 0.35
"""Of an accelerator's peak that a training is assumed to reach; not measured."""


class Accelerator(NamedTuple):
    """One device, by its maker's data sheet.

    Attributes:
        name: what it is called.
        memory: bytes.
        bfloat16: operations per second of dense matrix products with bfloat16 (float16 where it has none) operands.
        float32: the same as JAX computes float32 on it by default.
    """

    name: str
    memory: float
    bfloat16: float
    float32: float


ACCELERATORS = {
    "t4": Accelerator("NVIDIA T4", 16 * GIB, 65e12, 8e12),
    "v100": Accelerator("NVIDIA V100", 32 * GIB, 125e12, 15.7e12),
    "rtx4090": Accelerator("NVIDIA RTX 4090", 24 * GIB, 165e12, 82e12),
    "a100": Accelerator("NVIDIA A100", 80 * GIB, 312e12, 156e12),
    "h100": Accelerator("NVIDIA H100", 80 * GIB, 989e12, 494e12),
    "h200": Accelerator("NVIDIA H200", 141e9, 989e12, 494e12),
    "tpu-v4": Accelerator("TPU v4", 32 * GIB, 275e12, 275e12),
    "tpu-v5e": Accelerator("TPU v5e", 16 * GIB, 197e12, 197e12),
    "tpu-v5p": Accelerator("TPU v5p", 95 * GIB, 459e12, 459e12),
    "tpu-v6e": Accelerator("TPU v6e", 32 * GIB, 918e12, 918e12),
}
"""What ``--accelerator`` knows."""


def data_of(experiment: Experiment, config: RunConfig, brought: bool) -> RunConfig:
    """The configuration that says which data to load: the user's, or those of `smoke` at this size."""
    if brought or "smoke" not in experiment.presets:
        return config
    sized = {"size": config.size} if hasattr(config, "size") else {}
    return dataclasses.replace(experiment.presets["smoke"], **sized)


class Shapes(NamedTuple):
    """A stage and the shapes that it is trained with.

    Attributes:
        spec: the stage of the experiment.
        run: the run as the stage is built, its trained parameters zeros.
        state: the training state, as shapes.
        batch: one batch, as shapes.
    """

    spec: StageSpec
    run: Run
    state: Any
    batch: Any


def shapes(experiment: Experiment, config: RunConfig, loading: RunConfig) -> Iterator[Shapes]:
    """Each stage of a configuration with its shapes.

    A stage that is fed codes or features of an earlier one gets the images themselves, and makes them in its step.

    Args:
        experiment: the experiment.
        config: what to train.
        loading: the configuration that says which data to load, for their shapes and facts.

    Yields:
        `Shapes`.

    Raises:
        UserError: if the data cannot be loaded, or do not suit.
    """
    config = dataclasses.replace(config, data=loading.data)
    splits = experiment.load(loading)
    facts = experiment.measure(config, splits) if experiment.measure else experiment.facts()
    run = Run(config, facts, {}, splits)
    stages = stages_of(experiment, config, facts)
    shared = batch_of(splits.train if experiment.examples is None else experiment.examples(run), config)
    own = {spec.name: batch_of(spec.examples(run), config) for spec in stages if spec.reshapes and spec.examples}
    run = run._replace(splits=None)
    for spec in stages:
        batch = own.get(spec.name, shared)
        state = jax.eval_shape(lambda batch, spec=spec, run=run: first_state(spec.build(run), batch), batch)
        yield Shapes(spec, run, state, batch)
        # Views of one number: they take no memory, whatever the size of the network.
        zeros = jax.tree.map(lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape), state.params)
        run = run._replace(params={**run.params, spec.name: zeros})


def batch_of(examples: Any, config: RunConfig) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a batch of these examples."""
    row = {name: np.asarray(value) for name, value in examples[0].items()}
    return {name: jax.ShapeDtypeStruct((config.batch_size, *value.shape), value.dtype) for name, value in row.items()}


def first_state(stage: Stage, batch: Mapping[str, Any]) -> Any:
    """The state before the first step."""
    if stage.prepare is not None:
        keys = jax.random.split(jax.random.key(0), len(jax.tree.leaves(batch)[0]))
        batch = stage.prepare(keys, batch)
    return init_state(stage.model, stage.optimizers, jax.random.key(1), batch)


class Planned(NamedTuple):
    """What a stage needs.

    Attributes:
        name: the stage.
        parameters: how many.
        steps: of training.
        operations: of a step, over all devices.
        memory: of a step, on one device.
        single: the same with one example on the device.
        sample_operations: of drawing one image or volume; None where the stage draws nothing by itself.
        sample_memory: bytes that this needs, parameters included; 0 where it draws nothing.
    """

    name: str
    parameters: int
    steps: int
    operations: float | None
    memory: StepMemory
    single: StepMemory
    sample_operations: float | None
    sample_memory: float


def plan(experiment: Experiment, config: RunConfig, loading: RunConfig) -> list[Planned]:
    """What each stage of a configuration needs, in the form that accelerators compute.

    Args:
        experiment: the experiment.
        config: what to train.
        loading: says which data to load, see `shapes`.

    Raises:
        UserError: if the batch cannot be spread over the devices as the configuration says.
    """
    with ops.form("accelerator"):
        return [_planned(found, config) for found in shapes(experiment, config, loading)]


def _planned(found: Shapes, config: RunConfig) -> Planned:
    stage = found.spec.build(found.run)
    local = _on_a_device(config)
    step = make_train_step(
        stage.model, stage.optimizers, ema_decay=config.ema_decay, prepare=stage.prepare, precision=config.precision
    )
    operations, memory = _drawing(stage, found.state.params)
    return Planned(
        found.spec.name,
        _count(found.state.params),
        stage.steps,
        _counted(step, found.state, found.batch),
        _memory(stage, found, config, local),
        _memory(stage, found, config, 1),
        operations,
        memory,
    )


def _count(params: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _devices(config: RunConfig) -> int:
    return max(config.devices, config.shard_state * config.space)


def _on_a_device(config: RunConfig) -> int:
    """The examples whose activations a device holds at once."""
    devices, groups = _devices(config), _devices(config) // config.space
    if devices % (config.shard_state * config.space):
        raise UserError(f"--devices {devices}: cannot be divided into groups of {config.shard_state * config.space}")
    if config.batch_size % (groups * config.accumulate):
        raise UserError(f"--batch-size {config.batch_size}: must be a multiple of {groups * config.accumulate}")
    return config.batch_size // (groups * config.accumulate)


def _memory(stage: Stage, found: Shapes, config: RunConfig, count: int) -> StepMemory:
    batch = {name: jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype) for name, x in found.batch.items()}
    held = estimated_memory(stage, found.state, batch, precision=config.precision)
    parameters = 4.0 * _count(found.state.params)
    # The gradients so far of a batch in parts; the parameters that a device has gathered for its step.
    more = parameters * ((config.accumulate > 1) + (config.shard_state > 1))
    return StepMemory(
        held.state / config.shard_state, held.batch * config.accumulate, held.temporary / config.space + more
    )


def _counted(function: Callable[..., Any], *examples: Any) -> float | None:
    try:
        return count_flops(function, *examples)
    except ValueError:  # a loop of unknown length
        return None


def _drawing(stage: Stage, params: Any) -> tuple[float | None, float]:
    """Operations and bytes of drawing one example, where that needs nothing but parameters."""

    def draw(params: Any, key: jax.Array) -> Any:
        return stage.model.sample(params, key, 1, None)

    try:
        operations = count_flops(draw, params, jax.random.key(0))
        held = peak_bytes(draw, params, jax.random.key(0))
    except (TypeError, ValueError):
        return None, 0.0
    return operations, held + 4.0 * _count(params)


def lines(planned: Sequence[Planned], config: RunConfig, accelerator: Accelerator) -> list[str]:
    """What ``jaxgen plan`` prints.

    Args:
        planned: of `plan`.
        config: the configuration.
        accelerator: what to compare it with.

    Returns:
        The lines.
    """
    rows: list[tuple[str, ...]] = [
        ("stage", "parameters", "state", "batch", "temporary", "all", "operations per step", "to draw one")
    ]
    for one in planned:
        held = one.memory
        drawing = "-"
        if one.sample_operations is not None:
            drawing = f"{_power(one.sample_operations)}, {bytes_said(one.sample_memory)}"
        sizes = [bytes_said(size) for size in (held.state, held.batch, held.temporary, held.total)]
        rows.append((one.name, f"{one.parameters:,}", *sizes, _power(one.operations), drawing))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    assumed = (
        f"Times assume {SHARE:.0%} of the peak of the data sheet. Memory is estimated from the trace, not compiled."
    )
    return [*table, "", *(_verdict(one, config, accelerator) for one in planned), "", assumed]


def _verdict(one: Planned, config: RunConfig, accelerator: Accelerator) -> str:
    said, where = (
        f"{one.name}: {_time(one, config, accelerator)}",
        f"{accelerator.name} ({bytes_said(accelerator.memory)})",
    )
    if one.memory.total <= accelerator.memory:
        return f"{said}; fits on one {where}"
    return f"{said}; does not fit on one {where}: {_advice(one, config, accelerator)}"


def _time(one: Planned, config: RunConfig, accelerator: Accelerator) -> str:
    if one.operations is None:
        return "its operations depend on the data"
    peak = accelerator.bfloat16 if config.precision == "bfloat16" else accelerator.float32
    seconds = one.operations / (peak * SHARE * _devices(config))
    return f"{seconds:.2g} s per step, {_duration(seconds * one.steps)} for {one.steps:,} steps"


def _advice(one: Planned, config: RunConfig, accelerator: Accelerator) -> str:
    """The least change by which a stage would fit."""
    local = _on_a_device(config)
    slope = (one.memory.temporary - one.single.temporary) / max(local - 1, 1)
    for parts in range(2, local + 1):
        rest = one.memory.state + one.memory.batch + one.single.temporary + slope * (local // parts - 1)
        if local % parts == 0 and rest <= accelerator.memory:
            return f"--accumulate {config.accumulate * parts} would need some {bytes_said(rest)}"
    changes = []
    if hasattr(config, "remat") and not config.remat:
        changes.append("--remat (blocks are computed again for the gradient)")
    if one.single.state > accelerator.memory / 2:
        changes.append(f"--shard-state {_power_of_two(one.single.state / (accelerator.memory / 2))} on as many devices")
    if one.single.temporary > accelerator.memory / 2:
        parts = _power_of_two(one.single.temporary * config.space / (accelerator.memory / 2))
        changes.append(f"--space {parts} on as many devices")
    if config.precision == "float32":
        changes.append("--precision bfloat16")
    if hasattr(config, "size"):
        changes.append("a smaller --size")
    return f"one example does not either; {', '.join(changes) or 'a smaller network'}"


def _power_of_two(wanted: float) -> int:
    return 1 << max(1, int(np.ceil(np.log2(wanted))))


def _power(count: float | None) -> str:
    if count is None:
        return "-"
    for unit, size in (("P", 1e15), ("T", 1e12), ("G", 1e9)):
        if count >= size:
            return f"{count / size:.3g} {unit}FLOP"
    return f"{count / 1e6:.3g} MFLOP"


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
