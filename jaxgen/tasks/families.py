"""Families compared at equal parameters and training compute: options, plan and optimizers."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.config import RunConfig, option
from jaxgen.errors import UserError
from jaxgen.families.any_width import FAMILIES, Point, Shape, fitting_width, parameters
from jaxgen.flops import count_flops
from jaxgen.tasks.features import FeatureConfig
from jaxgen.tasks.images import optimizer
from jaxgen.train import init_state, make_train_step
from jaxgen.types import Model


@dataclasses.dataclass(frozen=True, kw_only=True)
class FamiliesConfig(FeatureConfig):
    """The options of an experiment that compares families at equal parameters and training compute."""

    families: tuple[str, ...] = option(tuple(FAMILIES), "the families to compare", choices=FAMILIES, group="method")
    parameters: int = option(500_000, "parameters of each family, within 10 %", ge=10_000, group="method")
    compute: float = option(12.0, "training compute of each family, in 10^12 operations", gt=0, group="method")
    evaluations: tuple[int, ...] = option(
        (1, 2, 4, 5, 8, 10, 20, 50, 100), "evaluations of a network at which to draw", ge=1, group="evaluation"
    )

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        if self.size % 8:
            raise UserError(f"--size must be a multiple of 8 for all families, got {self.size}")
        if len(set(self.families)) < len(self.families):
            raise UserError(f"--families names one twice: {', '.join(self.families)}")
        for name in self.families:
            if not points_of(self, (self.size, self.size, 1), name, 4):
                raise UserError(f"--evaluations: {name} cannot be drawn with {', '.join(map(str, self.evaluations))}")


def points_of(config: FamiliesConfig, shape: Shape, name: str, width: int) -> list[Point]:
    """The ways to draw from a family that the configuration asks for."""
    return [point for point in FAMILIES[name].points(shape, width) if point.evaluations in config.evaluations]


def family_optimizers(config: RunConfig, name: str, model: Model, steps: int) -> dict[str, Any]:
    """One optimizer for all groups of parameters of a family, with what it trains with instead."""
    groups = {group for objective in model.objectives for group in objective.groups}
    family = FAMILIES[name]
    short = dataclasses.replace(config, warmup_steps=min(config.warmup_steps, steps // 10), **family.training)
    return dict.fromkeys(sorted(groups), optimizer(short, steps, b1=family.b1))


def step_flops(config: RunConfig, name: str, model: Model, shape: Shape) -> float:
    """Operations of one training step."""
    optimizers = family_optimizers(config, name, model, 1000)
    batch = {"image": jax.ShapeDtypeStruct((config.batch_size, *shape), jnp.float32)}
    state = jax.eval_shape(lambda batch: init_state(model, optimizers, jax.random.key(0), batch), batch)
    return count_flops(make_train_step(model, optimizers, ema_decay=config.ema_decay), state, batch)


def plan(config: FamiliesConfig, shape: Shape, name: str) -> dict[str, float]:
    """A family at the parameters and the compute that the configuration asks for.

    Returns:
        Its ``width``, ``parameters``, ``operations`` per training step, and the ``steps`` that the compute pays for.

    Raises:
        UserError: if no width has the number of parameters within 10 %.
    """
    family = FAMILIES[name]
    width = fitting_width(family, shape, config.parameters)
    model = family.model(shape, width)
    count = parameters(model, shape)
    if abs(count / config.parameters - 1) > 0.1:
        raise UserError(f"--parameters {config.parameters}: {name} can have {count} at the nearest")
    if family.flops is None:
        operations = step_flops(config, name, model, shape)
    else:
        operations = family.flops(shape, width, config.batch_size)
    steps = max(1, round(1e12 * config.compute / operations))
    return {"width": width, "parameters": count, "operations": operations, "steps": steps}
