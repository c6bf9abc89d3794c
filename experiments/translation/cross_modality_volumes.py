"""Whole volumes of one contrast from another: diffusion of slices that is taught to see neighbouring slices.

    jaxgen run cross_modality_volumes                    # phantom brains, T1 to T2, computed
    jaxgen run cross_modality_volumes --data FOLDER      # source/ and target/: registered volumes, named alike
    jaxgen run cross_modality_volumes --size 128 --depth 64 --window 16      # of 128 x 128 x 64 voxels
    jaxgen apply RUN t1.nii.gz --out t2

A network of slices draws each slice by itself, and the volume flickers across them. Here layers across the slices, the
identity at first, are put behind its blocks and trained alone, the network of slices staying as it is. Compared with
that network, each slice with noise of its own or all with one, with a U-Net trained by the absolute error, lookup
tables and matched histograms; how far neighbouring slices jump beyond those of the true volumes is in the table.

The paper diffuses the codes of an autoencoder that shrinks slices by 4; here it is pixels, and `full` folds blocks of 4
x 4 of them into channels (`--patch 4`) in its place. Slices lie across the last axis of the files.
Zhu et al. 2023, "Make-A-Volume: leveraging latent diffusion models for cross-modality 3D brain MRI synthesis", arXiv
2307.10094.
"""

from jaxgen.app.cli import run_module
from jaxgen.experiment import Evaluation, Run
from jaxgen.figures.volumes import middle
from jaxgen.tasks import translation
from jaxgen.tasks.translation import volumes

SMOKE = {"data": "contrast_volumes_phantom/16", "depth": 16, "window": 4, "volume_steps": 4, "test_images": 2}
SMOKE |= {"diffusion_channels": (8,)}
# Noise levels of latent diffusion, 200 steps of DDIM; sizes of volumes and networks are not in the paper's text.
CHAIN = {"path": "linear", "prediction": "noise", "sampler": "ddim", "sampler_steps": 200}
WIDTHS = {"channels": (128, 256, 512), "diffusion_channels": (128, 256, 512), "head_width": 64}
NETWORK = {"size": 256, "depth": 64, "window": 16, "patch": 4, "blocks": 2, "attention": (1, 2)}
TRAINING = {"steps": 200_000, "volume_steps": 50_000, "batch_size": 8, "learning_rate": 1e-4, "test_images": 100}


def sample(run: Run, n: int) -> Evaluation:
    return translation.sampled(run, volumes.methods(run)[0], n, middle)


EXPERIMENT = translation.experiment(
    name="cross_modality_volumes",
    summary="Volumes of one contrast from another: 2-D diffusion with volumetric layers, compared with 2-D networks",
    data="phantom brain volumes in T1 and T2, computed; or your registered pairs of volumes",
    config=volumes.VolumeTranslationConfig,
    presets={
        "small": {"channels": (24, 48, 72), "diffusion_channels": (24, 48, 72), "test_images": 6},
        "smoke": SMOKE,
        "full": {**CHAIN, **WIDTHS, **NETWORK, **TRAINING},
    },
    stages=volumes.STAGES,
    methods=volumes.methods,
    load=volumes.load,
    measure=volumes.measure,
    examples=volumes.examples,
    evaluate=lambda run: volumes.evaluated(run, volumes.methods(run)),
    sample=sample,
    sample_flags={"sampler": "sampler", "steps": "sampler_steps"},
    spatial_dims=3,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
