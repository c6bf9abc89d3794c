"""ControlNet: a copy of a frozen text diffusion model's encoder learns to draw inside given outlines.

    jaxgen run controlnet                                # computed coloured shapes, their outlines as hints
    jaxgen run controlnet --data cxr_phantom/48 --size 48     # computed radiographs, their edges as hints
    jaxgen run controlnet --data mine.npz                # images, texts and perhaps your own hints (`control`)
    jaxgen sample RUN --prompt "a red ring on a blue ground" --control outline.png

Of coloured shapes, contours and colours are measured in the images, exactly. Zhang et al. 2023, "Adding conditional
control to text-to-image diffusion models", arXiv 2302.05543.
"""

import dataclasses
from typing import Any

from jaxgen.app.cli import run_module
from jaxgen.tasks import generation, text
from jaxgen.tasks.text import control
from jaxgen.tasks.text.control_evaluation import evaluate


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControlNetConfig(control.ControlConfig):
    pass


SMALL: dict[str, Any] = {"data": "coloured_phantom/32", "size": 32, "tokens": 10, "guidance": 2.0, "code_channels": 8}
SMALL |= {"autoencoder_channels": (32,), "autoencoder_patch": 2, "autoencoder_steps": 2000, "learning_rate": 2e-3}
SMALL |= {"channels": (64, 64), "patch": 2, "attention": (0, 1), "hint_channels": (16, 32, 64), "steps": 2500}
SMALL |= {"control_steps": 8000, "control_rate": 2e-3, "feature_steps": 200, "feature_channels": (16, 32)}
SMALL |= {"optimizer": "muon"}
SMALL |= {"sampler_steps": 12, "samples": 128}

EXPERIMENT = generation.experiment(
    name="controlnet",
    summary="ControlNet: outlines or edges steer a frozen text diffusion model; contours and colours are measured",
    data="coloured shapes with captions and outlines, computed; or your images with texts and hints",
    config=ControlNetConfig,
    presets={
        "small": SMALL,
        "smoke": text.SMOKE
        | {"data": "coloured_phantom/16", "hint_channels": (8, 8), "control_steps": 4, "patch": 1}
        | {"autoencoder_patch": 1, "code_channels": 4},
        "full": text.FULL
        | {"hint_channels": (16, 32, 96, 256), "control_steps": 50_000, "control_rate": 1e-5, "guidance": 7.5},
    },
    load=control.load,
    measure=text.measure,
    stages=control.STAGES,
    evaluate=evaluate,
    sample=control.sample,
    **text.OF_TEXT
    | {
        "examples": control.hinted,
        "sample_flags": text.OF_TEXT["sample_flags"] | {"control": None, "strength": "strength"},
        "baseline": "no control",
    },
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
