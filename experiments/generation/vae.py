"""A variational autoencoder of images, beside a Gaussian of the same images and principal components.

    jaxgen run vae                                    # phantom brains, computed
    jaxgen run vae --likelihood logistic --data DATA  # your images, another likelihood
    jaxgen run vae --beta 4                           # a code that says less, and more plainly

Samples are judged as those of the diffusion models are; reconstructions beside principal components with as many
numbers; and where the likelihood is one of pixels, the importance-weighted bound in bits per dimension beside the
exact likelihood of a Gaussian. Kingma & Welling 2014, "Auto-encoding variational Bayes", arXiv 1312.6114.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgen import baselines, draws
from jaxgen.app.cli import run_module
from jaxgen.baselines import principal_components
from jaxgen.config import option
from jaxgen.data import most_of
from jaxgen.experiment import Evaluation, Metric, StageSpec
from jaxgen.families import bernoulli_likelihood, gaussian_likelihood, logistic_likelihood, vae_model
from jaxgen.families.vae import Likelihood, posterior
from jaxgen.imaging.augment import random_flip
from jaxgen.metrics import dequantise
from jaxgen.tasks import autoencoding as reconstruction
from jaxgen.tasks import before
from jaxgen.tasks import figures as pictures
from jaxgen.tasks.old import images
from jaxgen.tasks.old import likelihood as dequantised
from jaxgen.tasks.old import sample_quality as judging
from jaxgen.train import Stage
from jaxgen.types import Model


@dataclasses.dataclass(frozen=True, kw_only=True)
class VAEConfig(reconstruction.CodeConfig, images.JudgedConfig):
    """The configuration of `vae`."""

    likelihood: Literal["gaussian", "logistic", "bernoulli"] = option(
        "gaussian", "law of a pixel: normal, logistic in 256 cells (scales learned), or a coin", group="method"
    )
    beta: float = option(1.0, "weight of the divergence of the code's law from the prior", ge=0, group="method")
    free_bits: float = option(0.0, "nats of divergence that each number has for nothing", ge=0, group="method")
    anneal_steps: int = option(500, "steps in which that weight rises from 0", ge=0, group="method")
    bound_draws: int = option(64, "draws of the code for the importance-weighted bound", ge=1, group="judging")
    likelihood_images: int = option(128, "test images whose likelihood is bounded", ge=2, group="judging")


def _law(config: VAEConfig) -> Likelihood:
    made = {
        "gaussian": lambda: gaussian_likelihood(start=0.2),
        "logistic": lambda: logistic_likelihood(start=0.1),
        "bernoulli": bernoulli_likelihood,
    }
    return made[config.likelihood]()


def _model(config: VAEConfig, constants: Mapping[str, Any]) -> Model:
    return vae_model(
        *reconstruction.networks(config, constants, answers=2),
        (config.code,),
        _law(config),
        beta=config.beta,
        free_bits=config.free_bits,
        warm_up=config.anneal_steps > 0,
    )


def _prepare(config: VAEConfig):
    """Bytes to what the likelihood is one of: continuous values, whole numbers in [-1, 1], or shares in [0, 1]."""

    def prepare(key, batch):
        noise_key, flip_key = draws.split(key, 2)
        image = batch["image"]
        if config.likelihood == "gaussian":
            image = dequantise(noise_key, image)
        else:
            image = image.astype(jnp.float32) / 255
            image = image if config.likelihood == "bernoulli" else 2 * image - 1
        batch = {**batch, "image": image}
        return random_flip(flip_key, batch, axes=(1,), names=("image",)) if config.mirror else batch

    return prepare


def _build(config: VAEConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
    groups = ["encoder", "decoder", *([] if config.likelihood == "bernoulli" else ["law"])]
    # One number, started within a factor of a few of the truth: it can go faster than the networks.
    optimizers = reconstruction.optimizers(config, *groups, faster={"law": 5.0})
    if config.anneal_steps:
        optimizers["warm_up"] = optax.sgd(1 / config.anneal_steps)
    return Stage("vae", _model(config, constants), optimizers, config.steps, _prepare(config))


def _shown(config: VAEConfig, mean):
    """The mean of the likelihood as an image in [-1, 1]."""
    return judging.cut(2 * mean - 1 if config.likelihood == "bernoulli" else mean)


def _draw(config: VAEConfig, constants, trained, key, n: int) -> np.ndarray:
    model, params = _model(config, constants), trained["vae"]
    draw = jax.jit(lambda keys: _shown(config, model.sample(params, keys, len(keys))))
    return images.in_chunks(draw, n, config.chunk, jax.random.split(key, n))


def _bits(config: VAEConfig, constants, trained, splits, key) -> dict[str, dict[str, float]]:
    """Bits per dimension of test images: the bound of the model, and the likelihood of a Gaussian; empty for coins."""
    if config.likelihood == "bernoulli":
        return {}
    test = dequantised.whole_numbers(config, constants, splits.test, most_of(config.data, config.likelihood_images))
    data_key, bound_key, fit_key = jax.random.split(key, 3)
    continuous = np.asarray(dequantise(jax.random.split(data_key, len(test)), jnp.asarray(test)))
    discrete = config.likelihood == "logistic"
    model, params = _model(config, constants), trained["vae"]
    assert model.log_prob is not None
    log_prob = model.log_prob
    bound = jax.jit(lambda keys, x: log_prob(params, keys, x, draws_of_code=config.bound_draws))
    x = test.astype(np.float32) / 127.5 - 1 if discrete else continuous
    nats = images.in_chunks(bound, len(x), config.chunk, jax.random.split(bound_key, len(x)), x)
    gaussian = dequantised.fitted_gaussian_log_prob(config, constants, splits, fit_key, continuous)
    return {
        "vae": dequantised.bits(nats, test[0].size, bins=None if discrete else 256),
        "gaussian": dequantised.bits(gaussian, test[0].size),
    }


def _evaluate(config: VAEConfig, constants, trained, splits, key) -> Evaluation:
    judge = images.Judge(config, constants, trained)
    real = judging.Real(config, constants, splits, judge)
    held = reconstruction.held_images(config, constants, splits)
    encoder, decoder = reconstruction.networks(config, constants, answers=2)
    law, params = _law(config), trained["vae"]

    def encode(x: np.ndarray) -> np.ndarray:
        seen = (x + 1) / 2 if config.likelihood == "bernoulli" else x
        return reconstruction.in_chunks(config, lambda x: posterior(encoder, params["encoder"], x)[0], seen)

    def decode(z: np.ndarray) -> np.ndarray:
        answer = lambda z: law.mean(params.get("law", {}), decoder.apply(params["decoder"], z))  # noqa: E731
        return reconstruction.in_chunks(config, lambda z: _shown(config, answer(z)), z)

    draw_key, bits_key, prior_key = jax.random.split(key, 3)
    drawn = _draw(config, constants, trained, draw_key, real.count)
    principal = principal_components(held.train, config.code)
    codes = encode(held.test)
    restored = {"vae": decode(codes), "pca": principal.reconstruct(held.test)}
    sets = {
        "vae": drawn,
        "gaussian": baselines.gaussian_images(real.train, real.count, config.seed),
        "held-out images": real.held_out,
    }
    metrics: dict[str, Any] = {name: judging.score(real, judge, x) for name, x in sets.items()}
    for found in (
        {name: reconstruction.likeness(x, held.test) for name, x in restored.items()},
        _bits(config, constants, trained, splits, bits_key),
    ):
        for name, numbers in found.items():
            metrics[name] = metrics.get(name, {}) | numbers
    metrics |= {"images": real.count, "code": config.code}
    prior = np.asarray(jax.random.normal(prior_key, codes.shape))
    caption = f"Test images had back from {config.code} numbers: the decoder's mean at the posterior's mean, and PCA."
    figures = {
        "samples": pictures.grid(drawn[:40], "Images drawn by the model: the decoder's means at draws of the prior."),
        "beside": pictures.rows({name: x[:8] for name, x in sets.items()}, "Model, baseline, and real test images."),
        "reconstructions": reconstruction.reconstructions(held.test, restored, caption),
        "interpolations": reconstruction.interpolations(encode, decode, held.test),
        "codes": reconstruction.code_scatter(
            {"codes of test images": codes, "draws of the prior": prior}, held.label, constants["classes"]
        ),
        "neighbours": judging.neighbours(real, drawn[:8]),
    }
    ours, baseline, floor = (metrics[name]["frechet"] for name in sets)
    headline = (
        f"Frechet distance to the training images {ours:.3g}, that of a fitted Gaussian {baseline:.3g} and of held-out "
        f"images {floor:.3g}; images had back at {metrics['vae']['psnr']:.2f} dB, by principal components at "
        f"{metrics['pca']['psnr']:.2f} dB"
    )
    if "bits" in metrics["vae"]:
        bits = {name: f"{metrics[name]['bits']:.3f}" for name in ("vae", "gaussian")}
        headline += f"; at most {bits['vae']} bits per dimension, the Gaussian {bits['gaussian']}"
    return Evaluation(metrics, figures, headline + ".", DESCRIBE)


DESCRIBE = {
    "bits": Metric("Bits per dimension", "lower", "of test images; an upper bound, but of the Gaussian its own"),
    "bits_error": Metric("its standard error", "", "over test images"),
    **reconstruction.DESCRIBE,
    **judging.DESCRIBE,
}


def _sample(config: VAEConfig, constants, trained, splits, key, n) -> Evaluation:
    drawn = _draw(config, constants, trained, key, n)
    return judging.sampled(drawn, "Images drawn by the model.")


SMALL = VAEConfig(
    steps=2000,
    batch_size=16,
    learning_rate=1e-3,
    warmup_steps=100,
    ema_decay=0.995,
    checkpoint_every=500,
    log_every=20,
)
SMOKE = dataclasses.replace(
    SMALL,
    steps=6,
    batch_size=4,
    size=16,
    code=4,
    channels=(8,),
    anneal_steps=3,
    samples=16,
    chunk=16,
    likelihood_images=4,
    bound_draws=4,
    judge_steps=6,
    judge_channels=(8,),
    checkpoint_every=3,
    log_every=1,
)
FULL = VAEConfig(
    data="",
    size=128,
    code=512,
    channels=(64, 128, 256, 512, 512),
    blocks=2,
    patch=1,
    anneal_steps=20_000,
    steps=500_000,
    batch_size=64,
    learning_rate=2e-4,
    warmup_steps=5000,
    ema_decay=0.9999,
    samples=10_000,
    likelihood_images=1000,
    bound_draws=1000,
    judge_steps=10_000,
    precision="bfloat16",
    checkpoint_every=5000,
    log_every=100,
)

EXPERIMENT = before.experiment(
    name="vae",
    summary="A variational autoencoder of images: samples, reconstructions and a bound of the likelihood",
    data="phantom brains, computed; or your images",
    presets={"smoke": SMOKE, "small": SMALL, "full": FULL},
    load=images.load_images,
    measure=images.measure_images,
    stages=(images.JUDGE, StageSpec("vae", _build)),
    evaluate=_evaluate,
    sample=_sample,
    baseline="gaussian",
    examples=images.example_images,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
