"""A generative adversarial network of images, beside a Gaussian fitted to the same images.

    jaxgen run gan                                      # phantom brains, computed: minutes on 2 CPU cores
    jaxgen run gan --data brain_tumor_mri.npz           # your images: an npz, a folder, a TFDS name
    jaxgen run gan --loss wasserstein --r1 0 --r2 0 --gradient-penalty 10 --critic-steps 5
    jaxgen run gan --loss hinge --r1 0 --r2 0 --spectral
    jaxgen run gan --network residual --channels 64,48,24 --augment colour,translation,cutout

Relativistic pairing with R1 and R2 unless told otherwise: Huang et al. 2024, "The GAN is dead; long live the GAN!",
arXiv 2501.05441; `full` is its residual pair, `small` a pair of plain convolutions. While it trains, the log has the
critic's accuracy and the coverage of the training images.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from jaxgen import baselines
from jaxgen.app.cli import run_module
from jaxgen.experiment import Evaluation, StageSpec
from jaxgen.tasks import before
from jaxgen.tasks import figures as pictures
from jaxgen.tasks import gan as adversarial
from jaxgen.tasks.old import images
from jaxgen.tasks.old import sample_quality as judging


def _evaluate(config: adversarial.GANConfig, constants: Mapping[str, Any], trained, splits, key) -> Evaluation:
    judge = images.Judge(config, constants, trained)
    real = judging.Real(config, constants, splits, judge)
    keys = jax.random.split(key, real.count + 1)
    drawn = adversarial.draw_images(config, constants, trained, keys[:-1], real.count)
    sets = {
        "gan": drawn,
        "gaussian": baselines.gaussian_images(real.train, real.count, config.seed),
        "held-out images": real.held_out,
    }
    metrics: dict[str, Any] = {name: judging.score(real, judge, x) for name, x in sets.items()}
    metrics["images"] = real.count
    way = adversarial.between(config, constants, trained, keys[-1], 4, 9)
    lines = {f"line {i + 1}": x for i, x in enumerate(way)}
    figures = {
        "samples": pictures.grid(drawn[:40], "Images drawn by the generator."),
        "beside": pictures.rows({name: x[:8] for name, x in sets.items()}, "Model, baseline, and real test images."),
        "neighbours": judging.neighbours(real, drawn[:8]),
        "between": pictures.rows(lines, "Between two latent vectors: neither end should be a cliff."),
    }
    ours, baseline, floor = (metrics[name]["frechet"] for name in sets)
    headline = (
        f"Frechet distance to the training images {ours:.3g}, that of a fitted Gaussian {baseline:.3g} and of held-out "
        f"images {floor:.3g} ({real.count} images each); coverage {metrics['gan']['coverage']:.2f}."
    )
    return Evaluation(metrics, figures, headline, judging.DESCRIBE)


def _sample(config: adversarial.GANConfig, constants, trained, splits, key, n) -> Evaluation:
    drawn = adversarial.draw_images(config, constants, trained, key, n)
    return judging.sampled(drawn, "Images drawn by the generator.")


SMALL = adversarial.GANConfig(
    network="dcgan",
    channels=(128, 64, 48, 32, 16),
    r1=0.2,
    r2=0.2,
    augment=("translation",),
    steps=4000,
    batch_size=16,
    learning_rate=5e-4,
    warmup_steps=100,
    gradient_clip=0.0,
    optimizer="adam",
    ema_decay=0.995,
    checkpoint_every=250,
    log_every=25,
)
SMOKE = dataclasses.replace(
    SMALL,
    steps=6,
    batch_size=4,
    size=16,
    network="residual",
    channels=(8, 4),
    latent=8,
    samples=16,
    chunk=16,
    judge_steps=6,
    judge_channels=(8,),
    watch_every=2,
    watch_images=16,
    checkpoint_every=3,
    log_every=1,
)
FULL = adversarial.GANConfig(
    data="",
    size=64,
    network="residual",
    channels=(768, 768, 768, 768, 384),
    blocks=2,
    group_width=16,
    fold=1,
    latent=64,
    steps=300_000,
    batch_size=256,
    learning_rate=2e-4,
    warmup_steps=0,
    gradient_clip=0.0,
    optimizer="adam",
    ema_decay=0.999,
    samples=10_000,
    judge_steps=10_000,
    precision="bfloat16",
    watch_images=2048,
    checkpoint_every=5000,
    log_every=100,
)

EXPERIMENT = before.experiment(
    name="gan",
    summary="A GAN of images, relativistic with R1 and R2, judged beside a fitted Gaussian and real images",
    data="phantom brains, computed; or your images",
    presets={"smoke": SMOKE, "small": SMALL, "full": FULL},
    load=images.load_images,
    measure=images.measure_images,
    stages=(images.JUDGE, StageSpec("gan", adversarial.make_stage)),
    evaluate=_evaluate,
    sample=_sample,
    baseline="gaussian",
    examples=images.example_images,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
