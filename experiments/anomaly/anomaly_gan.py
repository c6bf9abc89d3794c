"""f-AnoGAN: what a generator of healthy images cannot make, by an encoder that learnt to invert it.

    jaxgen run anomaly_gan                                      # phantom brains in T2, computed
    jaxgen run anomaly_gan --feature-weight 0                   # invert by pixels alone
    jaxgen run anomaly_gan --data brain_tumor_mri_128.npz       # or data with masks, see anomaly_diffusion

A generator and a critic play on healthy images; then both are frozen, and an encoder learns to find the latent vector
from which the generator makes an image again, in pixels and in the critic's last features. `full` has the paper's loss,
widths and schedule, with plain convolutions for its residual blocks. Beside: a coarse-noise
denoising autoencoder, a variational one, principal components, z-scores and brightness, on the same cases.

Schlegl et al. 2019, "f-AnoGAN: fast unsupervised anomaly detection with generative adversarial networks".
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import numpy as np

from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Metric, StageSpec
from jaxgen.families import Game, gan_model
from jaxgen.losses import adversarial
from jaxgen.medical import anomaly
from jaxgen.metrics import auroc
from jaxgen.nets import dcgan_discriminator, dcgan_generator, encoder
from jaxgen.tasks import before
from jaxgen.tasks import gan as players
from jaxgen.tasks.anomaly import data as shared
from jaxgen.tasks.anomaly import evaluation as judging
from jaxgen.tasks.old import images
from jaxgen.train import Stage
from jaxgen.types import Array, Net

METHOD = "f-anogan"


@dataclasses.dataclass(frozen=True, kw_only=True)
class GANConfig(shared.AnomalyConfig):
    """The configuration of `anomaly_gan`."""

    widths: images.Widths = option(
        (128, 64, 48, 32, 16), "widths of generator and critic, from the coarsest level", ge=2, group="network"
    )
    latent: int = option(64, "numbers in a latent vector", ge=1, le=4096, group="network")
    loss: Literal["relativistic", "wasserstein"] = option(
        "relativistic", "what the two play for: with R1 and R2, or with gradient norms near 1", group="method"
    )
    penalty: float = option(1.0, "weight of the critic's gradients (wasserstein: 10)", ge=0, group="method")
    critic_steps: int = option(1, "updates of the critic a step", ge=1, le=100, group="method")
    encoder_steps: int = option(1000, "training steps of the encoder", ge=1, group="training")
    feature_weight: float = option(1.0, "of the critic's features in the encoder's loss", ge=0, group="method")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        if self.size % 2 ** len(self.widths):
            raise UserError(f"--size must be a multiple of {2 ** len(self.widths)} with so many --widths")


def _shape(config: GANConfig, constants: Mapping[str, Any]) -> tuple[int, int, int]:
    return config.size, config.size, constants["channels"]


def _players(config: GANConfig, constants: Mapping[str, Any]) -> tuple[Net, Net]:
    generator = dcgan_generator(_shape(config, constants), channels=config.widths)
    return generator, dcgan_discriminator(channels=config.widths[::-1])


def _encoder(config: GANConfig) -> Net:
    return encoder(config.latent, channels=config.channels, patch=config.patch, vector=True)


def _build_gan(config: GANConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
    wasserstein = config.loss == "wasserstein"
    model = gan_model(
        *_players(config, constants),
        _shape(config, constants),
        latent=config.latent,
        game=Game(
            adversarial.wasserstein() if wasserstein else adversarial.relativistic(),
            r1=0.0 if wasserstein else config.penalty,
            r2=0.0 if wasserstein else config.penalty,
            gradient_penalty=config.penalty if wasserstein else 0.0,
            critic_steps=config.critic_steps,
        ),
    )
    decays = {"b1": 0.0, "b2": 0.9 if wasserstein else 0.99}
    optimizers = players.player_optimizers(config, config.critic_steps, **decays)
    return Stage("gan", model, optimizers, config.steps, shared.prepare(config))


def _frozen(config: GANConfig, constants, trained) -> tuple[Callable[[Array], Array], Callable[[Array], Array] | None]:
    """The generator, and the critic's features where they count."""
    generator, params = _players(config, constants)[0], trained["gan"]
    features = dcgan_discriminator(channels=config.widths[::-1], features=True)
    return (
        lambda z: generator.apply(params["generator"], z),
        (lambda x: features.apply(params["critic"], x)) if config.feature_weight else None,
    )


