"""Families at any width: how each is built, sampled and scored, to compare them at equal size and compute.

All get images dequantised to continuous values in [-1, 1), so that a density is one of the same data.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import paths
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
from jaxgen.imaging.differentiable_augment import differentiable_augment
from jaxgen.nets import dcgan_discriminator, dcgan_generator, decoder, encoder, unet
from jaxgen.samplers import Sampling, euler, grids
from jaxgen.samplers.catalogue import SAMPLERS
from jaxgen.types import Model, Net

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
    moved = functools.partial(differentiable_augment, brightness=0, contrast=0, translation=0.125, cutout=0, fill=-1.0)
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
    grid = grids.log_snr(NOISE, made.steps_within(evaluations))
    return diffusion_model(_unet(shape, width), shape, Sampling(NOISE, made.step(NOISE), grid, "v"))


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
