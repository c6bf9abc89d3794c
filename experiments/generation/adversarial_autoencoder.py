"""An adversarial autoencoder of images: codes with a chosen law, which a critic holds them to.

    jaxgen run adversarial_autoencoder                               # phantom brains, computed
    jaxgen run adversarial_autoencoder --prior swiss_roll --code 2   # codes on a spiral
    jaxgen run adversarial_autoencoder --data DATA                   # your images

Samples are judged as those of the diffusion models are, reconstructions beside principal components with as many
numbers, and the law of the codes by its maximum mean discrepancy from the prior, beside that of two draws of the prior.
Makhzani et al. 2015, "Adversarial autoencoders", arXiv 1511.05644.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import numpy as np

from jaxgen import baselines
from jaxgen.app.cli import run_module
from jaxgen.baselines import principal_components
from jaxgen.config import option
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Metric, StageSpec
from jaxgen.families import adversarial_autoencoder_model, normal_prior, ring_prior, swiss_roll_prior
from jaxgen.families.adversarial_autoencoder import Prior
from jaxgen.metrics import maximum_mean_discrepancy
from jaxgen.nets import mlp
from jaxgen.tasks import autoencoding as reconstruction
from jaxgen.tasks import before
from jaxgen.tasks import figures as pictures
from jaxgen.tasks.old import images
from jaxgen.tasks.old import sample_quality as judging
from jaxgen.train import Stage
from jaxgen.types import Model


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdversarialConfig(reconstruction.CodeConfig, images.JudgedConfig):
    """The configuration of `adversarial_autoencoder`."""

    code: int = option(8, "numbers that an image is squeezed into", ge=1, le=65_536, group="network")
    prior: Literal["normal", "ring", "swiss_roll"] = option(
        "normal", "law that the codes shall have; the last two are of codes of 2 numbers", group="method"
    )
    penalty: float = option(0.1, "weight of the critic's squared gradient", ge=0, group="method")
    adversarial_weight: float = option(0.1, "of passing for the prior, beside the squared error", ge=0, group="method")
    critic_widths: tuple[int, ...] = option((128, 128), "hidden layers of the critic", ge=4, group="network")
    critic_rate: float = option(1.0, "learning rate of the critic over that of the others", gt=0, group="training")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        if self.prior != "normal" and self.code != 2:
            raise UserError(f"--prior {self.prior} is a law in the plane: give --code 2, not {self.code}")


def _prior(config: AdversarialConfig) -> Prior:
    planar: dict[str, Callable[[], Prior]] = {"ring": ring_prior, "swiss_roll": swiss_roll_prior}
    return normal_prior(config.code) if config.prior == "normal" else planar[config.prior]()


def _model(config: AdversarialConfig, constants: Mapping[str, Any]) -> Model:
    critic = mlp(1, widths=config.critic_widths)
    return adversarial_autoencoder_model(
        *reconstruction.networks(config, constants),
        critic,
        _prior(config),
        penalty=config.penalty,
        weight=config.adversarial_weight,
    )


def _build(config: AdversarialConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
    optimizers = reconstruction.optimizers(
        config, "encoder", "decoder", "critic", faster={"critic": config.critic_rate}, updates={"encoder": 2}
    )
    return Stage("aae", _model(config, constants), optimizers, config.steps, images.prepare_images(config))


def _draw(config: AdversarialConfig, constants, trained, key, n: int) -> np.ndarray:
    model, params = _model(config, constants), trained["aae"]
    draw = jax.jit(lambda keys: judging.cut(model.sample(params, keys, len(keys))))
    return images.in_chunks(draw, n, config.chunk, jax.random.split(key, n))


def _evaluate(config: AdversarialConfig, constants, trained, splits, key) -> Evaluation:
    judge = images.Judge(config, constants, trained)
    real = judging.Real(config, constants, splits, judge)
    held = reconstruction.held_images(config, constants, splits)
    encoder, decoder = reconstruction.networks(config, constants)
    params = trained["aae"]
    encode = lambda x: reconstruction.in_chunks(config, lambda x: encoder.apply(params["encoder"], x), x)  # noqa: E731
    decode = lambda z: reconstruction.in_chunks(config, lambda z: decoder.apply(params["decoder"], z), z)  # noqa: E731

    draw_key, prior_key = jax.random.split(key)
    drawn = _draw(config, constants, trained, draw_key, real.count)
    principal = principal_components(held.train, config.code)
    codes = encode(held.test)
    restored = {"aae": decode(codes), "pca": principal.reconstruct(held.test)}
    sets = {
        "aae": drawn,
        "gaussian": baselines.gaussian_images(real.train, real.count, config.seed),
        "held-out images": real.held_out,
    }
    metrics: dict[str, Any] = {name: judging.score(real, judge, x) for name, x in sets.items()}
    for name, x in restored.items():
        metrics[name] = metrics.get(name, {}) | reconstruction.likeness(x, held.test)
    prior = np.asarray(_prior(config)(prior_key, 2 * len(codes)))
    first, second = prior[: len(codes)], prior[len(codes) :]
    found, floor = maximum_mean_discrepancy(codes, first), maximum_mean_discrepancy(second, first)
    metrics["aae"] |= {"discrepancy": found.value, "discrepancy_error": found.standard_error}
    metrics["draws of the prior"] = {"discrepancy": floor.value, "discrepancy_error": floor.standard_error}
    metrics |= {"images": real.count, "code": config.code}
    caption = f"Test images had back from {config.code} numbers by the autoencoder and by principal components."
    scatter = {"codes of test images": codes, "draws of the prior": first}
    figures = {
        "samples": pictures.grid(drawn[:40], "Images decoded from draws of the prior."),
        "beside": pictures.rows({name: x[:8] for name, x in sets.items()}, "Model, baseline, and real test images."),
        "reconstructions": reconstruction.reconstructions(held.test, restored, caption),
        "interpolations": reconstruction.interpolations(encode, decode, held.test),
        "codes": reconstruction.code_scatter(scatter, held.label, constants["classes"]),
        "neighbours": judging.neighbours(real, drawn[:8]),
    }
    ours, baseline, best = (metrics[name]["frechet"] for name in sets)
    headline = (
        f"Codes at a squared discrepancy of {found.value:.4f} +- {found.standard_error:.4f} from the prior; Frechet "
        f"distance to the training images {ours:.3g}, that of a fitted Gaussian {baseline:.3g} and of held-out images "
        f"{best:.3g}; images had back at {metrics['aae']['psnr']:.2f} dB, by principal components at "
        f"{metrics['pca']['psnr']:.2f} dB."
    )
    return Evaluation(metrics, figures, headline, DESCRIBE)


DESCRIBE = {
    "discrepancy": Metric("Discrepancy of codes", "lower", "squared MMD from draws of the prior, unbiased"),
    "discrepancy_error": Metric("its standard error", "", "by the jackknife"),
    **reconstruction.DESCRIBE,
    **judging.DESCRIBE,
}


def _sample(config: AdversarialConfig, constants, trained, splits, key, n) -> Evaluation:
    drawn = _draw(config, constants, trained, key, n)
    return judging.sampled(drawn, "Images decoded from draws of the prior.")


SMALL = AdversarialConfig(
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
    critic_widths=(8,),
    samples=16,
    chunk=16,
    judge_steps=6,
    judge_channels=(8,),
    checkpoint_every=3,
    log_every=1,
)
FULL = AdversarialConfig(
    data="",
    size=128,
    code=128,
    channels=(64, 128, 256, 512, 512),
    blocks=2,
    patch=1,
    critic_widths=(1000, 1000),
    steps=500_000,
    batch_size=64,
    learning_rate=2e-4,
    warmup_steps=5000,
    ema_decay=0.9999,
    samples=10_000,
    judge_steps=10_000,
    precision="bfloat16",
    checkpoint_every=5000,
    log_every=100,
)

EXPERIMENT = before.experiment(
    name="adversarial_autoencoder",
    summary="An adversarial autoencoder of images, whose codes have a chosen law",
    data="phantom brains, computed; or your images",
    presets={"smoke": SMOKE, "small": SMALL, "full": FULL},
    load=images.load_images,
    measure=images.measure_images,
    stages=(images.JUDGE, StageSpec("aae", _build)),
    evaluate=_evaluate,
    sample=_sample,
    baseline="gaussian",
    examples=images.example_images,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
