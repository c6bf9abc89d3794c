"""Volumes from priors of slices: two networks learn two planes and take turns while a volume is sampled (TPDM).

    jaxgen run slices_to_volume                                   # phantom brains, thick slices: minutes on 2 CPU cores
    jaxgen run slices_to_volume --data FOLDER --size 160,192,160 --factor 4          # your NIfTI volumes
    jaxgen run slices_to_volume --problem ct --primary 2 --auxiliary 0               # sparse-view CT of each slice
    jaxgen apply RUN thick.nii.gz --out DIR                       # thin slices for a volume of thick ones

One prior alone draws slices that do not fit each other across its axis. Both are compared with each alone, and with
interpolation (thick slices), filtered back-projection (CT) or zero filling (MRI), and total variation. z is the last
axis of an array; for `apply` the voxels of the training volumes should be those of the thin slices that are wanted.

Lee, Chung, Park, Park, Ryu & Ye 2023, "Improving 3D imaging with pre-trained perpendicular 2D diffusion models", ICCV.
There the measurements enter by a gradient (DPS) in the primary steps alone; here any posterior method in every step.
"""

import functools
from typing import Any

from jaxgen.app.cli import run_module
from jaxgen.experiment import Evaluation, Run
from jaxgen.figures.reconstruction import compared_planes
from jaxgen.tasks.reconstruction import comparison, posterior, volumes


def evaluate(run: Run) -> Evaluation:
    alone = [method for plane in volumes.PLANES for method in volumes.methods(run, plane)]
    told: dict[str, Any] = {"about": "of volumes in [-1, 1]", "unit": "volume", "show": compared_planes}
    told["more"] = functools.partial(volumes.jumps, run)
    both, cases = volumes.methods(run, volumes.BOTH), volumes.cases(run)
    found = comparison.compare(run, (*volumes.baselines(run), *alone), both, *cases, **told)
    return found._replace(describe={**found.describe, **volumes.describe(run.config)})


EXPERIMENT = comparison.experiment(
    name="slices_to_volume",
    summary="Volumes from thick slices, few CT views or a part of k-space, with priors of two planes that take turns",
    data="phantom brain volumes, computed; or your volumes",
    config=volumes.VolumesConfig,
    presets={
        "smoke": {"data": "brain3d_tissue_phantom/16", "size": (16,), "factor": 4},
        "small": {"sampler_steps": 30, "cases": 4, "tuning": 2, "calibration": 2, "repeats": 3, "tv_steps": 200}
        | {"channels": (32, 64), "attention": (1,), "steps": 1500},
        # Training of the paper, with the settings of Song et al. where it says nothing. It differs: the path ends at a
        # noise of 50, not 378; no attention (16 pixels are on no level); no corrections; thick slices are of 4.
        "full": posterior.SONG_2022
        | {"size": (256,), "factor": 4, "channels": (128, 256, 256, 256), "blocks": 4, "attention": None}
        | {"batch_size": 8, "sampler_steps": 2000, "methods": ("dps",), "cases": 10, "chunk": 1},
    },
    load=volumes.load_volumes,
    measure=volumes.measure,
    examples=volumes.STAGES[0].examples,
    stages=volumes.STAGES,
    evaluate=evaluate,
    sample=volumes.sample,
    sample_flags={"steps": "sampler_steps"},
    apply=volumes.apply,
    spatial_dims=3,
    baseline="linear",
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
