"""Latent diffusion under a prompt: an autoencoder, then a U-Net that reads the text, trained with its text encoder.

    jaxgen run text_to_image                                # computed chest radiographs with reports
    jaxgen run text_to_image --data cxr_nih_128.npz         # real ones; captions from finding, view, sex and age
    jaxgen sample RUN --prompt "left-sided pleural effusion" --guidance 4

Of computed radiographs the findings asked for are measured in the images, exactly. Rombach et al. 2022, arXiv
2112.10752; Chambon et al. 2022, "RoentGen", arXiv 2211.12737.
"""

import dataclasses

from jaxgen.app.cli import run_module
from jaxgen.experiment import Preview, Run
from jaxgen.tasks import generation, text
from jaxgen.tasks.text.evaluation import evaluate


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextToImageConfig(text.TextConfig):
    pass


def preview(run: Run) -> Preview | None:
    if "diffusion" not in run.params:
        return None
    prompts = text.texts_of(run.splits.validation)[: generation.PREVIEWED]
    draw = text.drawing(run)
    return generation.preview(run, lambda run, key, n: draw(key, text.tokens_of(run, prompts[:n]), run.config.guidance))


EXPERIMENT = generation.experiment(
    name="text_to_image",
    summary="Images from text by latent diffusion, the text encoder trained along; findings measured in the images",
    data="chest radiographs with reports, computed; or your images with texts",
    config=TextToImageConfig,
    presets={"small": text.SMALL, "smoke": text.SMOKE, "full": text.FULL},
    load=text.load,
    measure=text.measure,
    stages=text.STAGES,
    evaluate=evaluate,
    sample=text.sample,
    preview=preview,
    **text.OF_TEXT,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
