"""Volumes reconstructed with two priors of images, one for the slices across each of two axes.

A network learns the slices across the primary axis, another those across the auxiliary axis. Volumes are sampled with
both in turn (`jaxgen.samplers.alternating`), under what was measured: thick slices, or CT or MRI slice by slice.
"""

import dataclasses
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.config import option
from jaxgen.data import Source, Splits, load, measure_range, most_of
from jaxgen.data.image import Image
from jaxgen.data.nifti import thinner
from jaxgen.data.plane_slices import PlaneSlices, require_slices
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Metric, Run, StageSpec
from jaxgen.figures import grid as draw_grid
from jaxgen.figures.volumes import middle
from jaxgen.imaging.intensity import from_unit_range, to_unit_range
from jaxgen.medical.reconstruction import relative_residual
from jaxgen.medical.reconstruction.cases import Case, Method
from jaxgen.medical.reconstruction.catalogue import offered
from jaxgen.medical.reconstruction.priors import any_size
from jaxgen.medical.reconstruction.volume_baselines import TV_WEIGHTS, USUAL, smooth_volumes
from jaxgen.medical.reconstruction.volume_scan import ThickScan, VolumeScan, simulate, volume_system
from jaxgen.metrics import slice_jumps
from jaxgen.samplers import alternating, ddim, from_noise, grids, plane_denoiser
from jaxgen.tasks import diffusion, images
from jaxgen.tasks.reconstruction import posterior
from jaxgen.types import Array, Denoise, Key, Model, Params

PLANES, BOTH = ("primary", "auxiliary"), "both"


@dataclasses.dataclass(frozen=True, kw_only=True)
class VolumesConfig(posterior.PosteriorConfig):
    """The options of volumes reconstructed with priors of two planes."""

    data: str = option("brain3d_tissue_phantom/36", "volumes: a name, a folder, or a .npz (`volumes`)", group="data")
    size: images.Widths = option(  # type: ignore[assignment]  # three axes, where images have one number for both
        (36,), "voxels along each axis, one number or three; volumes are resized", ge=12, le=1024, group="data"
    )
    chunk: int = option(2, "volumes computed together", ge=1, le=4096, group="evaluation")

    problem: Literal["thick", "ct", "mri"] = option(
        "thick", "what is measured: thick slices along z, or a part of the CT or MRI of each slice", group="scan"
    )
    factor: int = option(3, "thin slices in a thick one", ge=2, le=16, group="scan")
    views: int = option(12, "parallel CT views", ge=2, le=4096, group="scan")
    acceleration: int = option(4, "how many times fewer lines of k-space", ge=2, le=16, group="scan")

    primary: int = option(0, "axis that the slices of the primary prior lie across", ge=0, le=2, group="method")
    auxiliary: int = option(2, "axis that those of the auxiliary prior lie across", ge=0, le=2, group="method")
    every: int = option(2, "one step in this many is the auxiliary prior's", ge=2, le=1000, group="method")
    methods: tuple[str, ...] = option(
        ("ddnm",), "posterior samplers; `jaxgen apply` takes the first", choices=offered("thick"), group="sampling"
    )
    inner_steps: int = option(12, "conjugate gradients per step", ge=1, le=100, group="sampling")
    together: int = option(64, "slices denoised at once, which bounds memory", ge=1, le=4096, group="sampling")
    snr: ClassVar[float] = 0.16  # of corrections, which no method offered here makes

    def __post_init__(self) -> None:
        """Check every field, and that sizes, axes and factor fit each other."""
        super().__post_init__()
        object.__setattr__(self, "size", self.size * 3 if len(self.size) == 1 else self.size)
        if len(self.size) != 3:
            raise UserError(f"--size must be one number or three, got {','.join(map(str, self.size))}")
        if self.slices:
            raise UserError("--slices: whole volumes are wanted here; leave it out")
        if self.primary == self.auxiliary:
            raise UserError(f"--primary and --auxiliary must be two axes, got {self.primary} for both")
        if self.problem == "thick" and self.size[2] % self.factor:
            raise UserError(f"--size: {self.size[2]} slices along z must be a multiple of --factor {self.factor}")
        if self.problem == "ct" and self.size[0] != self.size[1]:
            raise UserError(f"--size: CT slices must be square, got {self.size[0]} x {self.size[1]}")


def load_volumes(config: VolumesConfig) -> Splits:
    """Volumes; refused where they have fewer slices than a thick one."""
    splits = load(config.data, seed=config.seed, spatial=3, wants=("image",))
    require_slices(splits, config.factor if config.problem == "thick" else 1, f"--data {config.data}")
    return splits


def measure(config: VolumesConfig, splits: Splits) -> images.ImageFacts:
    """The range of the values of at most 50 training volumes, which must have one channel."""
    channels = splits.train[0]["image"].shape[-1]
    if channels != 1:
        raise UserError(f"--data {config.data}: volumes of {channels} channels; save one channel in each")
    low, high = measure_range(splits.train, most=50)
    return images.ImageFacts(value_range=(tuple(low), tuple(high)), image_channels=1)


def stage(plane: str) -> StageSpec:
    """The stage that trains the prior of one of `PLANES`."""

    def examples(run: Run) -> PlaneSlices:
        return PlaneSlices(run.splits.train, getattr(run.config, plane), run.config.size, run.facts.value_range)

    def model(run: Run) -> Model:
        sides = np.delete(run.config.size, getattr(run.config, plane)).tolist()
        return diffusion.make_model(run, steps=run.config.sampler_steps, shape=(*sides, 1))

    def prepare(config: VolumesConfig) -> images.Prepare:
        mirror = config.mirror and getattr(config, plane) != 0  # left to right is axis 0, that a plane may lack
        return images.prepare_images(dataclasses.replace(config, mirror=mirror))

    return images.stage(plane, model, prepare=prepare)._replace(examples=examples)


