"""What one trained diffusion model does to images: inversion, interpolation, SDEdit and inpainting, on one page.

    jaxgen run image_to_image                        # phantom brains, computed
    jaxgen run image_to_image --data DATA            # your images: an npz, a folder, a TFDS name

Each is compared with what one would do without a model: pixel averages for interpolation, harmonic filling for
inpainting, the degraded image itself for SDEdit.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import published
from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.data import most_of
from jaxgen.experiment import Evaluation, Run
from jaxgen.figures.editing import first_rows, interpolations, realism_against_faithfulness
from jaxgen.imaging.inpainting import harmonic_fill, square_hole
from jaxgen.imaging.smoothing import coarse
from jaxgen.metrics.image_quality import clipped_psnr as psnr
from jaxgen.metrics.sample_sets import realism_of
from jaxgen.samplers import ddim, edits
from jaxgen.samplers.editing import between, lerp, slerp
from jaxgen.tasks import diffusion, editing, features, generation, images
from jaxgen.types import Model

FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageToImageConfig(diffusion.DiffusionConfig, features.FeatureConfig):
    sampler_steps: int = option(50, "steps of DDIM from noise to image", ge=2, le=10_000, group="sampling")
    inversion_iterations: int = option(3, "fixed-point iterations of an exact inversion", ge=1, le=20, group="sampling")
    edit_times: tuple[float, ...] = option(
        (0.2, 0.4, 0.6, 0.8), "where SDEdit begins, from data at 0 to noise at 1", gt=0, le=1, group="sampling"
    )
    jump: int = option(5, "RePaint: steps to jump back", ge=1, group="sampling")
    resamples: int = option(4, "RePaint: how often each stretch is drawn", ge=1, group="sampling")
    test_images: int = option(32, "held-out images to edit", ge=4, group="evaluation")


def model(run: Run) -> Model:
    return diffusion.make_model(run, ddim, run.config.sampler_steps)


def evaluate(run: Run) -> Evaluation:
    config, path, steps = run.config, diffusion.make_path(run.config), run.config.sampler_steps
    edit, drawing = functools.partial(editing.edited, run, "ddpm"), edits.drawing(path, steps)
    real = generation.RealImages(run, features.Features(run))
    realism = realism_of(real)
    truth = images.real_images(run, run.splits.test, most_of(config.data, config.test_images))["image"]
    draw_key, between_key, edit_key, fill_key, _ = jax.random.split(run.key, 5)
    metrics: dict[str, Any] = {"images": len(truth)}

    round_trips = {"image": truth}
    for name, iterations in (("inversion", 0), ("inversion, iterated", config.inversion_iterations)):
        noise = edit(edits.inversion(path, steps, iterations), draw_key, truth)
        back = edit(drawing, draw_key, noise)
        metrics[name] = {"psnr": psnr(back, truth), "latent_norm": float(np.sqrt(np.mean(noise**2)))}
        round_trips |= {f"noise of {name}": noise / 3, f"drawn from it ({name})": back}

    pairs = len(truth) // 2 * 2
    (left, right), (a, b) = ((x[:pairs:2], x[1:pairs:2]) for x in (truth, noise))
    ways = {
        "slerp of the noise": [edit(drawing, between_key, x) for x in between(slerp, a, b, FRACTIONS)],
        "lerp of the noise": [edit(drawing, between_key, x) for x in between(lerp, a, b, FRACTIONS)],
        "average of the pixels": [(1 - f) * left + f * right for f in FRACTIONS],
    }
    metrics |= {name: {"realism": realism(way[len(FRACTIONS) // 2])} for name, way in ways.items()}

    guide = coarse(truth)
    edited = {f"SDEdit from {t:g}": edit(edits.stroke(path, steps, t), edit_key, guide) for t in config.edit_times}
    metrics["degraded image"] = {"psnr": psnr(guide, truth), "realism": realism(guide)}
    for name, x in edited.items():
        faithful = psnr(coarse(x), guide)
        metrics[name] = {"psnr": psnr(x, truth), "realism": realism(x), "faithfulness": faithful}

    mask = square_hole(config.size)
    filled = {"harmonic": np.asarray(harmonic_fill(jnp.asarray(truth * mask), jnp.asarray(mask)))}
    for name in ("projection", "replacement", "RePaint"):
        fill = edits.filling(path, steps, name, mask, jump=config.jump, resamples=config.resamples)
        filled[name] = edit(fill, fill_key, truth * mask)
    metrics |= {name: {"psnr": psnr(x, truth, 1 - mask), "realism": realism(x)} for name, x in filled.items()}

    shown = {
        "inversion": first_rows(round_trips, "Images, the noise that DDIM inversion takes them to, and back."),
        "interpolation": interpolations(ways, FRACTIONS),
        "sdedit": first_rows(
            {"image": truth, "guide": guide, **edited},
            "SDEdit: the guide is a coarse image; the later it begins the more is invented.",
        ),
        "trade_off": realism_against_faithfulness(config.edit_times, [metrics[name] for name in edited]),
        "inpainting": first_rows(
            {"image": truth, "known": truth * mask - (1 - mask), **filled}, "Inpainting of the missing square."
        ),
    }
    names = ("inversion", "inversion, iterated", "RePaint", "replacement", "harmonic")
    once, iterated, repaint, replacement, harmonic = (metrics[name]["psnr"] for name in names)
    headline = (
        f"Inversion and back {once:.1f} dB, iterated {iterated:.1f}; inpainting {repaint:.1f} dB by RePaint, "
        f"{replacement:.1f} by replacement, {harmonic:.1f} by harmonic filling."
    )
    return Evaluation(metrics, shown, headline, editing.DESCRIBE)


EXPERIMENT = generation.experiment(
    name="image_to_image",
    summary="Inversion, interpolation, SDEdit and inpainting with one trained model, on one page",
    data="phantom brains, computed; or your images",
    config=ImageToImageConfig,
    presets={
        "small": {"chunk": 32},
        "smoke": {"test_images": 4, "chunk": 4, "sampler_steps": 4, "inversion_iterations": 1}
        | {"edit_times": (0.5,), "jump": 2, "resamples": 2},
        "full": published.HO_256
        | published.HO_TRAINING
        | {"sampler_steps": 250, "jump": 10, "resamples": 10, "samples": 256, "chunk": 32},
    },
    stages=(images.stage("ddpm", model),),
    evaluate=evaluate,
    baseline="harmonic",
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
