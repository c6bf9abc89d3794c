"""A variational autoencoder of images, compared with a Gaussian of the same images and principal components.

    jaxgen run vae                                    # phantom brains, computed
    jaxgen run vae --likelihood logistic --data DATA  # your images, another likelihood
    jaxgen run vae --beta 4                           # codes that hold less, in fewer dimensions

Samples are evaluated as those of the diffusion models are; reconstructions, the decoder's mean at the posterior's mean,
are compared with principal components of the same dimension; and where the likelihood is one of pixels, the
importance-weighted bound in bits per dimension is compared with the exact likelihood of a Gaussian.
Kingma & Welling 2014, "Auto-encoding variational Bayes", arXiv 1312.6114.
"""

import dataclasses
import functools

import jax
import numpy as np
import optax

from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.experiment import Evaluation, Run, StageSpec
from jaxgen.families import vae_model
from jaxgen.families.pixel_likelihood import PIXELS
from jaxgen.families.vae import posterior
from jaxgen.metrics.sample_sets import cut
from jaxgen.tasks import autoencoding, features, generation, images, likelihood
from jaxgen.train import Stage
from jaxgen.types import Array, Key, Model


@dataclasses.dataclass(frozen=True, kw_only=True)
class VAEConfig(autoencoding.CodeConfig, features.FeatureConfig):
    likelihood: str = option(
        "gaussian", "pixel likelihood: Gaussian, 256-bin logistic or Bernoulli", choices=PIXELS, group="method"
    )
    beta: float = option(1.0, "weight of the KL divergence of the posterior from the prior", ge=0, group="method")
    free_bits: float = option(0.0, "KL per latent dimension, in nats, that is not penalised", ge=0, group="method")
    anneal_steps: int = option(500, "steps in which beta rises from 0", ge=0, group="method")
    bound_draws: int = option(64, "draws of the code per image for the likelihood's bound", ge=1, group="evaluation")
    likelihood_images: int = option(128, "test images whose likelihood is bounded", ge=2, group="evaluation")


def model(run: Run) -> Model:
    return vae_model(
        *autoencoding.networks(run, outputs=2),  # mean and log-variance of the posterior
        (run.config.code,),
        PIXELS[run.config.likelihood].likelihood,
        beta=run.config.beta,
        free_bits=run.config.free_bits,
        warm_up=run.config.anneal_steps > 0,
    )


def build(run: Run) -> Stage:
    config = run.config
    optimizers = {group: images.optimizer(config) for group in ("encoder", "decoder")}
    if config.likelihood != "bernoulli":  # its one parameter starts near the truth and can go faster than the networks
        optimizers["law"] = images.optimizer(dataclasses.replace(config, learning_rate=5 * config.learning_rate))
    if config.anneal_steps:
        optimizers["warm_up"] = optax.sgd(1 / config.anneal_steps)
    prepare = likelihood.prepare_with(config, PIXELS[config.likelihood].values)
    return Stage("vae", model(run), optimizers, config.steps, prepare)


def draw(run: Run, key: Key, n: int) -> np.ndarray:
    to_image = PIXELS[run.config.likelihood].to_image
    return generation.drawing(run, "vae", model(run), finish=lambda x: cut(to_image(x)))(key, n)


def reconstruct(run: Run) -> autoencoding.Reconstructions:
    encoder, decoder = autoencoding.networks(run, outputs=2)
    params, pixels = run.params["vae"], PIXELS[run.config.likelihood]

    def encode(x: Array) -> Array:
        mean, _ = posterior(encoder, params["encoder"], pixels.from_image(x))
        return mean

    def decode(z: Array) -> Array:
        mean = pixels.likelihood.mean(params.get("law", {}), decoder.apply(params["decoder"], z))
        return cut(pixels.to_image(mean))

    return autoencoding.Reconstructions(run, "vae", encode, decode)


def evaluate(run: Run) -> Evaluation:
    draw_key, bits_key, prior_key = jax.random.split(run.key, 3)
    compared = generation.Comparison(run, lambda n: {"vae": draw(run, draw_key, n)})
    reconstructed, bits, remark = reconstruct(run), {}, ""
    if run.config.likelihood != "bernoulli":  # which is one of shares, not of pixels
        data_key, code_key, fit_key = jax.random.split(bits_key, 3)
        log_prob = model(run).log_prob
        assert log_prob is not None
        bound = functools.partial(log_prob, draws_of_code=run.config.bound_draws)
        how = {"chunk": run.config.chunk, "discrete": PIXELS[run.config.likelihood].discrete}
        bits = likelihood.compared_bits(run, run.params["vae"], {"vae": (bound, code_key)}, data_key, fit_key, **how)
        ours, gaussian = (bits[name]["bits"] for name in ("vae", "gaussian"))
        remark = f"At most {ours:.3f} bits per dimension, the Gaussian {gaussian:.3f}."
    return reconstructed.evaluation(
        compared,
        codes={"draws of the prior": np.asarray(jax.random.normal(prior_key, reconstructed.codes.shape))},
        metrics=bits,
        remark=remark,
        describe=likelihood.DESCRIBE,
    )


EXPERIMENT = autoencoding.experiment(
    name="vae",
    summary="A variational autoencoder of images: samples, reconstructions and a bound of the likelihood",
    data="phantom brains, computed; or your images",
    config=VAEConfig,
    presets={
        "smoke": {"anneal_steps": 3, "likelihood_images": 4, "bound_draws": 4},
        "full": {"code": 512, "anneal_steps": 20_000, "likelihood_images": 1000, "bound_draws": 1000},
    },
    stages=(StageSpec("vae", build),),
    evaluate=evaluate,
    draw=draw,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
