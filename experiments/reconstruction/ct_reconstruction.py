"""CT from a few views, or around metal, with a diffusion model of slices as prior; beside FBP and total variation.

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
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.data import ArraySource, Splits, most_of, resized
from jaxgen.data.hounsfield import check_hounsfield
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Figure, Metric, Reader, Run, chosen_number
from jaxgen.imaging.affine import random_affine
from jaxgen.imaging.augment import random_flip
from jaxgen.imaging.filtered_backprojection import cosine, filtered_backprojection, hann, ramp, shepp_logan
from jaxgen.imaging.operators import LinearOperator, pseudo_inverse
from jaxgen.imaging.projection import Geometry
from jaxgen.medical.reconstruction import measurement_projection
from jaxgen.medical.reconstruction.total_variation import total_variation
from jaxgen.metrics import psnr, ssim
from jaxgen.paths import Path
from jaxgen.samplers import grids, reverse_diffusion, sample
from jaxgen.tasks import before
from jaxgen.tasks import figures as pictures
from jaxgen.tasks.best import highest
from jaxgen.tasks.old import denoisers, images
from jaxgen.tasks.old import sample_quality as judging
from jaxgen.tasks.reconstruction import ct, posterior
from jaxgen.tasks.reconstruction.posterior import Sampler
from jaxgen.types import Array

MethodName = Literal["ddnm", "diffpir", "dps", "projection"]
METAL = "metal"
WINDOWS = {"ramp": ramp, "shepp_logan": shepp_logan, "cosine": cosine, "hann": hann}
TV_WEIGHTS = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CTConfig(posterior.PosteriorConfig):
    """The configuration of `ct_reconstruction`."""

    data: str = option(
        "ct_phantom", "slices in Hounsfield units: a name, a folder, or a .npz (`hu` or `images`)", group="data"
    )
    high: float = option(
        1500.0, "Hounsfield units of the brightest value kept; -1000 is the darkest", gt=0, group="data"
    )

    rotate: float = option(0.0, "turn training slices by at most so many degrees", ge=0, le=180, group="data")
    zoom: float = option(0.0, "enlarge or shrink them by at most this share", ge=0, le=1, group="data")
    shift: float = option(0.0, "shift them by at most this share of their width", ge=0, le=1, group="data")

    views: images.Widths = option((12, 23, 50), "numbers of views to reconstruct from", ge=1, le=4096, group="scan")
    metal_views: int = option(90, "views of the slices with metal", ge=1, le=4096, group="scan")
    field: float = option(400.0, "width of an image in mm", gt=0, group="scan")
    photons: float = option(1e6, "photons a ray, for the slices with metal", gt=1, group="scan")

    methods: tuple[MethodName, ...] = option(
        ("ddnm", "diffpir", "dps"), "posterior samplers; `jaxgen apply` takes the first", group="sampling"
    )
    inner_steps: int = option(20, "conjugate gradients a step, where a method inverts", ge=1, le=100, group="sampling")
    snr: float = option(0.16, "signal-to-noise ratio of the corrections of `projection`", gt=0, group="sampling")


def _projection(config, path: Path, grid, denoise, operator: LinearOperator, y, strength):
    inverse = pseudo_inverse(operator, iterations=config.inner_steps, damping=1e-3)
    options: dict[str, Any] = {"strength": strength, "pseudo_inverse": inverse, "snr": config.snr}
    return measurement_projection(reverse_diffusion(path), path, operator, y, **options), denoise


SAMPLERS: dict[str, Sampler] = {
    "ddnm": Sampler(posterior.make_ddnm, (1e-5, 1e-6, 1e-3)),
    "diffpir": Sampler(functools.partial(posterior.make_diffpir, last=False), (1e-5, 1e-6, 1e-4)),
    "dps": Sampler(posterior.make_dps, (1.0, 3.0, 10.0)),
    "projection": Sampler(_projection, (0.355, 0.6, 0.841, 1.0)),
}


def _load(config: CTConfig) -> Splits:
    splits = images.load_images(config)
    for part in splits[:3]:
        check_hounsfield(part, f"--data {config.data}")
    return splits


def _measure(config: CTConfig, splits: Splits) -> dict[str, Any]:
    return {"value_range": [[ct.AIR], [config.high]], "channels": 1, "classes": []}


def _moves(config: CTConfig) -> dict[str, Any]:
    """How far training slices are moved; empty where they are not."""
    moves = {"rotation": float(np.deg2rad(config.rotate)), "zoom": config.zoom, "shift": config.shift}
    return moves if any(moves.values()) else {}


def _examples(config: CTConfig, constants: Mapping[str, Any], splits: Splits) -> ArraySource:
    """Slices at their size; at twice of it where they are moved, which would blur them otherwise."""
    size = config.size * (2 if _moves(config) else 1)
    return resized(splits.train, size, constants["value_range"], channels=1, dtype=np.float16)


def _prepare(config: CTConfig):
    moves = _moves(config)

    def prepare(key, batch):
        flip_key, move_key = draws.split(key, 2)
        batch = {**batch, "image": batch["image"].astype(jnp.float32)}
        if config.mirror:
            batch = random_flip(flip_key, batch, axes=(1,), names=("image",))
        if moves:
            moved = random_affine(move_key, batch, **moves, names=("image",))["image"]
            batch["image"] = moved.reshape(len(moved), config.size, 2, config.size, 2, -1).mean((2, 4))
        return batch

    return prepare


class Reconstructors:
    """The ways to reconstruct, each compiled once: a program takes any views, measurements and settings."""

    def __init__(self, config: CTConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]):
        self.config, self._params = config, trained["prior"]["net"]
        path = denoisers.make_path(config)
        grid = np.asarray(grids.uniform(path, config.sampler_steps))

        def drawing(method: str):
            def run(params, keys, y, keep, angles, scale, setting, geometry: Geometry) -> Array:
                noise_keys, step_keys = draws.split(keys, 2)
                operator, target = ct.system(config.size, angles, y, keep, scale, geometry)
                denoise = denoisers.denoise_with(config, constants, params)
                start = denoisers.starting_noise(path, noise_keys, (len(keys), config.size, config.size, 1))
                step, consistent = SAMPLERS[method].make(config, path, grid, denoise, operator, target, setting)
                return judging.cut(sample(step, consistent, step_keys, start, jnp.asarray(grid)))

            return jax.jit(run, static_argnames="geometry")

        def variation(y, keep, angles, scale, weight, geometry: Geometry) -> Array:
            operator, target = ct.system(config.size, angles, y, keep, scale, geometry)
            options: dict[str, Any] = {"iterations": config.tv_steps, "squared_norm": 1.05, "minimum": -1.0}
            return judging.cut(total_variation(operator, target, weight, **options))

        self._posterior: dict[str, Callable[..., Array]] = {method: drawing(method) for method in config.methods}
        self._variation = jax.jit(variation, static_argnames="geometry")

    def _scale(self, scan: ct.Scan) -> Array:
        detectors, seen = scan.y.shape[2], jnp.asarray(scan.keep.max((0, 2)))
        return 1 / ct.largest_singular_value(scan.geometry, self.config.size, detectors, jnp.asarray(scan.angles), seen)

    def _in_chunks(self, function: Callable, *arrays) -> np.ndarray:
        return images.in_chunks(function, len(arrays[0]), self.config.chunk, *arrays, exactly=True)

    def draw(self, method: str, key, scan: ct.Scan, setting: float, repeats: int) -> np.ndarray:
        """Samples ``[repeats, n, h, w, 1]``."""
        n, scale, angles = len(scan.y), self._scale(scan), jnp.asarray(scan.angles)
        keys = jax.random.split(key, repeats * n)
        y, keep = (np.tile(a, (repeats, 1, 1)) for a in (scan.y, scan.keep))

        def chunk(keys, y, keep):
            return self._posterior[method](self._params, keys, y, keep, angles, scale, setting, geometry=scan.geometry)

        drawn = self._in_chunks(chunk, keys, y, keep)
        return drawn.reshape(repeats, n, *drawn.shape[1:])

    def total_variation(self, scan: ct.Scan, weight: float) -> np.ndarray:
        """``[n, h, w, 1]``."""
        scale, angles = self._scale(scan), jnp.asarray(scan.angles)

        def chunk(y, keep):
            return self._variation(y, keep, angles, scale, weight, geometry=scan.geometry)

        return self._in_chunks(chunk, scan.y, scan.keep)

    def filtered(self, y: np.ndarray, scan: ct.Scan, window: str) -> np.ndarray:
        """Filtered back-projection of the views that are measured, ``[n, h, w, 1]``."""
        seen = scan.keep.max((0, 2)) > 0
        found = filtered_backprojection(
            jnp.asarray(y[:, seen]),
            scan.angles[seen],
            self.config.size,
            geometry=scan.geometry,
            window=WINDOWS[window],
        )
        return np.clip(2 * np.asarray(found) - 1, -1, 1)


@jax.jit
def _likeness(x: Array, truth: Array, ignore: Array) -> tuple[Array, Array]:
    """PSNR and SSIM of each slice, where it is judged."""
    shown = jnp.where(ignore, truth, x)
    left_out = jnp.mean(ignore.astype(jnp.float32), (1, 2, 3))
    return psnr(shown, truth, data_range=2.0) + 10 * jnp.log10(1 - left_out), ssim(shown, truth, data_range=2.0)


def _score(x: np.ndarray, truth: np.ndarray, scan: ct.Scan) -> tuple[float, float]:
    peaks, likes = _likeness(jnp.asarray(x), jnp.asarray(truth), jnp.asarray(scan.ignore))
    return float(jnp.mean(peaks)), float(jnp.mean(likes))


def _best(settings, reconstruct: Callable[[Any], np.ndarray], truth: np.ndarray, scan: ct.Scan):
    """The setting of highest PSNR."""
    return highest({setting: _score(reconstruct(setting), truth, scan)[0] for setting in settings})


def _scans(config: CTConfig, x: np.ndarray, key) -> dict[str, ct.Scan]:
    """What is measured of slices, in every situation."""
    scans = {str(views): ct.sparse(x, views, max(config.views)) for views in config.views}
    options = {"high": config.high, "pixel": config.field / config.size, "photons": config.photons}
    return scans | {METAL: ct.with_metal(key, x, config.metal_views, **options)}


def _slices(config: CTConfig, constants, source, count: int | None) -> np.ndarray:
    chosen = np.linspace(0, len(source) - 1, min(count or len(source), len(source))).round().astype(int)
    picked = ArraySource({"image": np.stack([source[i]["image"] for i in chosen])})
    return resized(picked, config.size, constants["value_range"], channels=1).arrays["image"]


def _sampler_setting(ways: Reconstructors, method: str, x: np.ndarray, scan: ct.Scan, key) -> float:
    def one(setting: float) -> np.ndarray:
        return ways.draw(method, key, scan, setting, 1)[0]

    return _best(SAMPLERS[method].settings, one, x, scan)


def _settings(config: CTConfig, ways: Reconstructors, x: np.ndarray, key) -> dict[str, dict[str, Any]]:
    """Every method's setting in every situation, chosen on validation slices, and what widens its intervals.

    Samplers choose once for all views.
    """
    scan_key, draw_key = jax.random.split(key)
    scans = _scans(config, x, scan_key)
    chosen: dict[str, dict[str, Any]] = {}
    for name, scan in scans.items():
        chosen[name] = {
            "fbp": _best(WINDOWS, functools.partial(ways.filtered, scan.y, scan), x, scan),
            "tv": _best(TV_WEIGHTS, functools.partial(ways.total_variation, scan), x, scan),
        }
        if name == METAL:
            filtered = functools.partial(ways.filtered, ct.interpolated(scan), scan)
            chosen[name]["interpolation"] = _best(WINDOWS, filtered, x, scan)
    middle = str(sorted(config.views)[len(config.views) // 2])
    for method in config.methods:
        for_views, for_metal = (_sampler_setting(ways, method, x, scans[name], draw_key) for name in (middle, METAL))
        for name in chosen:
            setting = for_metal if name == METAL else for_views
            few = scans[name].first(config.calibration)
            drawn = ways.draw(method, draw_key, few, setting, config.repeats)
            widening = posterior.widening(drawn, x[: config.calibration], ~few.ignore)
            chosen[name] |= {method: setting, posterior.WIDENING.format(method): widening}
    return chosen


def _evaluate(config: CTConfig, constants, trained, splits, key) -> Evaluation:
    ways = Reconstructors(config, constants, trained)
    validation = _slices(config, constants, splits.validation, config.tuning)
    truth = _slices(config, constants, splits.test, most_of(config.data, config.cases))
    chosen = _settings(config, ways, validation, jax.random.fold_in(key, 0))
    metrics: dict[str, dict[str, float]] = {}
    figures: dict[str, Figure] = {}
    seconds: dict[str, dict[str, float]] = {}
    for number, (name, scan) in enumerate(_scans(config, truth, jax.random.fold_in(key, 1)).items()):
        setting = chosen[name]
        found = {"fbp": ways.filtered(scan.y, scan, setting["fbp"])}
        if name == METAL:
            found["interpolation"] = ways.filtered(ct.interpolated(scan), scan, setting["interpolation"])
        found["tv"] = ways.total_variation(scan, setting["tv"])
        shown = dict(found)
        for method in config.methods:
            began = time.perf_counter()
            drawn = ways.draw(method, jax.random.fold_in(key, 2 + number), scan, setting[method], config.repeats)
            seconds.setdefault(method, {})[name] = (time.perf_counter() - began) / drawn[:, :, 0, 0, 0].size
            found[method] = drawn.mean(0)
            shown[method] = drawn[0]
            spread = drawn.std(0, ddof=1)
            sure = posterior.uncertainty(drawn, truth, ~scan.ignore, setting[posterior.WIDENING.format(method)])
            one = np.mean([_score(x, truth, scan)[0] for x in drawn])
            metrics.setdefault(method, {})
            metrics[method] |= {f"{fact}_{name}": value for fact, value in ({"sample": float(one)} | sure).items()}
            shown[f"{method}, sd"] = np.clip(2 * spread / max(float(spread.max()), 1e-6) - 1, -1, 1)
        for label, x in found.items():
            peak, like = _score(x, truth, scan)
            metrics[label] = metrics.get(label, {}) | {f"psnr_{name}": peak, f"ssim_{name}": like}
        figures[name] = _figure(config, name, truth, scan, shown)
    facts = {
        f"{method}_setting_{name}": row[method] for name, row in chosen.items() for method in ("tv", *config.methods)
    }
    ordered = {name: metrics[name] for name in ("fbp", "interpolation", "tv", *config.methods)}
    result: dict[str, Any] = {**ordered, **facts, "slices": len(truth)}
    return Evaluation(
        result,
        figures,
        _headline(config, metrics),
        _describe(config),
        {},
        {f"{k}, s a slice": v for k, v in seconds.items()},
        chosen,
    )


def _figure(config: CTConfig, name: str, truth: np.ndarray, scan: ct.Scan, shown: Mapping[str, np.ndarray]) -> Figure:
    picked = posterior.shown_of(len(truth))
    # The window from -1000 to 500 HU, where most of the anatomy is.
    bright = 2 * 1500 / (config.high - ct.AIR) - 1

    def window(x: np.ndarray) -> np.ndarray:
        return np.clip(2 * (x[picked] + 1) / (bright + 1) - 1, -1, 1)

    drawn = {"truth": window(truth)}
    if name == METAL:
        drawn["truth"] = np.where(scan.ignore[picked], 1, drawn["truth"])
    drawn |= {method: x[picked] if method.endswith("sd") else window(x) for method, x in shown.items()}
    what = "slices with metal (white)" if name == METAL else f"{name} views"
    return pictures.rows(
        drawn, f"Test slices from {what}, -1000 to 500 HU; of the samplers one sample, and the deviation of several."
    )


def _headline(config: CTConfig, metrics: Mapping[str, Mapping[str, float]]) -> str:
    def best(name: str) -> tuple[str, float]:
        method = highest({method: metrics[method][f"psnr_{name}"] for method in config.methods})
        return method, metrics[method][f"psnr_{name}"]

    parts = []
    for views in config.views:
        method, ours = best(str(views))
        simple = ", ".join(f"{label} {metrics[label][f'psnr_{views}']:.1f}" for label in ("fbp", "tv"))
        parts.append(f"{views} views {method} {ours:.1f} ({simple})")
    name, ours = best(METAL)
    simple = f"interpolation {metrics['interpolation']['psnr_metal']:.1f}, tv {metrics['tv']['psnr_metal']:.1f}"
    return f"PSNR in dB: {'; '.join(parts)}; metal {name} {ours:.1f} ({simple})."


def _describe(config: CTConfig) -> dict[str, Metric]:
    known: dict[str, Metric] = {}
    for name in (*map(str, config.views), METAL):
        what = "with metal, outside of it" if name == METAL else f"from {name} views"
        known |= {
            f"psnr_{name}": Metric(
                f"PSNR, {name}", "higher", f"{what}, dB; range -1000 to {config.high:g} HU; samplers: mean of samples"
            ),
            f"ssim_{name}": Metric(f"SSIM, {name}", "higher", f"{what}, of the same range"),
            f"sample_{name}": Metric(f"PSNR of one sample, {name}", "higher", f"{what}, dB"),
            **posterior.describe_uncertainty(name, "with metal" if name == METAL else f"{name} views"),
        }
    return known


def _apply(config: CTConfig, constants, trained):
    ways, method = Reconstructors(posterior.for_one_scan(config), constants, trained), config.methods[0]

    def apply(key, array: np.ndarray) -> dict[str, np.ndarray]:
        y, angles, geometry = array[..., 0], array[:, 0, 1], Geometry(*map(float, array[0, 0, 2:]))
        most = ct.detectors(config.size, geometry)
        if y.shape[1] > most + 2:
            raise UserError(
                f"the sinogram has {y.shape[1]} detectors {geometry.spacing:.3g} pixels apart, and images of "
                f"{config.size} pixels are seen by {most}: save its true `spacing`, or train with a larger --size"
            )
        y = y[None] / ((config.high - ct.AIR) / 1000)
        scan = ct.Scan(angles, y, np.ones_like(y), np.zeros((1, config.size, config.size, 1), bool), geometry)
        views = posterior.nearest(config.views, len(angles))
        setting = chosen_number(
            Run(config, None, chosen=constants.get("chosen", {})),
            str(views),
            method,
            default=SAMPLERS[method].settings[1],
        )
        widening = posterior.kept_widening(constants, str(views), method)
        drawn = ways.draw(method, key, scan, setting, config.repeats)[:, 0, :, :, 0]
        half = (config.high - ct.AIR) / 2
        uncertainty = half * widening * drawn.std(0, ddof=1)
        return {"reconstruction": ct.AIR + half * (drawn.mean(0) + 1), "uncertainty": uncertainty}

    return apply


SMALL = CTConfig(
    rotate=10.0,
    zoom=0.1,
    shift=0.05,
    sampler_steps=40,
    cases=8,
    tuning=8,
    repeats=16,
    tv_steps=200,
    steps=3000,
    batch_size=16,
    learning_rate=1e-3,
    warmup_steps=100,
    ema_decay=0.995,
    chunk=8,
    checkpoint_every=250,
    log_every=20,
)
SMOKE = dataclasses.replace(
    SMALL,
    data="ct_phantom/16",
    steps=4,
    batch_size=4,
    size=16,
    channels=(8,),
    attention=None,
    views=(4, 6),
    metal_views=6,
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
FULL = CTConfig(
    data="",
    size=320,
    path="ve",
    prediction="noise",
    channels=(32, 32, 64, 64, 64, 64, 64),
    blocks=2,
    attention=(4,),
    head_width=64,
    patch=1,
    methods=("projection", "ddnm", "diffpir", "dps"),
    views=(10, 20, 23, 50),
    metal_views=320,
    sampler_steps=1000,
    snr=0.246,
    cases=1000,
    tuning=16,
    repeats=4,
    tv_steps=200,
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
    name="ct_reconstruction",
    summary="CT from a few views and around metal, with a diffusion prior, beside FBP and total variation",
    data="phantom chests, computed; or your slices in Hounsfield units",
    presets={"smoke": SMOKE, "small": SMALL, "full": FULL},
    load=_load,
    measure=_measure,
    stages=(posterior.prior_stage(_prepare),),
    evaluate=_evaluate,
    sample=posterior.sample_prior,
    sample_flags={"steps": "sampler_steps"},
    apply=_apply,
    reader=Reader((".npz",), ct.read_sinogram),
    baseline="fbp",
    examples=_examples,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
