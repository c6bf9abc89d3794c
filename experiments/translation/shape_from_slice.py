"""DISPR: the shape of a cell in 3-D from one slice of it, by diffusion of volumes given the slice.

    jaxgen run shape_from_slice                              # dented cells, computed: minutes on 2 CPU cores
    jaxgen run shape_from_slice --data FOLDER --size 64      # your NIfTI volumes with masks; or an npz
    jaxgen apply RUN cell.npy --out shapes                   # a slice with its mask as second channel, or a mask alone

The middle slice of a volume, its image inside of the mask and the mask, is repeated along z as clean channels. Compared
with an equal U-Net trained by cross-entropy, and with what the outline alone gives: inflated, or a cylinder, both with
the thickness that is best in training. A share of training slices loses its image, so that one network also draws from
masks alone: how much more its samples differ then says what the image told it.
Waibel et al. 2022, "A diffusion model predicts 3D shapes from 2D microscopy images", arXiv 2208.14125.
"""

from jaxgen import presets as preset
from jaxgen.app.cli import run_module
from jaxgen.experiment import Experiment
from jaxgen.tasks import images, shapes

# A patch of 64 voxels enters fewer channels: noise does not pass through them, a clean shape does.
SMALL = {"patch": 4, "channels": (32, 64), "attention": None, "prediction": "x0"}
SMALL |= {"steps": 1000, "batch_size": 8, "learning_rate": 1e-3, "warmup_steps": 50, "ema_decay": 0.99}
SMOKE = {"data": "cell3d_phantom/16", "size": 16, "prediction": "v", "members": 2, "test_images": 3, "sampler_steps": 3}
# Of the paper, whose network learns the variance of its steps too.
CHAIN = {"path": "linear", "prediction": "noise", "sampler": "ddpm", "sampler_steps": 1000, "mask_only": 0.0}
NETWORK = {"channels": (32, 64, 96, 128), "patch": 1, "attention": (2,), "head_width": 96, "adaptive": False}
TRAINING = {"batch_size": 1, "learning_rate": 1e-4, "warmup_steps": 0, "schedule": "constant"}

EXPERIMENT = Experiment(
    name="shape_from_slice",
    summary="The 3-D shape of a cell from one slice by diffusion (DISPR), compared with inflated outlines and a U-Net",
    data="volumes with one dented cell, computed; or your volumes with masks",
    presets=preset.make(
        shapes.ShapeConfig,
        {
            "small": {},
            "smoke": SMOKE,
            "full": {"size": 64, **CHAIN, **NETWORK, **TRAINING, "steps": 200_000},
        },
        small={**SMALL, "checkpoint_every": 250, "log_every": 20},
        smoke={**preset.SMOKE, "channels": (8,), "attention": None, "chunk": 4},
        full=preset.FULL,
    ),
    load=shapes.load_volumes,
    measure=shapes.measure,
    facts=images.ImageFacts,
    examples=lambda run: shapes.slices_of(run, run.splits.train),
    stages=shapes.STAGES,
    evaluate=shapes.evaluate,
    sample=shapes.sampled,
    sample_flags={"sampler": "sampler", "steps": "sampler_steps"},
    apply=shapes.applied,
    baseline="unet",
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
