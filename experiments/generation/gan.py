"""A generative adversarial network of images, compared with a Gaussian fitted to the same images.

    jaxgen run gan                                      # phantom brains, computed: minutes on 2 CPU cores
    jaxgen run gan --data brain_tumor_mri.npz           # your images: an npz, a folder, a TFDS name
    jaxgen run gan --loss wasserstein --r1 0 --r2 0 --gradient-penalty 10 --critic-steps 5
    jaxgen run gan --loss hinge --r1 0 --r2 0 --spectral
    jaxgen run gan --network residual --channels 64,48,24 --augment colour,translation,cutout

Relativistic pairing with R1 and R2 unless told otherwise: Huang et al. 2024, "The GAN is dead; long live the GAN!",
arXiv 2501.05441; `full` has its pair of residual networks, `small` a pair of plain convolutions. While it trains, the
log shows the critic's accuracy and the coverage of the training images.
"""

import jax
import numpy as np

from jaxgen import figures
from jaxgen.app.cli import run_module
from jaxgen.experiment import Evaluation, Run, StageSpec
from jaxgen.tasks import gan, generation


def evaluate(run: Run) -> Evaluation:
    def draw(n: int) -> dict[str, np.ndarray]:
        return {"gan": gan.draw_images(run, jax.random.split(run.key, n + 1)[:-1], n)}

    compared = generation.Comparison(run, draw)
    between = gan.interpolations(run, jax.random.split(run.key, compared.real.count + 1)[-1], rows=4, columns=9)
    lines = {f"line {i + 1}": row for i, row in enumerate(between)}
    return compared.evaluation(
        caption="Images drawn by the generator.",
        figures={"between": figures.rows(lines, "Between two latent vectors: neither end should be a cliff.")},
    )


EXPERIMENT = gan.experiment(
    name="gan",
    summary="A GAN of images, relativistic with R1 and R2, compared with a fitted Gaussian and real images",
    data="phantom brains, computed; or your images",
    presets={"full": gan.R3GAN_64},
    stages=(StageSpec("gan", gan.make_stage),),
    evaluate=evaluate,
    draw=gan.draw_images,
    caption="Images drawn by the generator.",
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
