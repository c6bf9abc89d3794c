"""Score-based diffusion in continuous time: three equations, their samplers, and exact likelihoods.

    jaxgen run score_sde                             # phantom brains at 32 pixels, computed
    jaxgen run score_sde --path ve --data DATA       # variance exploding, on your images

The likelihood by the probability flow is compared with the variational bound and with a Gaussian's.
Song et al. 2021, "Score-based generative modeling through stochastic differential equations", arXiv 2011.13456.
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws, published
from jaxgen.app.cli import run_module
from jaxgen.config import chosen_name, option
from jaxgen.experiment import Evaluation, Run
from jaxgen.families import diffusion_model
from jaxgen.losses.variational import averaged_bound
from jaxgen.metrics.best import lowest
from jaxgen.preconditioning import precondition
from jaxgen.samplers import Sampling, clip, denoiser, from_noise, grids, starting_noise
from jaxgen.samplers.catalogue import SAMPLERS
from jaxgen.samplers.likelihood import log_prob
from jaxgen.samplers.probability_flow import probability_flow
from jaxgen.tasks import diffusion, features, generation, images, likelihood, networks
from jaxgen.types import Array, Denoise, Key, Model, Net, Params

FLOW = "probability flow"
COMPARED = ("predictor_corrector", "reverse_diffusion", "euler_maruyama", "ddim", FLOW)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreSDEConfig(diffusion.DiffusionConfig, likelihood.FlowLikelihoodConfig, features.FeatureConfig):
    path: str = option("vp", "the equation", choices=("vp", "sub_vp", "ve"), group="method")
    prediction: Literal["x0"] = option("x0", "what the preconditioned network predicts", group="method")
    sampler_steps: int = option(100, "steps of each sampler from noise to image", ge=2, le=10_000, group="sampling")
    bound_draws: int = option(64, "noise levels per image at which the bound is estimated", ge=1, group="evaluation")


def network(run: Run) -> Net:
    return precondition(networks.network(run), diffusion.make_path(run.config), run.facts.sigma_data)


def model(run: Run) -> Model:
    path, shape = diffusion.make_path(run.config), images.image_shape(run)
    step, grid = SAMPLERS[COMPARED[0]].step(path), grids.uniform(path, run.config.sampler_steps)
    return diffusion_model(network(run), shape, Sampling(path, step, grid, "x0"), target="noise")


def denoise_with(run: Run, params: Params) -> Denoise:
    net, path = network(run), diffusion.make_path(run.config)
    return denoiser(lambda x, t: net.apply(params, x, jnp.broadcast_to(t, x.shape[:1])), path, "x0")


def draw(run: Run, name: str, key: Key, n: int) -> np.ndarray:
    path, shape = diffusion.make_path(run.config), images.image_shape(run)
    grid = grids.uniform(path, run.config.sampler_steps)

    @jax.jit
    def drawn(params: Params, keys: Key) -> Array:
        denoise = clip(denoise_with(run, params))
        if name != FLOW:
            return from_noise(path, denoise, SAMPLERS[name].step(path), grid, keys, shape)
        start = starting_noise(path, draws.split(keys, 2)[0], (len(keys), *shape))
        return probability_flow(path, denoise, start, **run.config.solver)

    return images.draw_in_chunks(run, lambda keys: drawn(run.params["score"]["net"], keys), key, n)


def bits_per_dimension(run: Run, key: Key) -> dict[str, dict[str, float]]:
    path, net, config = diffusion.make_path(run.config), network(run), run.config
    flow_key, bound_key, data_key, fit_key = jax.random.split(key, 4)

    def by_flow(params: Params, keys: Key, x: Array) -> Array:
        return log_prob(denoise_with(run, params), path, keys, x, trace="hutchinson", **config.solver)

    def by_bound(params: Params, keys: Key, x: Array) -> Array:
        predict = functools.partial(net.apply, params)
        return averaged_bound(predict, path, keys, x, config.bound_draws, prediction="x0")

    densities = {FLOW: (by_flow, flow_key), "variational bound": (by_bound, bound_key)}
    return likelihood.compared_bits(run, run.params["score"]["net"], densities, data_key, fit_key)


def evaluate(run: Run) -> Evaluation:
    draw_key, bits_key = jax.random.split(run.key)
    compared = generation.Comparison(run, lambda n: {name: draw(run, name, draw_key, n) for name in COMPARED})
    bits = bits_per_dimension(run, bits_key)
    best = lowest({name: compared.metrics[name]["frechet"] for name in COMPARED})
    headline = f"{likelihood.sentence(bits, FLOW)} By {best}: {compared.headline(best)}"
    return compared.evaluation(
        shown=best, caption=f"Images drawn by {best}.", metrics=bits, headline=headline, describe=likelihood.DESCRIBE
    )


def sample(run: Run, n: int, sampler: str = COMPARED[0]) -> Evaluation:
    name = chosen_name("--sampler", sampler, COMPARED)
    return generation.sampled(draw(run, name, run.key, n), f"Images drawn by {name.replace('_', ' ')}.")


EXPERIMENT = generation.experiment(
    name="score_sde",
    summary="Score-based diffusion in continuous time: VP, sub-VP and VE, their samplers, likelihood in bits",
    data="phantom brains at 32 pixels, computed; or your images",
    config=ScoreSDEConfig,
    presets={
        "small": {"size": 32, "patch": 1, "samples": 128},
        "smoke": {"likelihood_images": 2, "bound_draws": 2, "tolerance": 0.05},
        "full": published.SONG_32 | published.SONG_TRAINING | {"sampler_steps": 1000, "bound_draws": 1000},
        "full-ve": {"path": "ve", "ema_decay": 0.999},
    },
    measure=images.measure_spread,
    facts=images.SpreadFacts,
    defaults=likelihood.FLOW_DEFAULTS,
    stages=(images.stage("score", model, prepare=likelihood.prepare_dequantised),),
    evaluate=evaluate,
    sample=sample,
    sample_flags={"sampler": None, "steps": "sampler_steps"},
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