def _build_encoder(config: GANConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
    model = anomaly.inversion_model(
        _encoder(config), *_frozen(config, constants, trained), weight=config.feature_weight
    )
    optimizers = {"encoder": images.optimizers(config, config.encoder_steps)["net"]}
    return Stage("encoder", model, optimizers, config.encoder_steps, shared.prepare(config))


def _restorer(config: GANConfig, constants, trained) -> Callable[[np.ndarray], np.ndarray]:
    net = _encoder(config)

    @jax.jit
    def run(trained, x):
        generate, _ = _frozen(config, constants, trained)
        return generate(net.apply(trained["encoder"]["encoder"], x))

    return lambda x: images.in_chunks(functools.partial(run, trained), len(x), config.chunk, x)


def _image_scores(config: GANConfig, constants, trained, restored: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The loss of the encoder, ``[n]``: the score of an image as a whole."""

    @jax.jit
    def run(trained, x, restored):
        _, features = _frozen(config, constants, trained)
        return anomaly.inversion_score(x, restored, features, weight=config.feature_weight)

    return images.in_chunks(functools.partial(run, trained), len(x), config.chunk, x, restored)


def _evaluate(config: GANConfig, constants, trained, splits, key) -> Evaluation:
    bench = judging.bench(config, constants, splits)
    simple = judging.baselines(config, bench.train)
    restore = _restorer(config, constants, trained)
    ours = {METHOD: shared.by_residual(config, restore)}
    methods = simple | shared.learned(config, constants, trained) | ours
    metrics, figures = judging.table(config, bench, methods, tuple(simple))

    def separation(x: np.ndarray, ill: np.ndarray) -> float:
        """How well the loss of the encoder tells ill images from healthy ones."""
        score = _image_scores(config, constants, trained, restore(x), x)
        return float(auroc(score, ill))

    for kind, (x, _) in bench.lesions.items():
        if kind in bench.twins:
            both = np.concatenate([bench.twins[kind], x])
            ill = np.arange(len(both)) >= len(x)
            metrics[METHOD][f"auroc_score_{kind}"] = separation(both, ill)
    if bench.ill is not None:
        x, ill = bench.ill
        metrics[METHOD]["auroc_score"] = separation(x, ill)
    describe = judging.describe()
    for kind in ("", *(f"_{kind}" for kind in bench.lesions)):
        describe[f"auroc_score{kind}"] = Metric(
            f"AUROC of the score{kind.replace('_', ', ')}", "higher", "of images, by the loss of the encoder"
        )
    return Evaluation(metrics, figures, judging.headline(metrics, METHOD, tuple(simple)), describe)


def _apply(config: GANConfig, constants, trained):
    method = shared.by_residual(config, _restorer(config, constants, trained))
    return shared.applied(config, constants, lambda key, x: method(x))


SMALL = GANConfig(
    steps=2500,
    batch_size=16,
    learning_rate=5e-4,
    warmup_steps=100,
    gradient_clip=0.0,
    optimizer="adam",
    ema_decay=0.995,
    reference_steps=500,
    vae_steps=500,
    checkpoint_every=250,
    log_every=20,
)
SMOKE = dataclasses.replace(
    SMALL,
    steps=4,
    encoder_steps=2,
    batch_size=4,
    size=16,
    channels=(8,),
    widths=(8, 4),
    latent=4,
    phantoms=40,
    lesions=4,
    chosen_on=4,
    reference_steps=0,
    vae_steps=0,
    chunk=8,
    checkpoint_every=2,
    log_every=1,
)
FULL = GANConfig(
    data="",
    size=64,
    widths=(512, 512, 256, 128, 64),
    latent=128,
    loss="wasserstein",
    penalty=10.0,
    critic_steps=5,
    channels=(64, 128, 256, 512),
    steps=100_000,
    encoder_steps=50_000,
    batch_size=64,
    learning_rate=1e-4,
    schedule="constant",
    gradient_clip=0.0,
    optimizer="adam",
    ema_decay=0.999,
    reference_steps=67_200,
    vae_steps=67_200,
    precision="bfloat16",
    checkpoint_every=5000,
    log_every=100,
)

EXPERIMENT = before.experiment(
    name="anomaly_gan",
    summary="Anomalies by f-AnoGAN: what a generator of healthy images cannot make again",
    data="phantom brains in T2, computed, and four kinds of lesions; or images with labels or masks",
    presets={"smoke": SMOKE, "small": SMALL, "full": FULL},
    load=shared.load_data,
    measure=shared.measure_data,
    stages=(
        *shared.REFERENCES,
        StageSpec("gan", _build_gan),
        StageSpec("encoder", _build_encoder),
    ),
    evaluate=_evaluate,
    apply=_apply,
    baseline="pca-128",
    examples=shared.examples,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
