"""MRI from a part of k-space, with a diffusion model of slices as prior; beside CG-SENSE and total variation.

    jaxgen run mri_reconstruction                                    # phantom brains, computed: minutes on 2 CPU cores
    jaxgen run mri_reconstruction --data brains.npz --size 128       # your magnitude images: an npz, a folder, ...
    jaxgen run mri_reconstruction --data brains.npz --kspace k.npz   # judged on fully sampled k-space of yours as well
    jaxgen run mri_reconstruction --data knees --slices --kspace knees/one.h5    # files of fastMRI (extra `mri`)
    jaxgen apply RUN scan.npz --out recon                            # undersampled k-space: `kspace`, perhaps `mask`

The prior learns slices alone; what is measured enters when it is sampled, so that one network serves any mask, any
acceleration and any coils. It is judged on real images seen by one coil, and on complex ones (with a smooth phase)
seen by several. Every setting, of the samplers and of what stands beside them, is chosen on validation slices.

Song, Shen, Xing & Ermon 2022, "Solving inverse problems in medical imaging with score-based generative models"; Chung &
Ye 2022 (score-MRI); Chung et al. 2023 (DPS); Wang, Yu & Zhang 2023 (DDNM); Zhu et al. 2023 (DiffPIR).
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.data import checks, most_of
from jaxgen.data.arrays import read_npz
from jaxgen.data.kspace import read_kspace
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Figure, Metric, Reader, Run, chosen_number
from jaxgen.imaging.coils import combine_coils
from jaxgen.imaging.fourier import centred_ifft2
from jaxgen.imaging.mri import check_kspace
from jaxgen.imaging.operators import LinearOperator, inner_product
from jaxgen.medical.reconstruction import residual, score_mri
from jaxgen.medical.reconstruction.sense import cg_sense
from jaxgen.medical.reconstruction.total_variation import total_variation
from jaxgen.metrics import psnr, ssim
from jaxgen.paths import Path
from jaxgen.samplers import grids, reverse_diffusion, sample
from jaxgen.tasks import before
from jaxgen.tasks import figures as pictures
from jaxgen.tasks.best import highest
from jaxgen.tasks.old import denoisers, images
from jaxgen.tasks.reconstruction import mri, posterior
from jaxgen.tasks.reconstruction.posterior import Sampler
from jaxgen.types import Array, Denoise

MethodName = Literal["ddnm", "diffpir", "dps", "score_mri"]
MaskName = Literal["random", "equispaced", "gaussian", "poisson", "radial"]
BASELINES = ("zero-filled", "cg-sense", "tv")
"""What stands beside the samplers."""
WEIGHTS = {"cg-sense": (0.0, 1e-3, 1e-2, 1e-1, 1.0), "tv": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)}
"""Of the penalties, to choose from on validation slices."""
LEAST_MEASURED = 0.7
"""Share of k-space to be judged on: scanners leave its edges out and fill them with 0."""
FOREGROUND = 0.05
"""Uncertainty is judged where the true magnitude is above it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MRIConfig(posterior.PosteriorConfig):
    """The configuration of `mri_reconstruction`."""

    accelerations: tuple[int, ...] = option((4, 8), "how many times fewer samples", ge=2, le=64, group="scan")
    mask: MaskName = option("random", "which samples are kept: lines, or points", group="scan")
    coils: int = option(8, "simulated coils of the complex images", ge=1, le=64, group="scan")
    phase: float = option(1.0, "deviation of their smooth random phase, radians", ge=0, le=10, group="scan")
    imaginary: float = option(
        0.02, "deviation of what stays imaginary without the smooth phase", gt=0, le=1, group="scan"
    )
    kspace: str = option(
        "", "fully sampled k-space to be judged on as well: an npz (`kspace`), or a file of fastMRI", group="scan"
    )
    coils_first: bool = option(False, "that npz has [coils, h, w] and not [h, w, coils]", group="scan")

    methods: tuple[MethodName, ...] = option(
        ("diffpir", "ddnm", "dps"), "posterior samplers; `jaxgen apply` takes the first", group="sampling"
    )
    inner_steps: int = option(12, "conjugate gradients a step, where a method inverts", ge=2, le=100, group="sampling")
    snr: float = option(0.16, "signal-to-noise ratio of the corrections of `score_mri`", gt=0, group="sampling")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        if max(self.accelerations) > self.size // 2:
            raise UserError(f"--accelerations must leave two of {self.size} lines, got {max(self.accelerations)}")


