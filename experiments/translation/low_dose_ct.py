"""Low-dose CT: a network against a critic and with features (WGAN-VGG's game), compared with RED-CNN and filters.

    jaxgen run low_dose_ct                               # phantom chests, computed: minutes on 2 CPU cores
    jaxgen run low_dose_ct --data DATA                   # clean slices in Hounsfield units: noise is made of them
    jaxgen run low_dose_ct --data FOLDER                 # source/ (low dose) and target/ (full), slices named alike
    jaxgen apply RUN slices/ --out denoised

Noise is that of counted photons in the projections, before filtered back-projection. VGG's weights do not come with
jaxgen: features are those of an autoencoder that the run trains on full-dose slices first, hence "WGAN-Feat". A least
squares network wins PSNR and smooths; the game gives up PSNR for the texture of the full dose.

Of the published code four errors are not here: layers of RED-CNN that share their parameters, a learning rate that
never falls, the critic's gradients added up over its steps, and gradients of its loss that reach the generator.
Chen et al. 2017 (RED-CNN), arXiv 1702.00288; Yang et al. 2018 (WGAN-VGG), arXiv 1708.00961.
"""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp

from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.experiment import Evaluation, Run, StageSpec
from jaxgen.families import autoencoder_model
from jaxgen.families.autoencoder import squared_error
from jaxgen.families.translation import direct_translation
from jaxgen.families.translation_gan import PairedGame, translation_gan
from jaxgen.losses import wasserstein
from jaxgen.nets import decoder, encoder
from jaxgen.nets.dose import dose_critic, plain_cnn, red_cnn
from jaxgen.tasks import images, translation
from jaxgen.tasks.gan import player_optimizers
from jaxgen.tasks.images import Widths
from jaxgen.tasks.translation import low_dose
from jaxgen.train import Stage
from jaxgen.types import Array, Model, Net

GAME = {"content_weight": 0.1, "gan_rate": 1e-5, "critic_channels": (64, 64, 128, 128, 256, 256), "hidden": 1024}
NETS = {"residual": False, "red_width": 96, "feature_channels": (64, 128, 256, 512), "feature_steps": 100_000}
SCAN = {"size": 512, "crop": 64, "views": 720, "high": 3072.0, "train_slices": 10_000}
CODERS = ("encoder", "decoder")
SMOKE = {"red_width": 4, "width": 4, "critic_channels": (4, 4), "hidden": 8, "feature_channels": (8, 8)}
TRAINING = {
    "steps": 200_000,
    "game_steps": 200_000,
    "batch_size": 128,
    "learning_rate": 1e-4,
    "warmup_steps": 0,
    "optimizer": "adam",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowDoseCTConfig(low_dose.LowDoseConfig):
    content_weight: float = option(300.0, "weight of the squared error of features", ge=0, group="method")
    gradient_penalty: float = option(10.0, "of gradient norms of the critic other than 1", ge=0, group="method")
    critic_steps: int = option(4, "updates of the critic per step", ge=1, le=100, group="method")
    red_width: int = option(24, "channels of RED-CNN", ge=4, group="network")
    width: int = option(32, "channels of the generator", ge=4, group="network")
    critic_channels: Widths = option((16, 16, 32, 32, 64, 64), "widths of the critic", ge=4, group="network")
    residual: bool = option(True, "the generator answers the change of an image, none at first", group="network")
    hidden: int = option(128, "width of the critic's dense layer", ge=4, group="network")
    feature_channels: Widths = option((16, 32, 48), "widths of the feature extractor's levels", ge=4, group="network")
    feature_size: int = option(16, "features per place of the feature extractor", ge=1, group="network")
    feature_steps: int = option(500, "training steps of the feature extractor", ge=1, group="training")
    game_steps: int = option(1500, "steps of the game; --steps are those of RED-CNN", ge=1, group="training")
    gan_rate: float = option(5e-4, "learning rate of both players", gt=0, le=1, group="training")


def feature_nets(run: Run) -> tuple[Net, Net]:
    widths = run.config.feature_channels
    return encoder(run.config.feature_size, channels=widths), decoder(1, channels=widths)


def autoencoder(run: Run) -> Model:
    return autoencoder_model(*feature_nets(run))


def red(run: Run) -> Model:
    return direct_translation(red_cnn(run.config.red_width), squared_error)


def game(run: Run, params: Any) -> Model:
    config = run.config
    see = functools.partial(feature_nets(run)[0].apply, params)

    def content(made: Array, real: Array) -> Array:
        return squared_error(see(made), see(real.astype(jnp.float32)))

    rules = PairedGame(
        wasserstein(), content, config.content_weight, 1.0, 1.0, config.gradient_penalty, config.critic_steps
    )
    critic = dose_critic(config.critic_channels, config.hidden)
    return translation_gan(plain_cnn(config.width, residual=config.residual), critic, rules._replace(conditional=False))


def build(run: Run) -> Stage:
    own = {"steps": run.config.game_steps, "learning_rate": run.config.gan_rate}
    rate = dataclasses.replace(run.config, **own, optimizer="adam", gradient_clip=0.0)
    optimizers = player_optimizers(rate, run.config.critic_steps, b1=0.5, b2=0.9)
    model = game(run, run.params["features"]["encoder"])
    return Stage("wgan_feat", model, optimizers, rate.steps, low_dose.prepare(run.config))


def methods(run: Run) -> list[translation.Translator]:
    return [translation.by_model(run, "wgan_feat", game(run, None))]


def evaluate(run: Run) -> Evaluation:
    return low_dose.evaluated(run, methods(run), translation.by_model(run, "red_cnn", red(run)))


EXPERIMENT = translation.experiment(
    name="low_dose_ct",
    summary="Low-dose CT against a critic and in features (WGAN-Feat), compared with RED-CNN and filters",
    data="phantom chests with faint lesions, noise computed in projections; or your slices, or pairs",
    config=LowDoseCTConfig,
    presets={
        "small": {"train_slices": 400, "test_images": 96},
        "smoke": {**low_dose.SMOKE, **SMOKE},
        "full": {**GAME, **NETS, **SCAN, **TRAINING},
    },
    baseline=images.stage("red_cnn", red, prepare=low_dose.prepare),
    stages=(
        images.stage("features", autoencoder, steps="feature_steps", prepare=low_dose.prepare, groups=CODERS),
        StageSpec("wgan_feat", build),
    ),
    methods=methods,
    load=low_dose.load,
    measure=low_dose.measure,
    examples=low_dose.examples,
    evaluate=evaluate,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
