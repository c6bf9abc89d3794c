"""The families of `trilemma`, each at any width: how it is built, sampled and scored, at equal size and compute.

All get images dequantised to continuous values in [-1, 1), so that a density is one of the same data.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import paths
from jaxgen.config import RunConfig, option
from jaxgen.errors import UserError
from jaxgen.families import (
    Costs,
    Game,
    cnf_model,
    diffusion_model,
    flow_matching_model,
    flow_model,
    gan_model,
    gaussian_likelihood,
    glow,
    vae_model,
)
from jaxgen.flops import count_flops
from jaxgen.nets import dcgan_discriminator, dcgan_generator, decoder, encoder, unet
from jaxgen.samplers import Sampling, euler, grids
from jaxgen.samplers.catalogue import SAMPLERS
from jaxgen.tasks.features import FeatureConfig
from jaxgen.tasks.gan import augmentation
from jaxgen.tasks.generation import cut
from jaxgen.tasks.images import in_chunks, optimizer
from jaxgen.train import init_state, make_train_step
from jaxgen.types import Key, Model, Net

Shape = tuple[int, int, int]


class Point(NamedTuple):
    """One way to draw from a trained family.

    Attributes:
        label: its name in the table.
        evaluations: of the network that draws, per image.
        build: makes the model whose ``sample`` draws so; nothing is built to list the ways.
    """

    label: str
    evaluations: int
    build: Callable[[], Model]


class Family(NamedTuple):
    """A family at any width.

    Attributes:
        model: ``(shape, width) -> Model``, to train and to score.
        points: ``(shape, width) -> [Point]``, the ways to draw from it.
        likelihood: what ``log_prob`` of the model is: ``"exact"``, ``"estimate"`` of the exact one by random probes,
            ``"bound"`` or ``"none"``.
        options: of ``log_prob``.
        flops: ``(shape, width, batch size) -> operations of a training step``; None counts them from the step.
        b1: the decay of the optimizer's first moment.
        training: fields of the configuration that this family trains with instead.
    """

    model: Callable[[Shape, int], Model]
    points: Callable[[Shape, int], list[Point]]
    likelihood: str
    options: Mapping[str, Any] = {}
    flops: Callable[[Shape, int, int], float] | None = None
    b1: float = 0.9
    training: Mapping[str, Any] = {}


def _levels(width: int, factors: Sequence[float]) -> tuple[int, ...]:
    """Widths of levels that grow with one width in small steps: multiples of 4, each rounded on its own."""
    return tuple(max(4, 4 * round(width * factor / 4)) for factor in factors)


def _unet(shape: Shape, width: int) -> Net:
    return unet(shape[-1], channels=_levels(width, (1, 2, 3)), blocks=1, patch=2)


def _one_pass(family: str, build: Callable[[Shape, int], Model]) -> Callable[[Shape, int], list[Point]]:
    return lambda shape, width: [Point(family, 1, lambda: build(shape, width))]


LATENT = 64


def _gan(shape: Shape, width: int) -> Model:
    channels = _levels(width, (16, 6, 2, 1))
    generator, critic = dcgan_generator(shape, channels=channels), dcgan_discriminator(channels=channels[::-1])
    moved = augmentation(("translation",))
    return gan_model(generator, critic, shape, latent=LATENT, game=Game(r1=0.2, r2=0.2), augment=moved)


def _vae(shape: Shape, width: int) -> Model:
    channels = _levels(width, (1, 2, 3))
    options: dict[str, Any] = {"channels": channels, "blocks": 1, "patch": 2}
    return vae_model(
        encoder(2 * LATENT, vector=True, **options),
        decoder(shape[-1], spatial=shape[:-1], **options),
        (LATENT,),
        gaussian_likelihood(start=0.2),
    )


def _flow(shape: Shape, width: int) -> Model:
    return flow_model(glow(shape, levels=3, steps=8, width=width), shape)


CNF_STEPS = 4
"""Steps of the midpoint method on the way of training."""


def _cnf(shape: Shape, width: int) -> Model:
    net = _unet(shape, width)
    return cnf_model(net, shape, solver="midpoint", steps=CNF_STEPS, trace="hutchinson", costs=Costs(0.01, 0.01))


def _cnf_points(shape: Shape, width: int) -> list[Point]:
    def drawn(steps: int) -> Model:
        model = _cnf(shape, width)
        options = {"solver": "midpoint", "steps": steps}
        return model._replace(sample=lambda params, key, n: model.sample(params, key, n, **options))

    return [Point(f"cnf, midpoint {2 * n}", 2 * n, functools.partial(drawn, n)) for n in (2, 4, 10)]


def _cnf_flops(shape: Shape, width: int, batch: int) -> float:
    """The loops of the solver hide their length: one evaluation of what is integrated, as often as it is made.

    Each of the two stages of a step is evaluated forwards, and once more when the gradient is carried back through it.
    """
    net = _unet(shape, width)
    x, t = jax.ShapeDtypeStruct((batch, *shape), jnp.float32), jax.ShapeDtypeStruct((), jnp.float32)
    params = jax.eval_shape(net.init, jax.random.key(0), x, t)

    def integrated(params: Any, x: Any, t: Any) -> Any:
        value, products = jax.jvp(lambda x: net.apply(params, x, t), (x,), (x,))
        return jnp.sum(value * products)

    forward = count_flops(integrated, params, x, t)
    both = count_flops(jax.grad(integrated, (0, 1)), params, x, t)
    return 2 * CNF_STEPS * (forward + both)


PATH = paths.rectified()
EULER_STEPS = (1, 2, 5, 10, 20, 50)


def _flow_matching(shape: Shape, width: int, steps: int = 50) -> Model:
    return flow_matching_model(_unet(shape, width), shape, Sampling(PATH, euler(PATH), grids.uniform(PATH, steps)))


def _flow_matching_points(shape: Shape, width: int) -> list[Point]:
    build = functools.partial(_flow_matching, shape, width)
    return [Point(f"flow matching, Euler {n}", n, functools.partial(build, n)) for n in EULER_STEPS]


NOISE = paths.variance_preserving()
DRAWN = (
    ("ddim", 5),
    ("ddim", 10),
    ("ddim", 50),
    ("dpm_solver_2m", 5),
    ("dpm_solver_2m", 10),
    ("dpm_solver_2m", 20),
    ("ddpm", 50),
    ("ddpm", 100),
)


def _diffusion(shape: Shape, width: int, sampler: str = "ddim", evaluations: int = 50) -> Model:
    made = SAMPLERS[sampler]
    return diffusion_model(
        _unet(shape, width),
        shape,
        Sampling(NOISE, made.step(NOISE), grids.log_snr(NOISE, made.steps_within(evaluations)), "v"),
    )


def _diffusion_points(shape: Shape, width: int) -> list[Point]:
    names = {"ddim": "DDIM", "dpm_solver_2m": "DPM-Solver++ 2M", "ddpm": "ancestral"}
    build = functools.partial(_diffusion, shape, width)
    return [Point(f"diffusion, {names[name]} {n}", n, functools.partial(build, name, n)) for name, n in DRAWN]


FAMILIES: dict[str, Family] = {
    # Clipped gradients cost it most of its quality: the penalties bound the critic already.
    "gan": Family(_gan, _one_pass("gan", _gan), "none", b1=0.0, training={"gradient_clip": 0.0}),
    "vae": Family(_vae, _one_pass("vae", _vae), "bound", {"draws_of_code": 64}),
    "flow": Family(_flow, _one_pass("flow", _flow), "exact"),
    "cnf": Family(_cnf, _cnf_points, "estimate", {"rtol": 1e-3, "atol": 1e-3}, _cnf_flops),
    "flow_matching": Family(_flow_matching, _flow_matching_points, "estimate", {"rtol": 1e-3, "atol": 1e-3}),
    "diffusion": Family(_diffusion, _diffusion_points, "estimate", {"rtol": 1e-3, "atol": 1e-3}),
}


def parameters(model: Model, shape: Shape) -> int:
    """The number of parameters of a model, all its players together."""
    batch = {"image": jax.ShapeDtypeStruct((2, *shape), jnp.float32)}
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0), batch)))


def fitting_width(family: Family, shape: Shape, target: int) -> int:
    """The width at which a family has about `target` parameters; their number grows about as its square."""

    @functools.cache
    def count(width: int) -> int:
        return parameters(family.model(shape, width), shape)

    width = 16
    for _ in range(8):
        nearer = max(4, round(width * (target / count(width)) ** 0.5))
        if nearer == width:
            break
        width = nearer
    near = range(max(4, width - 1), width + 2)
    return min(near, key=lambda width: abs(count(width) - target))


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


class Drawer:
    """Draws by one point, in batches of any size; a program is compiled once per size."""

    def __init__(self, point: Point, params: Any) -> None:
        model = point.build()
        self._draw = jax.jit(lambda keys: cut(model.sample(params, keys, len(keys))))

    def images(self, key: Key, n: int, chunk: int) -> np.ndarray:
        """``[n, h, w, c]``."""
        return in_chunks(self._draw, n, chunk, jax.random.split(key, n))

    def speed(self, key: Key, batches: tuple[int, ...]) -> dict[str, float]:
        """Images per second at the best of several batches, without compilation."""
        best = {"images_per_second": 0.0, "batch": 0}
        for batch in batches:
            turns = jax.random.split(key, (3, batch))
            self._draw(turns[0]).block_until_ready()
            began = time.perf_counter()
            for keys in turns[1:]:
                self._draw(keys).block_until_ready()
            rate = 2 * batch / (time.perf_counter() - began)
            if rate > best["images_per_second"]:
                best = {"images_per_second": rate, "batch": batch}
        return best
