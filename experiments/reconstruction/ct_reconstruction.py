"""CT from a few views, or around metal, with a diffusion prior, compared with filtered back-projection and TV.

    jaxgen run ct_reconstruction                                  # phantom chests, computed: minutes on 2 CPU cores
    jaxgen run ct_reconstruction --data ct.npz --size 128         # your slices in Hounsfield units: an npz, DICOM, ...
    jaxgen apply RUN scan.npz --out recon                         # your sinogram: `sinogram`, `angles`, a fan or not

The prior learns slices alone; what is measured enters when it is sampled, so that one network serves any number of
views. Measurements are made with the operator that reconstructs, as in most papers: real scanners are less kind.

A sinogram is an npz with `sinogram` [views, detectors] and `angles` in radians. `pixel_mm` says that it holds integrals
of attenuation; `spacing` how far apart detectors are; `source_distance` and `detector_distance` that rays are a fan.

Song, Shen, Xing & Ermon 2022, "Solving inverse problems in medical imaging with score-based generative models"; Chung
et al. 2023 (DPS); Wang, Yu & Zhang 2023 (DDNM); Zhu et al. 2023 (DiffPIR).
"""

import dataclasses

from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.data.sinogram import read_sinogram
from jaxgen.experiment import Evaluation, Reader, Run
from jaxgen.medical.reconstruction.catalogue import offered
from jaxgen.tasks.images import Widths
from jaxgen.tasks.reconstruction import comparison, ct, posterior


@dataclasses.dataclass(frozen=True, kw_only=True)
class CTConfig(posterior.PosteriorConfig):
    data: str = option(
        "ct_phantom", "slices in Hounsfield units: a name, a folder, or a .npz (`hu` or `images`)", group="data"
    )
    high: float = option(
        1500.0, "Hounsfield units of the brightest value kept; -1000 is the darkest", gt=0, group="data"
    )

    rotate: float = option(0.0, "rotate training slices by at most this many degrees", ge=0, le=180, group="data")
    zoom: float = option(0.0, "enlarge or shrink them by at most this share", ge=0, le=1, group="data")
    shift: float = option(0.0, "shift them by at most this share of their width", ge=0, le=1, group="data")

    views: Widths = option((12, 23, 50), "numbers of views to reconstruct from", ge=1, le=4096, group="scan")
    metal_views: int = option(90, "views of the slices with metal", ge=1, le=4096, group="scan")
    field: float = option(400.0, "width of an image in mm", gt=0, group="scan")
    photons: float = option(1e6, "photons per ray, for the slices with metal", gt=1, group="scan")

    methods: tuple[str, ...] = option(
        ("ddnm", "diffpir", "dps"),
        "posterior samplers; `jaxgen apply` takes the first",
        choices=offered("ct"),
        group="sampling",
    )
    inner_steps: int = option(
        20, "conjugate gradients per step, in methods that invert", ge=1, le=100, group="sampling"
    )
    snr: float = option(0.16, "signal-to-noise ratio of the corrections of `projection`", gt=0, group="sampling")


def evaluate(run: Run) -> Evaluation:
    baselines = ct.baselines(run, weights=(3e-5, 1e-4, 3e-4, 1e-3, 3e-3))
    methods = posterior.methods(run, ct.problem(run), tuned_on=ct.same_views(run))
    about = f"of -1000 to {run.config.high:g} HU, outside of metal"
    return comparison.compare(run, baselines, methods, *ct.cases(run), about=about)


EXPERIMENT = comparison.experiment(
    name="ct_reconstruction",
    summary="CT from a few views and around metal, with a diffusion prior, compared with FBP and total variation",
    data="phantom chests, computed; or your slices in Hounsfield units",
    config=CTConfig,
    presets={
        "smoke": {"data": "ct_phantom/16", "views": (4, 6), "metal_views": 6},
        "small": {"rotate": 10.0, "zoom": 0.1, "shift": 0.05, "sampler_steps": 40, "cases": 8, "tuning": 8}
        | {"repeats": 16, "tv_steps": 200, "chunk": 8}
        | {"steps": 3000},
        "full": posterior.SONG_2022
        | {"size": 320, "channels": (32, 32, 64, 64, 64, 64, 64), "attention": (4,)}
        | {"methods": ("projection", "ddnm", "diffpir", "dps"), "views": (10, 20, 23, 50)}
        | {"metal_views": 320, "snr": 0.246, "tv_steps": 200},
    },
    load=ct.load,
    measure=ct.measure,
    stages=(posterior.prior_stage(ct.prepare),),
    evaluate=evaluate,
    sample=posterior.sample_prior,
    sample_flags={"steps": "sampler_steps"},
    apply=ct.apply,
    reader=Reader((".npz",), read_sinogram),
    baseline="fbp",
    examples=ct.examples,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
