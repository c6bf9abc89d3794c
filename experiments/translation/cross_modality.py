"""One contrast from another: pix2pix and diffusion on pairs, CycleGAN without, compared with maps of intensities.

    jaxgen run cross_modality                            # phantom brains, T1 to T2, computed: minutes on 2 CPU cores
    jaxgen run cross_modality --data FOLDER              # source/ and target/, files of a pair named alike; or an npz
    jaxgen run cross_modality --data FOLDER --unpaired --methods cyclegan      # of different subjects
    jaxgen run cross_modality --misaligned 4             # training pairs that do not fit; CycleGAN sees no pairs
    jaxgen apply RUN t1.nii.gz --out t2                  # by the first of --methods

All are also compared with a U-Net trained by the absolute error, the generator of pix2pix without its critic. Metrics
of pixels need test pairs. CycleGAN learns from sources and targets of different subjects even where there are pairs; it
matches distributions, so that it adds or removes lesions where one kind of images has more of them (Cohen et al. 2018;
`--healthy-targets` shows it). Isola et al. 2017, arXiv 1611.07004; Zhu et al. 2017, arXiv 1703.10593; Saharia et al.
2022, arXiv 2111.05826.
"""

import dataclasses

import optax

from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.data import ArraySource
from jaxgen.errors import UserError
from jaxgen.experiment import Run, StageSpec
from jaxgen.families.cycle_gan import CycleGame, CycleNets, cycle_gan
from jaxgen.families.translation_gan import PairedGame, translation_gan
from jaxgen.nets.translator import patch_critic, residual_translator
from jaxgen.tasks import images, translation
from jaxgen.tasks.images import Widths
from jaxgen.tasks.translation import data, diffusion
from jaxgen.train import Stage
from jaxgen.types import Model, Net

NAMES = ("pix2pix", "cyclegan", "diffusion")
# Of the papers: 256 pixels, batches of one, 200 epochs of some thousand pairs; Palette's network, smaller.
PIX2PIX = {"generator": "skip", "channels": (64, 128, 256, 512, 512, 512, 512, 512), "dropout": 0.5}
GANS = {"critic_channels": (64, 128, 256, 512), "width": 64, "residual_blocks": 9, "gan_rate": 2e-4}
PALETTE = {"diffusion_channels": (64, 128, 256, 512), "blocks": 2, "attention": (3,), "sampler_steps": 1000}
TRAINING = {"steps": 200_000, "batch_size": 1, "learning_rate": 2e-4, "warmup_steps": 0, "schedule": "linear"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossModalityConfig(diffusion.DiffusionTranslationConfig):
    methods: tuple[str, ...] = option(NAMES, "what is trained; apply takes the first", choices=NAMES, group="method")
    content: float = option(100.0, "pix2pix: weight of the absolute error", ge=0, group="method")
    cycle: float = option(10.0, "CycleGAN: weight of the error of images there and back", ge=0, group="method")
    identity: float = option(0.5, "CycleGAN: that of targets left alone, times --cycle", ge=0, group="method")
    pool: int = option(50, "CycleGAN: translated images kept for the critics (0: none)", ge=0, group="method")
    healthy_targets: bool = option(False, "CycleGAN: targets without a lesion alone, to see what goes", group="data")
    misaligned: int = option(0, "move sources of training pairs by up to this many pixels", ge=0, le=64, group="data")
    critic_channels: Widths = option((32, 64, 128), "widths of the critics of patches", ge=4, group="network")
    width: int = option(16, "CycleGAN: channels at full resolution", ge=4, group="network")
    residual_blocks: int = option(4, "CycleGAN: residual blocks", ge=1, le=32, group="network")
    gan_rate: float = option(5e-4, "learning rate of both players", gt=0, le=1, group="training")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.unpaired and set(self.methods) != {"cyclegan"}:
            paired = next(name for name in self.methods if name != "cyclegan")
            raise UserError(f"--methods {paired}: learns from pairs, and --unpaired says there are none; take cyclegan")


def generative_pair(run: Run) -> Model:
    critic = patch_critic(run.config.critic_channels)
    return translation_gan(translation.network(run), critic, PairedGame(content_weight=run.config.content))


def cycle(run: Run) -> Model:
    config, facts = run.config, run.facts

    def maker(channels: int) -> Net:
        return residual_translator(channels, width=config.width, blocks=config.residual_blocks)

    critic = patch_critic(config.critic_channels)
    nets = CycleNets(maker(facts.image_channels), maker(facts.source_channels), critic, critic)
    return cycle_gan(nets, CycleGame(cycle=config.cycle, identity=config.identity, pool=config.pool))


MODELS = {"pix2pix": generative_pair, "cyclegan": cycle, "diffusion": diffusion.model}


def game(name: str, groups: tuple[str, ...], *, unpaired: bool = False) -> StageSpec:
    prepare = data.prepare_unpaired if unpaired else data.prepare

    def build(run: Run) -> Stage:
        config = run.config
        rate = dataclasses.replace(config, learning_rate=config.gan_rate, optimizer="adam", gradient_clip=0.0)
        optimizers = dict.fromkeys(groups, images.optimizer(rate, b1=0.5))
        pool = {"pool": optax.sgd(1.0)} if name == "cyclegan" and config.pool else {}
        return Stage(name, MODELS[name](run), optimizers | pool, config.steps, prepare(config))

    def fed(run: Run) -> ArraySource | None:
        return data.unpaired_examples(run, healthy=run.config.healthy_targets) if unpaired else None

    return StageSpec(name, build, lambda config: name in config.methods, examples=fed)


def methods(run: Run) -> list[translation.Translator]:
    return [translation.by_model(run, name, MODELS[name](run)) for name in run.config.methods]


EXPERIMENT = translation.experiment(
    name="cross_modality",
    summary="One contrast from another: pix2pix, CycleGAN and diffusion, compared with lookup tables and a U-Net",
    data="phantom brains in T1 and T2, computed; or your pairs, or unpaired images",
    config=CrossModalityConfig,
    presets={
        "small": {},
        "smoke": {"critic_channels": (8,), "width": 4, "residual_blocks": 1, "diffusion_channels": (8,), "pool": 4},
        "full": {"size": 256, "patch": 1, "prediction": "noise", **PIX2PIX, **GANS, **PALETTE, **TRAINING},
    },
    stages=(
        game("pix2pix", ("generator", "critic")),
        game("cyclegan", ("to_image", "to_source", "critic_image", "critic_source"), unpaired=True),
        diffusion.stage(lambda config: "diffusion" in config.methods),
    ),
    methods=methods,
    examples=lambda run: data.examples(run, run.config.misaligned),
    sample_flags={"sampler": "sampler", "steps": "sampler_steps"},
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
