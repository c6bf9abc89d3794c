"""MRI from a part of k-space, with a diffusion prior of slices, compared with CG-SENSE and total variation.

    jaxgen run mri_reconstruction                                    # phantom brains, computed: minutes on 2 CPU cores
    jaxgen run mri_reconstruction --data brains.npz --size 128       # your magnitude images: an npz, a folder, ...
    jaxgen run mri_reconstruction --data brains.npz --kspace k.npz   # evaluated on your fully sampled k-space as well
    jaxgen run mri_reconstruction --data knees --slices --kspace knees/one.h5    # files of fastMRI (extra `mri`)
    jaxgen apply RUN scan.npz --out recon                            # undersampled k-space: `kspace`, perhaps `mask`

The prior learns slices alone; what is measured enters when it is sampled, so that one network serves any mask, any
acceleration and any coils. It is evaluated on real images seen by one coil, and on complex ones (with a smooth phase)
seen by several. Every setting, of the samplers and of the baselines, is chosen on validation slices.

Song, Shen, Xing & Ermon 2022, "Solving inverse problems in medical imaging with score-based generative models"; Chung &
Ye 2022 (score-MRI); Chung et al. 2023 (DPS); Wang, Yu & Zhang 2023 (DDNM); Zhu et al. 2023 (DiffPIR).
"""

import dataclasses

from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.data.kspace import read_kspace
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Reader, Run
from jaxgen.imaging.operators import LinearOperator
from jaxgen.imaging.sampling_masks import MASKS
from jaxgen.medical.reconstruction import cg_sense, total_variation
from jaxgen.medical.reconstruction.catalogue import offered
from jaxgen.tasks.reconstruction import comparison, mri, posterior
from jaxgen.types import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class MRIConfig(posterior.PosteriorConfig):
    accelerations: tuple[int, ...] = option((4, 8), "how many times fewer samples", ge=2, le=64, group="scan")
    mask: str = option("random", "which samples are kept: lines, or points", choices=MASKS, group="scan")
    coils: int = option(8, "simulated coils of the complex images", ge=1, le=64, group="scan")
    phase: float = option(1.0, "standard deviation of their smooth phase, radians", ge=0, le=10, group="scan")
    imaginary: float = option(0.02, "prior std of the imaginary part, phase removed", gt=0, le=1, group="scan")
    kspace: str = option(
        "", "fully sampled k-space to evaluate on as well: an npz (`kspace`), or a file of fastMRI", group="scan"
    )
    coils_first: bool = option(False, "the npz of --kspace is [coils, h, w], not [h, w, coils]", group="scan")

    methods: tuple[str, ...] = option(
        ("diffpir", "ddnm", "dps"),
        "posterior samplers; `jaxgen apply` takes the first",
        choices=offered("mri"),
        group="sampling",
    )
    inner_steps: int = option(
        12, "conjugate gradients per step, in methods that invert", ge=2, le=100, group="sampling"
    )
    snr: float = option(0.16, "signal-to-noise ratio of the corrections of `score_mri`", gt=0, group="sampling")

    def __post_init__(self) -> None:
        super().__post_init__()
        if max(self.accelerations) > self.size // 2:
            raise UserError(f"--accelerations must leave two of {self.size} lines, got {max(self.accelerations)}")


def evaluate(run: Run) -> Evaluation:
    def linear(operator: LinearOperator, y: Array, weight: Array) -> dict[str, Array]:
        return {"zero-filled": operator.adjoint(y), "cg-sense": cg_sense(operator, y, weight)}

    def variation(operator: LinearOperator, y: Array, weight: Array) -> dict[str, Array]:
        return {"tv": total_variation(operator, y, weight, iterations=run.config.tv_steps, squared_norm=1.0)}

    baselines = (
        *mri.baselines(run, linear, {"zero-filled": (), "cg-sense": (0.0, 1e-3, 1e-2, 1e-1, 1.0)}),
        *mri.baselines(run, variation, {"tv": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)}),
    )
    methods = posterior.methods(run, mri.problem(run))
    return comparison.compare(run, baselines, methods, *mri.cases(run), about="of magnitudes, brightest 1")


EXPERIMENT = comparison.experiment(
    name="mri_reconstruction",
    summary="MRI from a part of k-space, with a diffusion prior, compared with CG-SENSE and total variation",
    data="phantom brains, computed; or your magnitude images",
    config=MRIConfig,
    presets={
        "smoke": {"methods": ("ddnm",)},
        "small": {"chunk": 16},
        "full": posterior.SONG_2022
        | {"size": 240, "channels": (32, 32, 64, 64, 64), "attention": (3,), "mask": "equispaced"}
        | {"methods": ("score_mri", "ddnm", "diffpir", "dps"), "snr": 0.517},
    },
    measure=mri.measure,
    stages=(posterior.prior_stage(mri.prepare),),
    evaluate=evaluate,
    sample=posterior.sample_prior,
    sample_flags={"steps": "sampler_steps"},
    apply=mri.apply,
    reader=Reader((".npz", ".h5"), read_kspace),
    baseline="tv",
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