def _score_mri(config, path: Path, grid, denoise, operator: LinearOperator, y, strength):
    return score_mri(reverse_diffusion(path), path, operator, y, strength=strength, snr=config.snr), denoise


SAMPLERS: dict[str, Sampler] = {
    "ddnm": Sampler(posterior.make_ddnm, (1e-4, 1e-3, 1e-2)),
    "diffpir": Sampler(posterior.make_diffpir, (1e-5, 1e-4, 1e-3, 1e-2)),
    "dps": Sampler(posterior.make_dps, (3.0, 1.0, 10.0)),
    "score_mri": Sampler(_score_mri, (1.0, 0.5)),
}


def _prior(config: MRIConfig, constants, params, channels: int) -> Denoise:
    """The trained network on images of any size; the imaginary part has a normal law of small deviation."""
    path, known = denoisers.make_path(config), denoisers.denoise_with(config, constants, params)
    multiple = config.patch * 2 ** (len(config.channels) - 1)

    def denoise(x: Array, t: Array) -> Array:
        height, width = x.shape[1:3]
        widths = [(0, 0), (0, -height % multiple), (0, -width % multiple), (0, 0)]
        real = known(jnp.pad(x[..., :1], widths, mode="reflect"), t)[:, :height, :width]
        if channels == 1:
            return real
        alpha, variance = path.alpha(t), (2 * config.imaginary) ** 2
        return jnp.concatenate([real, alpha * variance / (alpha**2 * variance + path.sigma(t) ** 2) * x[..., 1:]], -1)

    return denoise


def _measure(config: MRIConfig, splits) -> dict[str, Any]:
    return images.measure_images(config, splits) | {"channels": 1}


def _prepare(config: MRIConfig):
    """On the device: bytes to [-1, 1], mirrored or not; colours are averaged."""
    plain = images.prepare_images(config)

    def prepare(key, batch):
        batch = plain(key, batch)
        return {**batch, "image": batch["image"].mean(-1, keepdims=True)}

    return prepare


