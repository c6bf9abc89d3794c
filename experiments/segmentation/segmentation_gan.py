"""SegAN: a network that segments, trained against a critic that compares features of the image under its masks.

    jaxgen run segmentation_gan                        # the shipped nuclei: minutes on 2 CPU cores
    jaxgen run segmentation_gan --labelled 20          # with few masks
    jaxgen run segmentation_gan --data FOLDER --spatial 3 --foreground each     # volumes with several classes

Compared with the same network trained by the soft Dice loss alone, and by cross-entropy. Xue et al. 2018, "SegAN:
adversarial network with multi-scale L1 loss for medical image segmentation", arXiv 1706.01805.
"""

import dataclasses

from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.experiment import Evaluation, Run, StageSpec
from jaxgen.medical.segmentation.adversarial import adversarial_segmentation, soft_dice_segmentation
from jaxgen.medical.segmentation.ensembles import deep_ensemble
from jaxgen.nets import multiscale_critic
from jaxgen.tasks import images, segmentation
from jaxgen.tasks.images import Widths
from jaxgen.tasks.segmentation.data import baseline_network
from jaxgen.train import Stage
from jaxgen.train.optimizer import bounded
from jaxgen.types import Model

LABELS = {"segan": "SegAN", "dice": "soft Dice alone"}
# The size, the levels and the batches of the paper; blocks and bottlenecks are those of our U-Net, not of its own.
FULL = {"size": 160, "patch": 1, "baseline_channels": (64, 64, 128, 256, 512, 512), "blocks": 1, "steps": 35_000}
TRAINING = {"batch_size": 50, "learning_rate": 1e-3, "warmup_steps": 0}
CRITIC = {"critic_channels": (64, 128, 256, 512, 512, 512)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentationGANConfig(segmentation.SegmentationConfig):
    adversarial_weight: float = option(1.0, "weight of the critic's difference in the loss", gt=0, group="method")
    clip: float = option(0.05, "bound of the critic's parameters", gt=0, group="method")
    critic_channels: Widths = option((32, 64, 128), "widths of the critic's levels", ge=4, group="network")
    critic_rate: float = option(2e-3, "peak learning rate of the critic", gt=0, le=10, group="training")


def alone(run: Run) -> Model:
    return soft_dice_segmentation(baseline_network(run.config, run.facts.class_count))


def game(run: Run) -> Stage:
    config, net = run.config, baseline_network(run.config, run.facts.class_count)
    model = adversarial_segmentation(net, multiscale_critic(config.critic_channels), weight=config.adversarial_weight)
    rate = dataclasses.replace(config, learning_rate=config.critic_rate, optimizer="adam", gradient_clip=0.0)
    optimizers = {"net": images.optimizer(config), "critic": bounded(images.optimizer(rate, b1=0.5), config.clip)}
    return Stage("segan", model, optimizers, config.steps, segmentation.prepare_tiles(config))


def method(run: Run, name: str = "segan") -> segmentation.Ensemble:
    net = baseline_network(run.config, run.facts.class_count)
    draw = deep_ensemble(net, [run.params[name]["net"]])
    return segmentation.Ensemble(name, LABELS[name], draw, probability=True)


def evaluate(run: Run) -> Evaluation:
    return segmentation.Comparison(run, method(run), [method(run, "dice")]).evaluation()


EXPERIMENT = segmentation.experiment(
    name="segmentation_gan",
    summary="SegAN: segmentation against a critic of multi-scale features, compared with soft Dice and cross-entropy",
    data="nuclei_dsb2018: 334 fluorescence images of nuclei, 128 pixels, CC0, shipped",
    config=SegmentationGANConfig,
    presets={
        "small": {"members": 1},
        "smoke": {"members": 1, "critic_channels": (8, 8)},
        "full": {**FULL, **TRAINING, **CRITIC},
    },
    stages=(images.stage("dice", alone, prepare=segmentation.prepare_tiles), StageSpec("segan", game)),
    method=method,
    evaluate=evaluate,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
