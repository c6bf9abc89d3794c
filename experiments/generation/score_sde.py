"""Score-based diffusion in continuous time: three equations, their samplers, and exact likelihoods.

    jaxgen run score_sde                             # phantom brains at 32 pixels, computed
    jaxgen run score_sde --path ve --data DATA       # variance exploding, on your images

The likelihood by the probability flow, in bits per dimension with its standard error, stands beside the variational
bound and beside that of a Gaussian with a few principal directions. Song et al. 2021, arXiv 2011.13456.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import baselines, draws
from jaxgen.app.cli import run_module
from jaxgen.config import nearest, option
from jaxgen.data import Subset, resized
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Metric, StageSpec
from jaxgen.families import diffusion_model
from jaxgen.imaging.augment import random_flip
from jaxgen.losses import variational
from jaxgen.metrics.likelihood import dequantise
from jaxgen.preconditioning import precondition
from jaxgen.samplers import Sampling, clip, denoiser, grids, likelihood, sample
from jaxgen.samplers.catalogue import SAMPLERS
from jaxgen.samplers.probability_flow import probability_flow
from jaxgen.tasks import before
from jaxgen.tasks import figures as pictures
from jaxgen.tasks.best import lowest
from jaxgen.tasks.old import denoisers, images
from jaxgen.tasks.old import likelihood as dequantised
from jaxgen.tasks.old import sample_quality as judging
from jaxgen.tasks.old.networks import network
from jaxgen.train import Stage
from jaxgen.types import Denoise, Net, Params

COMPARED = ("predictor_corrector", "reverse_diffusion", "euler_maruyama", "ddim")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreSDEConfig(denoisers.DenoiserConfig, images.JudgedConfig):
    """The configuration of `score_sde`."""

    path: Literal["vp", "sub_vp", "ve"] = option(
        "vp", "the equation: variance preserving, sub-VP or variance exploding", group="method"
    )
    prediction: Literal["x0"] = option("x0", "what the preconditioned network answers", group="method")
    sampler_steps: int = option(100, "steps of each sampler from noise to image", ge=2, le=10_000, group="sampling")
    tolerance: float = option(1e-3, "tolerances of the adaptive solver", gt=0, lt=1, group="sampling")
    bound_draws: int = option(64, "noise levels an image at which the bound is estimated", ge=1, group="judging")
    likelihood_images: int = option(48, "test images whose likelihood is computed", ge=2, group="judging")


def _spread(splits, size: int, value_range) -> float:
    """The standard deviation of the training images in [-1, 1]."""
    chosen = np.unique(np.linspace(0, len(splits.train) - 1, min(500, len(splits.train))).astype(int))
    return float(resized(Subset(splits.train, chosen), size, value_range).arrays["image"].std())


def _measure(config: ScoreSDEConfig, splits) -> dict[str, Any]:
    constants = images.measure_images(config, splits)
    return constants | {"sigma_data": _spread(splits, config.size, constants["value_range"])}


def _network(config: ScoreSDEConfig, constants: Mapping[str, Any]) -> Net:
    return precondition(network(config, constants), denoisers.make_path(config), constants["sigma_data"])


def _prepare(config: ScoreSDEConfig):
    def prepare(key, batch):
        noise_key, flip_key = draws.split(key, 2)
        batch = {**batch, "image": dequantise(noise_key, batch["image"])}
        return random_flip(flip_key, batch, axes=(1,), names=("image",)) if config.mirror else batch

    return prepare


def _build(config: ScoreSDEConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
    path = denoisers.make_path(config)
    model = diffusion_model(
        _network(config, constants),
        (config.size, config.size, constants["channels"]),
        Sampling(path, SAMPLERS[COMPARED[0]].step(path), grids.uniform(path, config.sampler_steps), "x0"),
        target="noise",
    )
    return Stage("score", model, images.optimizers(config), config.steps, _prepare(config))


def _denoise(config: ScoreSDEConfig, constants: Mapping[str, Any], params: Params) -> Denoise:
    net, path = _network(config, constants), denoisers.make_path(config)
    return denoiser(lambda x, t: net.apply(params, x, jnp.broadcast_to(t, x.shape[:1])), path, "x0")


def _drawing(config: ScoreSDEConfig, constants, trained, name: str):
    """``(key, n) -> images`` by one of `COMPARED`, or by the adaptive probability flow."""
    path, shape = denoisers.make_path(config), (config.size, config.size, constants["channels"])
    grid = grids.uniform(path, config.sampler_steps)

    @jax.jit
    def draw(params, keys):
        noise_keys, step_keys = draws.split(keys, 2)
        start = denoisers.starting_noise(path, noise_keys, (len(keys), *shape))
        denoise = clip(_denoise(config, constants, params))
        if name == "probability flow":
            return probability_flow(path, denoise, start, rtol=config.tolerance, atol=config.tolerance)
        return sample(SAMPLERS[name].step(path), denoise, step_keys, start, grid)

    params = trained["score"]["net"]
    return lambda key, n: images.in_chunks(lambda keys: draw(params, keys), n, config.chunk, jax.random.split(key, n))


def _likelihoods(config: ScoreSDEConfig, constants, trained, splits, key) -> dict[str, dict[str, float]]:
    """Bits per dimension of test images: by the probability flow, by the bound, and of the Gaussian."""
    path = denoisers.make_path(config)
    flow_key, bound_key, data_key, fit_key = jax.random.split(key, 4)
    x = dequantised.test_images(config, constants, splits, data_key, config.likelihood_images)

    @jax.jit
    def flow(params, keys, x):
        denoise = _denoise(config, constants, params)
        return likelihood.log_prob(
            denoise, path, keys, x, trace="hutchinson", rtol=config.tolerance, atol=config.tolerance
        )

    @jax.jit
    def bound(params, keys, x):
        net = _network(config, constants)

        def once(i, total):
            drawn = variational.continuous_bound(
                lambda x_t, t: net.apply(params, x_t, t), path, draws.fold_in(keys, i), x, prediction="x0"
            )
            return total - drawn.total

        return jax.lax.fori_loop(0, config.bound_draws, once, jnp.zeros(len(x))) / config.bound_draws

    params, chunk = trained["score"]["net"], min(config.chunk, 24)
    nats = {
        name: images.in_chunks(lambda *a, f=function: f(params, *a), len(x), chunk, jax.random.split(k, len(x)), x)
        for name, function, k in (("probability flow", flow, flow_key), ("variational bound", bound, bound_key))
    }
    nats["gaussian"] = dequantised.fitted_gaussian_log_prob(config, constants, splits, fit_key, x)
    return {name: dequantised.bits(values, x[0].size) for name, values in nats.items()}


def _evaluate(config: ScoreSDEConfig, constants, trained, splits, key) -> Evaluation:
    judge = images.Judge(config, constants, trained)
    real = judging.Real(config, constants, splits, judge)
    draw_key, likelihood_key = jax.random.split(key)
    sets = {
        name: _drawing(config, constants, trained, name)(draw_key, real.count)
        for name in (*COMPARED, "probability flow")
    }
    sets["gaussian"] = baselines.gaussian_images(real.train, real.count, config.seed)
    sets["held-out images"] = real.held_out
    metrics: dict[str, Any] = {name: judging.score(real, judge, x) for name, x in sets.items()}
    for name, found in _likelihoods(config, constants, trained, splits, likelihood_key).items():
        metrics[name] = metrics.get(name, {}) | found
    metrics["images"] = real.count
    best = lowest({name: metrics[name]["frechet"] for name in (*COMPARED, "probability flow")})
    figures = {
        "samples": pictures.grid(sets[best][:40], f"Images drawn by {best}."),
        "beside": pictures.rows({name: x[:8] for name, x in sets.items()}, "Each sampler, the baseline, real images."),
        "neighbours": judging.neighbours(real, sets[best][:8]),
    }
    flow, bound, gaussian = (metrics[name] for name in ("probability flow", "variational bound", "gaussian"))
    headline = (
        f"{flow['bits']:.3f} +- {flow['bits_error']:.3f} bits per dimension by the probability flow (bound "
        f"{bound['bits']:.3f}, Gaussian {gaussian['bits']:.3f}); Frechet distance {metrics[best]['frechet']:.3g} by "
        f"{best}, Gaussian {gaussian['frechet']:.3g}."
    )
    return Evaluation(metrics, figures, headline, DESCRIBE)


DESCRIBE = {
    "bits": Metric("Bits per dimension", "lower", "of test images, dequantised uniformly; of the bound an upper bound"),
    "bits_error": Metric("its standard error", "", "over test images"),
    **judging.DESCRIBE,
}


def _sample(config: ScoreSDEConfig, constants, trained, splits, key, n, sampler=COMPARED[0]) -> Evaluation:
    known = (*COMPARED, "probability flow")
    name = sampler.replace("probability_flow", "probability flow")
    if name not in known:
        offered = ", ".join(one.replace(" ", "_") for one in known)
        raise UserError(f"--sampler must be one of {offered}, got {sampler!r}{nearest(sampler, known)}")
    drawn = _drawing(config, constants, trained, name)(key, n)
    return judging.sampled(drawn, f"Images drawn by {name.replace('_', ' ')}.")


SMALL = ScoreSDEConfig(
    size=32,
    patch=1,
    steps=2000,
    batch_size=16,
    learning_rate=1e-3,
    warmup_steps=100,
    ema_decay=0.995,
    samples=128,
    checkpoint_every=250,
    log_every=20,
)
SMOKE = dataclasses.replace(
    SMALL,
    steps=6,
    batch_size=4,
    size=16,
    channels=(8, 12),
    attention=(1,),
    samples=16,
    chunk=16,
    sampler_steps=3,
    likelihood_images=2,
    bound_draws=2,
    tolerance=0.05,
    judge_steps=6,
    judge_channels=(8,),
    checkpoint_every=3,
    log_every=1,
)
FULL = ScoreSDEConfig(
    data="",
    size=32,
    patch=1,
    channels=(128, 256, 256, 256),
    blocks=4,
    attention=(1,),
    head_width=256,
    dropout=0.1,
    residual_resampling=True,
    adaptive=False,
    sampler_steps=1000,
    tolerance=1e-5,
    likelihood_images=1000,
    bound_draws=1000,
    steps=1_300_000,
    batch_size=128,
    learning_rate=2e-4,
    warmup_steps=5000,
    schedule="constant",
    optimizer="adam",
    ema_decay=0.9999,
    samples=10_000,
    judge_steps=10_000,
    precision="bfloat16",
    checkpoint_every=5000,
    log_every=100,
)

EXPERIMENT = before.experiment(
    name="score_sde",
    summary="Score-based diffusion in continuous time: VP, sub-VP and VE, their samplers, likelihood in bits",
    data="phantom brains at 32 pixels, computed; or your images",
    presets={
        "smoke": SMOKE,
        "small": SMALL,
        "full": FULL,
        "full-ve": dataclasses.replace(FULL, path="ve", ema_decay=0.999),
    },
    load=images.load_images,
    measure=_measure,
    stages=(images.JUDGE, StageSpec("score", _build)),
    evaluate=_evaluate,
    sample=_sample,
    sample_flags={"sampler": None, "steps": "sampler_steps"},
    baseline="gaussian",
    examples=images.example_images,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
