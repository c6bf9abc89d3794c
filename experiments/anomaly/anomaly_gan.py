"""f-AnoGAN: what a generator of healthy images cannot make, by an encoder that learnt to invert it.

    jaxgen run anomaly_gan                                      # phantom brains in T2, computed
    jaxgen run anomaly_gan --feature-weight 0                   # invert by pixels alone
    jaxgen run anomaly_gan --data brain_tumor_mri_128.npz       # or data with masks, see anomaly_diffusion

A generator and a critic are trained on healthy images and frozen; then an encoder learns the latent vectors from which
the generator makes images again, in pixels and in the critic's features. `full` has the paper's loss and widths.

Schlegl et al. 2019, "f-AnoGAN: fast unsupervised anomaly detection with generative adversarial networks".
"""

import dataclasses

from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Run, StageSpec
from jaxgen.families import Game, gan_model
from jaxgen.medical.anomaly import Inversion
from jaxgen.nets import dcgan_discriminator, dcgan_generator, encoder
from jaxgen.tasks import anomaly, gan, images
from jaxgen.train import Stage
from jaxgen.types import Model


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnomalyGANConfig(anomaly.AnomalyConfig):
    widths: images.Widths = option((128, 64, 48, 32, 16), "widths, from the coarsest level", ge=2, group="network")
    latent: int = option(64, "latent dimension", ge=1, le=4096, group="network")
    loss: str = option("relativistic", "adversarial loss", choices=("relativistic", "wasserstein"), group="method")
    penalty: float = option(1.0, "weight of R1 and R2, or of gradient norms (wasserstein: 10)", ge=0, group="method")
    critic_steps: int = option(1, "updates of the critic per step", ge=1, le=100, group="method")
    encoder_steps: int = option(1000, "training steps of the encoder", ge=1, group="training")
    feature_weight: float = option(1.0, "of the critic's features in the encoder's loss", ge=0, group="method")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size % 2 ** len(self.widths):
            raise UserError(f"--size must be a multiple of {2 ** len(self.widths)} with this number of --widths")


def parts(run: Run) -> Inversion:
    """The networks: generator, critic, and the encoder from image to latent vector."""
    config = run.config
    return Inversion(
        dcgan_generator(images.image_shape(run), channels=config.widths),
        dcgan_discriminator(channels=config.widths[::-1], features=True),
        encoder(config.latent, channels=config.channels, patch=config.patch, vector=True),
        weight=config.feature_weight,
    )


def build_gan(run: Run) -> Stage:
    config, wasserstein = run.config, run.config.loss == "wasserstein"
    penalties = {"gradient_penalty": config.penalty} if wasserstein else {"r1": config.penalty, "r2": config.penalty}
    game = Game(gan.LOSSES[config.loss](), critic_steps=config.critic_steps, **penalties)
    generator, critic = parts(run).generator, dcgan_discriminator(channels=config.widths[::-1])
    model = gan_model(generator, critic, images.image_shape(run), latent=config.latent, game=game)
    optimizers = gan.player_optimizers(config, config.critic_steps, b1=0.0, b2=0.9 if wasserstein else 0.99)
    return Stage("gan", model, optimizers, config.steps, anomaly.prepare(config))


def invert(run: Run) -> Model:
    return parts(run).model(run.params["gan"])


def methods(run: Run) -> list[anomaly.Method]:
    restore = lambda params, x: parts(run).restore(params["gan"], params["encoder"], x)  # noqa: E731
    return [anomaly.Method("f-anogan", anomaly.by_network(run, restore, run.params))]


def evaluate(run: Run) -> Evaluation:
    compared, score = anomaly.Comparison(run, methods(run)), anomaly.in_chunks(run, parts(run).score, run.params["gan"])
    separation = compared.separation(lambda x: score(x, compared.methods["f-anogan"].run(run.key, x).restored))
    return compared.evaluation("f-anogan", metrics={"f-anogan": separation})


EXPERIMENT = anomaly.experiment(
    name="anomaly_gan",
    summary="Anomalies by f-AnoGAN: what a generator of healthy images cannot make again",
    data="phantom brains in T2, computed, and four kinds of lesions; or images with labels or masks",
    config=AnomalyGANConfig,
    presets={
        "smoke": {"encoder_steps": 2, "widths": (8, 4), "latent": 4, "chunk": 8},
        "small": {"vae_steps": 500, "steps": 2500, "batch_size": 16, "learning_rate": 5e-4, "warmup_steps": 100}
        | {"gradient_clip": 0.0, "optimizer": "adam"},
        "full": {"widths": (512, 512, 256, 128, 64), "latent": 128, "loss": "wasserstein", "penalty": 10.0}
        | {"critic_steps": 5, "channels": (64, 128, 256, 512), "encoder_steps": 50_000, "vae_steps": 67_200}
        | {"steps": 100_000, "batch_size": 64, "gradient_clip": 0.0, "optimizer": "adam", "ema_decay": 0.999},
    },
    stages=[StageSpec("gan", build_gan), anomaly.stage("encoder", invert, steps="encoder_steps", groups=("encoder",))],
    evaluate=evaluate,
    methods=methods,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
