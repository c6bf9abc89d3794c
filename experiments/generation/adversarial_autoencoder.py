"""An adversarial autoencoder of images: a critic holds the codes to a chosen distribution.

    jaxgen run adversarial_autoencoder                               # phantom brains, computed
    jaxgen run adversarial_autoencoder --prior swiss_roll --code 2   # codes on a spiral
    jaxgen run adversarial_autoencoder --data DATA                   # your images

Samples are evaluated as those of the diffusion models are; reconstructions are compared with principal components of
the same dimension, and the codes with draws of the prior by maximum mean discrepancy, as other draws of the prior are.
Makhzani et al. 2015, "Adversarial autoencoders", arXiv 1511.05644.
"""

import dataclasses

import jax
import numpy as np

from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Run, StageSpec
from jaxgen.families import adversarial_autoencoder_model
from jaxgen.families.adversarial_autoencoder import PRIORS
from jaxgen.metrics.kernel_distance import discrepancy
from jaxgen.nets import mlp
from jaxgen.tasks import autoencoding, features, generation, images
from jaxgen.train import Stage
from jaxgen.types import Key, Model


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdversarialConfig(autoencoding.CodeConfig, features.FeatureConfig):
    code: int = option(8, "latent dimension", ge=1, le=65_536, group="network")
    prior: str = option(
        "normal", "distribution of the codes; ring and swiss_roll take --code 2", choices=PRIORS, group="method"
    )
    penalty: float = option(0.1, "weight of the critic's squared gradient", ge=0, group="method")
    adversarial_weight: float = option(0.1, "weight of the encoder's adversarial loss", ge=0, group="method")
    critic_widths: tuple[int, ...] = option((128, 128), "hidden layers of the critic", ge=4, group="network")
    critic_rate: float = option(1.0, "learning rate of the critic over that of the others", gt=0, group="training")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prior != "normal" and self.code != 2:
            raise UserError(f"--prior {self.prior} is a distribution in the plane: give --code 2, not {self.code}")


def model(run: Run) -> Model:
    config = run.config
    networks, critic = autoencoding.networks(run), mlp(1, widths=config.critic_widths)
    weights = {"penalty": config.penalty, "weight": config.adversarial_weight}
    return adversarial_autoencoder_model(*networks, critic, PRIORS[config.prior](config.code), **weights)


def build(run: Run) -> Stage:
    config, optimizer = run.config, images.optimizer
    # The encoder is updated twice per step: once with the decoder, once against the critic.
    twice = dataclasses.replace(config, warmup_steps=2 * config.warmup_steps)
    faster = dataclasses.replace(config, learning_rate=config.critic_rate * config.learning_rate)
    optimizers = {"encoder": optimizer(twice, 2 * config.steps), "decoder": optimizer(config)}
    optimizers["critic"] = optimizer(faster)
    return Stage("aae", model(run), optimizers, config.steps, images.prepare_images(config))


def draw(run: Run, key: Key, n: int) -> np.ndarray:
    return generation.drawing(run, "aae", model(run))(key, n)


def evaluate(run: Run) -> Evaluation:
    draw_key, prior_key = jax.random.split(run.key)
    compared = generation.Comparison(run, lambda n: {"aae": draw(run, draw_key, n)})
    reconstructed = autoencoding.Reconstructions(run, "aae", *autoencoding.codec(run, run.params["aae"]))
    codes, prior = reconstructed.codes, PRIORS[run.config.prior](run.config.code)
    first, second = np.split(np.asarray(prior(prior_key, 2 * len(codes))), 2)
    found = discrepancy(codes, first)
    value, error = found.values()
    return reconstructed.evaluation(
        compared,
        caption="Images decoded from draws of the prior.",
        codes={"draws of the prior": first},
        metrics={"aae": found, "draws of the prior": discrepancy(second, first)},
        remark=f"Squared discrepancy of the codes from the prior {value:.4f} +- {error:.4f}.",
    )


EXPERIMENT = autoencoding.experiment(
    name="adversarial_autoencoder",
    summary="An adversarial autoencoder of images, whose codes have a chosen distribution",
    data="phantom brains, computed; or your images",
    config=AdversarialConfig,
    presets={"smoke": {"critic_widths": (8,)}, "full": {"code": 128, "critic_widths": (1000, 1000)}},
    stages=(StageSpec("aae", build),),
    evaluate=evaluate,
    draw=draw,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