STAGES = tuple(map(stage, PLANES))


def prior(run: Run, params: Params, which: str = BOTH) -> Denoise:
    """The denoiser of volumes of one plane's prior, or of both in turn."""
    config = run.config
    multiple = config.patch * 2 ** (len(config.channels) - 1)

    def of(plane: str) -> Denoise:
        denoise = any_size(diffusion.denoise_with(run, params[plane]), multiple)
        return plane_denoiser(denoise, getattr(config, plane), together=config.together)

    if which != BOTH:
        return of(which)
    times = grids.uniform(diffusion.make_path(config), config.sampler_steps)
    return alternating(of("primary"), of("auxiliary"), times, every=config.every)


def problem(run: Run, which: str = BOTH) -> posterior.Problem:
    """What was measured of volumes, as posterior methods need it; samples report what they leave of it."""
    return posterior.Problem(
        kind=run.config.problem,
        system=volume_system,
        prior=lambda params, scan: prior(run, params, which),
        channels=lambda scan: 1,
        finish=lambda scan, operator, y, x: (x, relative_residual(operator, y, x)),
        view=lambda x: x,
        ends_on_prior=run.config.problem == "ct",
        params=lambda run: {plane: run.params[plane]["net"] for plane in PLANES},
    )


def methods(run: Run, which: str) -> tuple[Method, ...]:
    """The posterior methods with the prior of one plane, or with both in turn."""
    more = "" if which == BOTH else f", {which} alone"
    return tuple(method._replace(name=method.name + more) for method in posterior.methods(run, problem(run, which)))


def baselines(run: Run) -> tuple[Method, ...]:
    """What is usual without a prior, and total variation in all three directions."""

    def tv(scan: VolumeScan, weight: float) -> np.ndarray:
        return posterior.in_chunks(run, lambda part: smooth_volumes(part, weight, run.config.tv_steps), scan)

    return (*USUAL[run.config.problem], Method("tv", tv, TV_WEIGHTS))


def cases(run: Run) -> tuple[dict[str, Case], dict[str, Case]]:
    """Validation and test volumes, measured."""
    config = run.config
    amount = {"thick": config.factor, "ct": config.views, "mri": config.acceleration}[config.problem]
    label = {"thick": f"{amount}x thick slices", "ct": f"CT, {amount} views", "mri": f"MRI {amount}x"}[config.problem]

    def case(source: Source, count: int | None, key: Key) -> dict[str, Case]:
        x = images.real_images(run, source, count)["image"]
        draw_key, *keys = jax.random.split(key, 1 + len(x))
        scan = simulate(config.problem, jnp.stack(keys), x, amount)
        return {config.problem: Case(scan, x, draw_key, label, 2.0, (-1.0, 1.0))}

    validation = case(run.splits.validation, config.tuning, jax.random.fold_in(run.key, 0))
    return validation, case(run.splits.test, most_of(config.data, config.cases), jax.random.fold_in(run.key, 1))


def jumps(run: Run, case: Case, x: np.ndarray) -> dict[str, float]:
    """How much more slices jump across each prior's axis than in the truth."""
    found, truth = jnp.asarray(x), jnp.asarray(case.truth)
    return {f"jumps_{p}": float(slice_jumps(found, truth, getattr(run.config, p)).mean()) for p in PLANES}


def describe(config: VolumesConfig) -> dict[str, Metric]:
    """How to show them."""
    told = "sum of differences of neighbouring slices over that of the truth, best near 1; of samplers one sample"
    return {f"jumps_{p}_{config.problem}": Metric(f"Jumps across axis {getattr(config, p)}", "", told) for p in PLANES}


def sample(run: Run, n: int) -> Evaluation:
    """Volumes drawn by both priors in turn with nothing measured."""
    path, params = diffusion.make_path(run.config), problem(run).params(run)
    grid = grids.uniform(path, run.config.sampler_steps)

    @jax.jit
    def draw(params: Params, keys: Key) -> Array:
        return from_noise(path, prior(run, params), ddim(path), grid, keys, (*run.config.size, 1))

    drawn = images.draw_in_chunks(run, lambda keys: draw(params, keys), run.key, n)
    shown = draw_grid(middle(drawn[:64]), "Middle slices of volumes drawn with nothing measured.")
    return Evaluation({"volumes": n}, {"samples": shown}, f"{n} volumes", arrays={"images": drawn}, images=("images",))


def apply(run: Run) -> Any:
    """Thin slices for a volume of thick ones along its last axis: the mean of samples, their standard deviation.

    Raises:
        UserError: if the run reconstructs something else.
    """
    config, ((low,), (high,)) = run.config, run.facts.value_range
    if config.problem != "thick":
        raise UserError(f"--problem {config.problem}: such a run is not applied to files; train one of thick slices")
    reconstruct = posterior.reconstructor(run, problem(run))

    def apply(key: Key, image: Image) -> dict[str, Image]:
        if (channels := image.array.shape[-1]) != 1:
            raise UserError(f"{channels} channels, but the run takes 1; save one channel")
        y = np.asarray(to_unit_range(jnp.asarray(image.array[None]), low, high, clip=False))
        found = reconstruct(key, ThickScan(y, config.factor), "thick")
        maps = {
            "reconstruction": np.asarray(from_unit_range(jnp.asarray(found.image), low, high)),
            "uncertainty": (high - low) / 2 * found.uncertainty,
        }
        affine = thinner(image.affine, config.factor)
        return {name: image._replace(array=array[..., None], affine=affine) for name, array in maps.items()}

    return apply
