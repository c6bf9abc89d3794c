"""Images from label maps: a diffusion model and a GAN whose norms read the map (SPADE), compared with concatenation.

    jaxgen run semantic_synthesis                        # computed bitewing radiographs in four tissues
    jaxgen run semantic_synthesis --data FOLDER --size 64      # images/ and masks/ of several classes

A network trained on real images says whether the maps are obeyed; two more, trained on a few real images alone and with
drawn ones, say whether those help. Park et al. 2019, "Semantic image synthesis with spatially-adaptive normalization",
arXiv 1903.07291; Wang et al. 2022, "Semantic image synthesis via diffusion models", arXiv 2207.00050.
"""

import dataclasses

from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.experiment import Evaluation, Run, StageSpec
from jaxgen.families.translation import conditional_diffusion
from jaxgen.families.translation_gan import PairedGame, translation_gan
from jaxgen.losses.adversarial import hinge
from jaxgen.nets.translator import patch_critic
from jaxgen.tasks import images, translation
from jaxgen.tasks.images import Widths
from jaxgen.tasks.translation import baselines, data, diffusion, semantic
from jaxgen.train import Stage
from jaxgen.types import Model


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpadeConfig(semantic.SemanticConfig):
    content: float = option(10.0, "GAN: weight of the absolute error", ge=0, group="method")
    critic_channels: Widths = option((32, 64, 128), "GAN: widths of the critic of patches", ge=4, group="network")
    gan_rate: float = option(5e-4, "GAN: learning rate of both players", gt=0, le=1, group="training")


def spade(run: Run) -> Model:
    net = semantic.spade_network(run, run.facts.image_channels)
    return conditional_diffusion(net, images.image_shape(run), diffusion.sampling(run))


def gan(run: Run) -> Model:
    game = PairedGame(hinge(), content_weight=run.config.content, critic_weight=1.0)
    return translation_gan(semantic.spade_network(run, 0), patch_critic(run.config.critic_channels), game)


def game(run: Run) -> Stage:
    rate = dataclasses.replace(run.config, learning_rate=run.config.gan_rate, optimizer="adam", gradient_clip=0.0)
    optimizers = dict.fromkeys(("generator", "critic"), images.optimizer(rate, b1=0.5))
    return Stage("gan", gan(run), optimizers, run.config.steps, data.prepare(run.config))


def drawn(run: Run) -> translation.Translator:
    return translation.by_model(run, "spade", spade(run))


def methods(run: Run) -> list[translation.Translator]:
    others = (("diffusion", diffusion.model(run)), ("gan", gan(run)))
    return [drawn(run), *(translation.by_model(run, name, model) for name, model in others)]


def evaluate(run: Run) -> Evaluation:
    references = [translation.by_model(run, "unet", baselines.regression_model(run))]
    trained = {"all real images": "segmenter", "few real images": "few", "few real and drawn images": "few_drawn"}
    return semantic.evaluated(run, methods(run), references, trained)


EXPERIMENT = translation.experiment(
    name="semantic_synthesis",
    summary="Images from label maps: SPADE diffusion and SPADE GAN, compared with concatenation and a U-Net",
    data="computed bitewing radiographs with four tissues; or your images with masks of several classes",
    config=SpadeConfig,
    presets={
        "small": {"mirror": False, "prediction": "v"},
        "smoke": {
            "data": "dental_phantom/16",
            "diffusion_channels": (8,),
            "spade": 4,
            "critic_channels": (8,),
            "few": 4,
        }
        | {"segmenter_steps": 2, "segmenter_channels": (8,)},
        # SPADE's resolution, batch and rates with the U-Net of semantic diffusion.
        "full": {"size": 256, "patch": 1, "channels": (64, 128, 256, 512, 512), "critic_channels": (64, 128, 256, 512)}
        | {"diffusion_channels": (256, 256, 512, 512, 1024), "blocks": 2, "attention": (3, 4), "spade": 128}
        | {"steps": 250_000, "batch_size": 32, "learning_rate": 1e-4, "gan_rate": 2e-4, "sampler_steps": 1000}
        | {"path": "linear", "prediction": "noise", "sampler": "ddpm", "segmenter_steps": 50_000},
    },
    stages=(
        semantic.segmenting("segmenter"),
        semantic.segmenting("few", semantic.few_real),
        diffusion.stage(),
        StageSpec("gan", game),
        images.stage("spade", spade, prepare=data.prepare),
        semantic.segmenting("few_drawn", semantic.with_drawn(drawn)),
    ),
    methods=methods,
    load=semantic.load,
    evaluate=evaluate,
    apply=None,
    sample_flags={"sampler": "sampler", "steps": "sampler_steps"},
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
