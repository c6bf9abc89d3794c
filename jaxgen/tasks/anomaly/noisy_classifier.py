"""A classifier of noisy images, which tells ill from healthy at every level of noise."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from jaxgen import draws
from jaxgen.config import option
from jaxgen.errors import UserError
from jaxgen.experiment import Run, StageSpec
from jaxgen.families import classifier_model
from jaxgen.losses.times import times_up_to
from jaxgen.medical.anomaly import Method, by_map, make_coarse_noise, saliency
from jaxgen.nets import classifier
from jaxgen.tasks import diffusion, images
from jaxgen.tasks.anomaly.data import AnomalyConfig, prepare
from jaxgen.tasks.anomaly.labelled import HEALTHY, ILL
from jaxgen.tasks.anomaly.methods import in_chunks
from jaxgen.tasks.anomaly.restoration import CoarseNoiseConfig
from jaxgen.train import Stage
from jaxgen.types import Array, Net, Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoisyClassifierConfig(AnomalyConfig, diffusion.DiffusionConfig, CoarseNoiseConfig):
    """The options of an experiment with a classifier of noisy images."""

    classifier_steps: int = option(800, "training steps of the noisy classifier", ge=1, group="training")
    classifier_rate: float = option(1e-3, "its learning rate", gt=0, group="training")
    classifier_batches: int = option(1, "batches whose gradients are one update of it", ge=1, group="training")
    classifier_power: float = option(
        1.0,
        "its training times are uniform numbers to this power: above 1 more of the low noise",
        gt=0,
        group="training",
    )
    classifier_channels: images.Widths = option((16, 32, 64), "its widths", ge=4, group="network")
    classifier_patch: int = option(
        1, "blocks of this many pixels per side are one for it", ge=1, le=16, group="network"
    )
    noise: str = option("coarse", "the kind of noise", choices=("coarse", "white"), group="method")
    highest: float = option(0.4, "train up to this share of the way to the noise", gt=0, le=1, group="method")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        if self.classifier_batches > self.classifier_steps:
            raise UserError(
                f"--classifier-steps {self.classifier_steps} of --classifier-batches {self.classifier_batches} each "
                "are not one update; lower the batches"
            )


def network(config: NoisyClassifierConfig) -> Net:
    """The classifier of two classes, which is told the time."""
    return classifier(2, channels=config.classifier_channels, blocks=1, patch=config.classifier_patch)


def build(run: Run) -> Stage:
    """Train it on noisy images; several batches may make one update."""
    config, path = run.config, diffusion.make_path(run.config)
    noise = make_coarse_noise(config.cells) if config.noise == "coarse" else draws.normal
    time = times_up_to(config.highest, config.classifier_power)
    settings = dataclasses.replace(config, learning_rate=config.classifier_rate)
    optimizer = images.optimizer(settings, max(1, config.classifier_steps // config.classifier_batches))
    many = optax.MultiSteps(optimizer, config.classifier_batches).gradient_transformation()
    model = classifier_model(network(config), path=path, noise=noise, time=time)
    return Stage("classifier", model, {"net": many}, config.classifier_steps, prepare(config))


STAGE = StageSpec("classifier", build)


def log_healthy(config: NoisyClassifierConfig, params: Params, x: Array, t: Array) -> Array:
    """The log-probability ``[b]`` that noisy images ``[b, h, w, c]`` are healthy."""
    return jax.nn.log_softmax(network(config).apply(params, x, t))[:, HEALTHY]


def saliency_method(run: Run) -> Method:
    """The gradient of the log-odds of illness, on the image as it is."""
    net, path = network(run.config), diffusion.make_path(run.config)

    def gradient(params: Params, x: Array) -> Array:
        def odds(x: Array) -> Array:
            logits = net.apply(params, x, jnp.full(x.shape[:1], path.t_data, jnp.float32))
            return logits[:, ILL] - logits[:, HEALTHY]

        return saliency(odds, x, run.config.score_channels)

    return Method("saliency", by_map(in_chunks(run, gradient, run.params["classifier"]["net"])))