class Reconstructors:
    """The ways to reconstruct, each compiled once for a kind of scan: any masks, coils and settings."""

    def __init__(self, config: MRIConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]):
        self.config, self._params = config, trained["prior"]["net"]
        path = denoisers.make_path(config)
        grid = grids.uniform(path, config.sampler_steps)

        def drawing(method: str):
            def run(params, keys, y, mask, maps, setting, columns: bool) -> tuple[Array, Array]:
                noise_keys, step_keys = draws.split(keys, 2)
                operator, target = mri.system(y, mask, maps, columns=columns)
                channels = 1 if maps is None else 2
                denoise = _prior(config, constants, params, channels)
                start = denoisers.starting_noise(path, noise_keys, (*mask.shape, channels))
                step, consistent = SAMPLERS[method].make(config, path, grid, denoise, operator, target, setting)
                x = sample(step, consistent, step_keys, start, grid)
                left = residual(operator, target, x)
                return x, jnp.sqrt(inner_product(left, left) / (4 * inner_product(y, y)))

            return jax.jit(run, static_argnames="columns")

        @functools.partial(jax.jit, static_argnames="columns")
        def baselines(y, mask, maps, cg_weight, tv_weight, columns: bool) -> tuple[Array, ...]:
            operator, _ = mri.system(y, mask, maps, columns=columns)
            found = (
                operator.adjoint(y),
                cg_sense(operator, y, cg_weight),
                total_variation(operator, y, tv_weight, iterations=config.tv_steps, squared_norm=1.0),
            )
            return tuple(jnp.sqrt(jnp.sum(z**2, -1, keepdims=True)) for z in found)

        self._posterior: dict[str, Callable] = {method: drawing(method) for method in config.methods}
        self._baselines = baselines

    def _in_chunks(self, function: Callable, scan: mri.Scan, copies: int, *more) -> Any:
        """`function` of the scan `copies` times over; large images come one by one."""
        n = copies * len(scan.y)
        chunk = self.config.chunk if scan.y.shape[1] <= self.config.size else 1

        def at(number, *more):
            return function(*(None if a is None else a[number % len(scan.y)] for a in scan), *more)

        return images.in_chunks(at, n, chunk, np.arange(n), *more, exactly=True)

    def draw(self, method: str, key, scan: mri.Scan, setting: float, repeats: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples in [-1, 1] ``[repeats, n, h, w, channels]``, and ``|A x - y| / |y|`` of each ``[repeats, n]``."""
        n, columns = len(scan.y), scan.columns

        def run(y, mask, maps, keys):
            return self._posterior[method](self._params, keys, y, mask, maps, setting, columns=columns)

        drawn, left = self._in_chunks(run, scan, repeats, jax.random.split(key, repeats * n))
        return drawn.reshape(repeats, n, *drawn.shape[1:]), left.reshape(repeats, n)

    def baselines(self, scan: mri.Scan, weights: Mapping[str, float]) -> dict[str, np.ndarray]:
        """Magnitudes ``[n, h, w, 1]`` by the name of what found them."""
        columns = scan.columns

        def run(y, mask, maps):
            return self._baselines(y, mask, maps, weights["cg-sense"], weights["tv"], columns=columns)

        return dict(zip(BASELINES, self._in_chunks(run, scan, 1), strict=True))


def _magnitude(x: np.ndarray) -> np.ndarray:
    return np.asarray(mri.magnitude(jnp.asarray(x)))


def _zero_filled(scan: mri.Scan) -> np.ndarray:
    """Magnitudes ``[n, h, w, 1]``."""
    y, maps = jnp.asarray(scan.y), None if scan.maps is None else jnp.asarray(scan.maps)
    operator, _ = mri.system(y, jnp.asarray(scan.mask), maps)
    return np.linalg.norm(np.asarray(operator.adjoint(y)), axis=-1, keepdims=True)


@jax.jit
def _likeness(x: Array, truth: Array) -> tuple[Array, Array]:
    return jnp.mean(psnr(x, truth, data_range=1.0)), jnp.mean(ssim(x, truth, data_range=1.0))


def _score(x: np.ndarray, truth: np.ndarray, brightest: float = 1.0) -> tuple[float, float]:
    peak, like = _likeness(jnp.asarray(x / brightest), jnp.asarray(truth / brightest))
    return float(peak), float(like)


def _scans(config: MRIConfig, x: np.ndarray, key, noise: Mapping[str, float]) -> dict[str, mri.Scan]:
    """What is measured of slices in [-1, 1], in every situation; also with `noise`, by the name of a situation."""
    keys = jax.random.split(key, len(x))
    scans = {f"{a}x": mri.measure_real(keys, x, config.mask, a) for a in config.accelerations}
    for a in config.accelerations:
        scans[f"{a}x coils"] = mri.measure_coils(keys, x, config.mask, a, config.coils, config.phase)
        if (name := f"{a}x measured") in noise:
            scans[name] = mri.measure_coils(keys, x, config.mask, a, config.coils, config.phase, noise[name])
    return scans


def _slices(config: MRIConfig, constants, source, count: int | None) -> np.ndarray:
    return images.real_images(config, constants, source, count)["image"].mean(-1, keepdims=True)


def _settings(
    config: MRIConfig, ways: Reconstructors, x: np.ndarray, key, noise: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """Every method's setting in every situation, chosen by PSNR on validation slices, and what widens its intervals.

    k-space from a scanner has none of its own: simulated coils, estimated from as much noise, stand for it.
    """
    truth, chosen = (x + 1) / 2, {}
    scan_key, draw_key = jax.random.split(key)
    for name, scan in _scans(config, x, scan_key, noise).items():
        tried: dict[str, dict[float, float]] = {method: {} for method in (*WEIGHTS, *config.methods)}
        for pair in zip(*WEIGHTS.values(), strict=True):
            weights = dict(zip(WEIGHTS, pair, strict=True))
            found = ways.baselines(scan, weights)
            for method, weight in weights.items():
                tried[method][weight] = _score(found[method], truth)[0]
        for method in config.methods:
            for setting in SAMPLERS[method].settings:
                drawn, _ = ways.draw(method, draw_key, scan, setting, 1)
                tried[method][setting] = _score(_magnitude(drawn[0]), truth)[0]
        chosen[name] = {method: highest(scores) for method, scores in tried.items()}
        few = scan.first(config.calibration)
        seen = truth[: config.calibration]
        for method in config.methods:
            drawn, _ = ways.draw(method, draw_key, few, chosen[name][method], config.repeats)
            widening = posterior.widening(_magnitude(drawn), seen, seen > FOREGROUND)
            chosen[name][posterior.WIDENING.format(method)] = widening
    return chosen


def _brought(config: MRIConfig, key) -> dict[str, tuple[mri.Received, np.ndarray]]:
    """The user's fully sampled k-space, undersampled at each acceleration, and what it shows in full.

    Of several slices the middle one.
    """
    if not config.kspace:
        return {}
    path = FilePath(config.kspace)
    if config.coils_first and path.suffix.lower() != ".h5":
        with checks.reading(path, "npz"):
            array = np.moveaxis(read_npz(path, ["kspace"])["kspace"], -3, -1)
        kspace = check_kspace(array, f"{path}: `kspace`")[0]
    else:
        kspace = read_kspace(path).array
    if kspace.ndim == 4:  # [h, w, slices, coils]
        kspace = kspace[:, :, kspace.shape[2] // 2]
    if (np.abs(kspace) > 0).any(-1).mean() < LEAST_MEASURED:
        raise UserError(
            f"{path}: k-space must be fully sampled for --kspace; `jaxgen apply` takes undersampled k-space"
        )
    found, (maps, _) = {}, mri.coil_maps(kspace)
    for a in config.accelerations:
        mask = np.asarray(mri.MASKS[config.mask](key, kspace.shape[:2], a))
        received = mri.receive(kspace * mask[..., None])
        whole = centred_ifft2(jnp.asarray(kspace / received.scale)[None])
        found[f"{a}x measured"] = (received, np.abs(np.asarray(combine_coils(whole, maps)))[..., None])
    return found


def _evaluate(config: MRIConfig, constants, trained, splits, key) -> Evaluation:
    ways = Reconstructors(config, constants, trained)
    validation = _slices(config, constants, splits.validation, config.tuning)
    brought = _brought(config, jax.random.fold_in(key, 2))
    noise = {name: received.noise for name, (received, _) in brought.items()}
    chosen = _settings(config, ways, validation, jax.random.fold_in(key, 0), noise)
    x = _slices(config, constants, splits.test, most_of(config.data, config.cases))
    scans = _scans(config, x, jax.random.fold_in(key, 1), {})
    judged = {name: (scan, (x + 1) / 2, 1.0) for name, scan in scans.items()}
    for name, (received, truth) in brought.items():
        judged[name] = (received.scan, truth, float(np.quantile(truth, 0.999)))
    metrics: dict[str, dict[str, float]] = {name: {} for name in (*BASELINES, *config.methods)}
    figures: dict[str, Figure] = {}
    seconds: dict[str, dict[str, float]] = {}
    for number, (name, (scan, truth, brightest)) in enumerate(judged.items()):
        setting = chosen[name]
        found = ways.baselines(scan, setting)
        shown = dict(found)
        for method in config.methods:
            began = time.perf_counter()
            drawn, left = ways.draw(method, jax.random.fold_in(key, 3 + number), scan, setting[method], config.repeats)
            seconds.setdefault(method, {})[name] = (time.perf_counter() - began) / left.size
            found[method] = _magnitude(drawn.mean(0))
            drawn = _magnitude(drawn)
            shown[method], spread = drawn[0], drawn.std(0, ddof=1)
            shown[f"{method}, sd"] = spread / max(float(spread.max()), 1e-6)
            one = float(np.mean([_score(sample, truth, brightest)[0] for sample in drawn]))
            widening = setting[posterior.WIDENING.format(method)]
            sure = posterior.uncertainty(drawn, truth, truth > FOREGROUND, widening)
            facts = {"sample": one, "kept": float(left.max()), **sure}
            metrics[method] |= {f"{fact}_{_tag(name)}": value for fact, value in facts.items()}
        for label, image in found.items():
            peak, like = _score(image, truth, brightest)
            metrics[label] |= {f"psnr_{_tag(name)}": peak, f"ssim_{_tag(name)}": like}
        figures[_tag(name)] = _figure(name, truth, shown, brightest)
    settings = {
        f"{method}_setting_{_tag(name)}": row[method]
        for name, row in chosen.items()
        for method in metrics
        if method in row
    }
    return Evaluation(
        {**metrics, **settings, "slices": len(x)},
        figures,
        _headline(config, metrics, judged),
        _describe(judged),
        {},
        {f"{method}, s a slice": row for method, row in seconds.items()},
        chosen,
    )


def _tag(name: str) -> str:
    return name.replace(" ", "_")


def _figure(name: str, truth: np.ndarray, shown: Mapping[str, np.ndarray], brightest: float) -> Figure:
    picked = posterior.shown_of(len(truth))
    rows = {"truth": truth, **shown}
    white = {label: 1.0 if label.endswith(", sd") else brightest for label in rows}
    drawn = {label: 2 * np.clip(x[picked] / white[label], 0, 1) - 1 for label, x in rows.items()}
    return pictures.rows(
        drawn, f"Test slices, {name}: magnitudes; of the samplers one sample, and the deviation of several."
    )


def _headline(config: MRIConfig, metrics: Mapping[str, Mapping[str, float]], judged) -> str:
    parts = []
    for name in judged:
        tag = f"psnr_{_tag(name)}"
        ours = {method: metrics[method][tag] for method in config.methods}
        best = highest(ours)
        simple = ", ".join(f"{label} {metrics[label][tag]:.1f}" for label in BASELINES)
        parts.append(f"{name} {best} {metrics[best][tag]:.1f} ({simple})")
    return f"PSNR in dB: {'; '.join(parts)}."


def _describe(judged) -> dict[str, Metric]:
    known: dict[str, Metric] = {}
    for name in judged:
        tag = _tag(name)
        known |= {
            f"psnr_{tag}": Metric(
                f"PSNR, {name}", "higher", "of magnitudes, brightest 1, dB; samplers: of the mean sample"
            ),
            f"ssim_{tag}": Metric(f"SSIM, {name}", "higher", "of magnitudes, brightest 1"),
            f"sample_{tag}": Metric(f"PSNR of one sample, {name}", "higher", "dB"),
            f"kept_{tag}": Metric(f"Left of k-space, {name}", "lower", "|A x - y| / |y| of the worst sample"),
            **posterior.describe_uncertainty(tag, name),
        }
    return known


def _apply(config: MRIConfig, constants, trained):
    """Reconstruct k-space ``[h, w, coils]``, 0 where not measured: the mean of samples, their calibrated deviation."""
    ways = Reconstructors(posterior.for_one_scan(config), constants, trained)
    method = config.methods[0]

    def apply(key, kspace: np.ndarray) -> dict[str, np.ndarray]:
        scan, scale, _ = mri.receive(kspace)
        acceleration = posterior.nearest(config.accelerations, 1 / scan.mask.mean())
        names = [f"{acceleration}x {what}" for what in ("measured", "coils")]
        name = next((name for name in names if name in constants["chosen"]), names[0])
        setting = chosen_number(
            Run(config, None, chosen=constants.get("chosen", {})), name, method, default=SAMPLERS[method].settings[0]
        )
        widening = posterior.kept_widening(constants, name, method)
        drawn, left = ways.draw(method, key, scan, setting, config.repeats)
        found = {
            "reconstruction": _magnitude(drawn.mean(0)),
            "uncertainty": widening * _magnitude(drawn).std(0, ddof=1),
            "zero_filled": _zero_filled(scan),
        }
        kept = {"left_of_kspace": np.asarray(left.max())}
        if warning := mri.poor_fit(float(left.max())):
            kept["warning"] = np.asarray(warning)
        return {name: scale * x[0, ..., 0] for name, x in found.items()} | kept

    return apply


SMALL = MRIConfig(
    steps=2000,
    batch_size=16,
    learning_rate=1e-3,
    warmup_steps=100,
    ema_decay=0.995,
    chunk=16,
    checkpoint_every=250,
    log_every=20,
)
SMOKE = dataclasses.replace(
    SMALL,
    steps=4,
    batch_size=4,
    size=16,
    channels=(8,),
    attention=None,
    accelerations=(4,),
    coils=2,
    methods=("ddnm",),
    sampler_steps=4,
    inner_steps=2,
    cases=2,
    tuning=1,
    calibration=1,
    repeats=2,
    tv_steps=5,
    chunk=4,
    checkpoint_every=2,
    log_every=1,
)
FULL = MRIConfig(
    data="",
    size=240,
    path="ve",
    prediction="noise",
    channels=(32, 32, 64, 64, 64),
    blocks=2,
    attention=(3,),
    head_width=64,
    patch=1,
    mask="equispaced",
    methods=("score_mri", "ddnm", "diffpir", "dps"),
    sampler_steps=1000,
    snr=0.517,
    cases=1000,
    tuning=16,
    repeats=4,
    steps=2_400_000,
    batch_size=64,
    learning_rate=2e-4,
    warmup_steps=5000,
    schedule="constant",
    optimizer="adam",
    ema_decay=0.999,
    precision="bfloat16",
    checkpoint_every=5000,
    log_every=100,
)

EXPERIMENT = before.experiment(
    name="mri_reconstruction",
    summary="MRI from a part of k-space, with a diffusion prior, beside CG-SENSE and total variation",
    data="phantom brains, computed; or your magnitude images",
    presets={"smoke": SMOKE, "small": SMALL, "full": FULL},
    load=images.load_images,
    measure=_measure,
    stages=(posterior.prior_stage(_prepare),),
    evaluate=_evaluate,
    sample=posterior.sample_prior,
    sample_flags={"steps": "sampler_steps"},
    apply=_apply,
    reader=Reader((".npz", ".h5"), read_kspace),
    baseline="tv",
    examples=images.example_images,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
