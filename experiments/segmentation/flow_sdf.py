"""FlowSDF: segmentation by flow matching on signed distance maps, beside a deterministic U-Net.

    jaxgen run flow_sdf                      # the shipped nuclei: minutes on 2 CPU cores
    jaxgen run flow_sdf --preset full --data DATA    # the paper's network and schedule for MoNuSeg

Both networks see the same images for the same number of steps, and have the same number of parameters within 10 %.
Bogensperger et al. 2025, "FlowSDF: flow matching for medical image segmentation using distance transforms", arXiv
2405.18087.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.app.cli import run_module
from jaxgen.config import RunConfig, option
from jaxgen.data import Splits, load, most_of
from jaxgen.data.checks import FOREGROUND, parse_foreground
from jaxgen.data.segmentation import SegmentationTiles, masks_of, scale_image
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Metric, StageSpec
from jaxgen.imaging.augment import random_flip, random_quarter_turn
from jaxgen.imaging.intensity import percentile_range
from jaxgen.imaging.tiles import extract_tiles, tiling
from jaxgen.medical.segmentation import flow_sdf
from jaxgen.medical.segmentation import scores as segmentation_scores
from jaxgen.medical.segmentation.conditional import ConditionalNet, conditional_net
from jaxgen.medical.segmentation.uncertainty import agreeing_probability, decision_threshold, summarise
from jaxgen.medical.segmentation.whole_image import by_tiles
from jaxgen.metrics.overlap import dice
from jaxgen.nets import rrdb_encoder, unet
from jaxgen.paths import Path, rectified
from jaxgen.samplers import Sampling, euler, grids, heun, runge_kutta4
from jaxgen.tasks import before
from jaxgen.tasks import segmentation_figures as figures
from jaxgen.train import Stage, make_optimizer
from jaxgen.types import Net

Widths = tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlowSDFConfig(RunConfig):
    """The configuration of `flow_sdf`."""

    data: str = option(
        "nuclei_dsb2018", "data: a TFDS name, a folder with images/ and masks/, or a .npz file", group="data"
    )
    foreground: str | int = option("binary", FOREGROUND, group="data")
    slices: bool = option(False, "take volumes slice by slice", group="data")
    size: int = option(128, "pixels along one side of a training tile", ge=8, le=4096, group="data")
    tile_overlap: int = option(32, "pixels that neighbouring tiles share at least", ge=0, le=2048, group="data")
    intensity: Literal["image", "data"] = option(
        "image", "scale each image by its own percentiles, or all by those of the training images", group="data"
    )
    percentiles: tuple[float, float] = option(
        (0.1, 99.8), "percentiles of the values that go to -1 and 1", ge=0, le=100, group="data"
    )
    quarter_turns: bool = option(True, "turn tiles by multiples of 90 degrees at random, beside flips", group="data")

    target: Literal["distance", "binary"] = option(
        "distance", "flow to signed distance maps, or (ablation) to masks of -1 and 1", group="method"
    )
    truncation: float = option(5.0, "delta: distances are truncated here, in pixels", gt=0, group="method")
    convention: Literal["boundary_zero", "symmetric"] = option(
        "boundary_zero", "where the zero of a distance map lies; boundary_zero is the authors'", group="method"
    )
    sigma_min: float = option(1e-3, "noise left at the data end of the path", ge=0, lt=1, group="method")
    prediction: Literal["velocity", "x0"] = option(
        "x0", "what the network predicts: the velocity (paper) or the clean distance map", group="method"
    )
    max_weight: float = option(
        6.0, "x0 errors are weighted by 1 / sigma^2 (the error of the velocity) up to this", ge=1, group="method"
    )
    repeats: int = option(
        2, "noisy versions of each distance map a step; the image is encoded once", ge=1, group="method"
    )

    network: Literal["shared", "segdiff"] = option(
        "shared",
        "image encoder: a U-Net whose features are shared, or the paper's residual dense blocks",
        group="network",
    )
    patch: int = option(4, "fold blocks of so many pixels into channels first", ge=1, le=16, group="network")
    image_channels: Widths = option(
        (32, 64, 96), "widths of the levels of the shared image encoder", ge=4, group="network"
    )
    channels: Widths = option((24, 48), "widths of the levels of the denoising U-Net", ge=4, group="network")
    baseline_channels: Widths = option((32, 64, 112), "widths of the levels of the baseline", ge=4, group="network")
    blocks: int = option(1, "residual blocks a level", ge=1, le=8, group="network")
    attention: Widths | None = option(
        None, "levels of the U-Nets with self-attention, 0 the finest", ge=0, group="network"
    )
    heads_width: int = option(32, "width of an attention head", ge=4, group="network")
    adaptive: bool = option(True, "time scales and shifts the norms; otherwise it is added", group="network")

    members: int = option(16, "samples in an ensemble", ge=1, le=1024, group="sampling")
    ode_steps: int = option(10, "steps from noise to distance map", ge=1, le=10_000, group="sampling")
    sampler: Literal["euler", "heun", "rk4", "authors"] = option(
        "euler", "method of the steps; authors is the published code's, which does not converge", group="sampling"
    )
    chunk: int = option(10, "tiles that are segmented together", ge=1, le=4096, group="sampling")
    test_images: int = option(500, "test images to evaluate at most, evenly spaced", ge=1, group="sampling")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        object.__setattr__(self, "foreground", str(parse_foreground(self.foreground)))
        denoisers = {"channels": self.channels, "baseline_channels": self.baseline_channels}
        encoder = {"image_channels": self.image_channels} if self.network == "shared" else {}
        levels = {name: len(channels) for name, channels in (denoisers | encoder).items()}
        multiple = self.patch * 2 ** (max(levels.values()) - 1)
        if self.size % multiple:
            raise UserError(f"--size must be a multiple of {multiple} with such a --patch and levels, got {self.size}")
        low, high = self.percentiles
        if low >= high:
            raise UserError(f"--percentiles must ascend, such as 0.1,99.8, got {low:g},{high:g}")
        coarsest = min(levels[name] for name in denoisers) - 1
        if self.attention and max(self.attention) > coarsest:
            raise UserError(f"--attention must name levels from 0 to {coarsest}, got {max(self.attention)}")


def _path(config: FlowSDFConfig) -> Path:
    return rectified(config.sigma_min)


def _sampling(config: FlowSDFConfig) -> Sampling:
    steps = {"euler": euler, "heun": heun, "rk4": runge_kutta4, "authors": flow_sdf.authors_euler}
    path = _path(config)
    return Sampling(path, steps[config.sampler](path), grids.uniform(path, config.ode_steps), config.prediction)


def _threshold(config: FlowSDFConfig) -> float:
    return decision_threshold(config.truncation, config.convention) if config.target == "distance" else 0.0


def _unet_options(config: FlowSDFConfig) -> dict[str, Any]:
    return {"blocks": config.blocks, "attention": config.attention or (), "head_width": config.heads_width}


def flow_network(config: FlowSDFConfig) -> ConditionalNet:
    """The network of the flow: an image encoder, and a U-Net in time."""
    denoiser = unet(1, channels=config.channels, adaptive=config.adaptive, patch=config.patch, **_unet_options(config))
    if config.network == "segdiff":
        encoder = rrdb_encoder(config.channels[0])
    else:
        encoder = unet(config.channels[0], channels=config.image_channels, blocks=config.blocks)
    return conditional_net(encoder, denoiser, patch=config.patch)


def baseline_network(config: FlowSDFConfig) -> Net:
    """The deterministic U-Net of equal size."""
    return unet(1, channels=config.baseline_channels, patch=config.patch, **_unet_options(config))


def _load(config: FlowSDFConfig) -> Splits:
    return load(
        config.data,
        seed=config.seed,
        optional=("masks",),
        foreground=config.foreground,
        slices=config.slices,
        spatial=2,
    )


def _measure(config: FlowSDFConfig, splits: Splits) -> dict[str, Any]:
    first = splits.train[0]
    constants: dict[str, Any] = {
        "channels": int(first["image"].shape[-1]),
        "readers": len(masks_of(first)),
        "value_range": None,
    }
    if config.intensity == "data":
        images = (splits.train[i]["image"] for i in range(len(splits.train)))
        low, high = percentile_range(images, *config.percentiles)
        constants["value_range"] = [low.tolist(), high.tolist()]
    return constants


def _examples(config: FlowSDFConfig, constants: Mapping[str, Any], splits: Splits) -> SegmentationTiles:
    return SegmentationTiles(
        splits.train,
        config.size,
        percentiles=config.percentiles,
        value_range=constants["value_range"],
        truncate=config.truncation,
        convention=config.convention,
        target=config.target,
        overlap=min(config.tile_overlap, config.size - 1),
    )


def _prepare(config: FlowSDFConfig):
    def prepare(key, batch):
        flip_key, turn_key, reader_key = jnp.moveaxis(jax.vmap(lambda k: jax.random.split(k, 3))(key), 1, 0)
        batch = {name: x.astype(jnp.float32) for name, x in batch.items()}
        batch = random_flip(flip_key, batch)
        if config.quarter_turns:
            batch = random_quarter_turn(turn_key, batch)
        # One reader an example, at random: what the spread of several readers is learned from.
        distance = batch["distance"]
        reader = jax.vmap(lambda k: jax.random.randint(k, (), 0, distance.shape[-1]))(reader_key)
        distance = jnp.take_along_axis(distance, reader[:, None, None, None], axis=-1)
        return batch | {"distance": distance}

    return prepare


def _weight(config: FlowSDFConfig):
    if config.prediction == "velocity":
        return None
    path = _path(config)
    return lambda t: jnp.minimum(1 / jnp.square(path.sigma(t)), config.max_weight)


def _model(config: FlowSDFConfig, name: str):
    if name == "unet":
        return flow_sdf.deterministic(baseline_network(config))
    return flow_sdf.flow_sdf(
        flow_network(config),
        _sampling(config),
        repeats=config.repeats,
        weight=_weight(config),
    )


def _stage(name: str) -> StageSpec:
    def build(config: FlowSDFConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
        optimizer = make_optimizer(
            config.learning_rate,
            warmup_steps=config.warmup_steps,
            steps=config.steps,
            schedule=config.schedule,
            clip=config.gradient_clip,
            weight_decay=config.weight_decay,
            name=config.optimizer,
        )
        return Stage(name, _model(config, name), {"net": optimizer}, config.steps, _prepare(config))

    return StageSpec(name, build)


class _Segmenter:
    """The trained networks on whole images, compiled once."""

    def __init__(self, config: FlowSDFConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]):
        self.config, self.constants, self.trained = config, constants, trained
        net, sampling = flow_network(config), _sampling(config)

        def draw(params, key, image, *, members, keep=False):
            return flow_sdf.ensemble(net, sampling, params, key, image, members, keep=keep)

        self._members = jax.jit(lambda params, key, image: draw(params, key, image, members=config.members))
        self._trajectory = jax.jit(lambda params, key, image: draw(params, key, image, members=1, keep=True)[0])
        baseline = baseline_network(config)
        self._probability = jax.jit(lambda params, image: jax.nn.sigmoid(baseline.apply(params, image)))

    def scale(self, image: np.ndarray) -> np.ndarray:
        return scale_image(image, self.config.percentiles, self.constants["value_range"])

    def _by_tiles(self, function, key, images, first, chunk):
        size, overlap = self.config.size, self.config.tile_overlap
        results = by_tiles(function, key, images, size, overlap=overlap, chunk=chunk, first=first)
        return [result[..., 0] for result in results]

    def ensembles(self, key, images, first: int = 0, chunk: int | None = None) -> list[np.ndarray]:
        """Distance maps ``[members, h, w]`` of each scaled image."""

        def members(keys, tiles):
            return self._members(self.trained["flow_sdf"]["net"], keys, tiles)

        return self._by_tiles(members, key, images, first, chunk or self.config.chunk)

    def probabilities(self, key, images) -> list[np.ndarray]:
        """The baseline's probability ``[h, w]`` for each scaled image."""

        def probability(keys, tiles):
            return self._probability(self.trained["unet"]["net"], tiles)

        return self._by_tiles(probability, key, images, 0, self.config.chunk)

    def trajectories(self, key, images) -> np.ndarray:
        """One sample along the flow ``[steps + 1, n, h, w]`` for the first tile of some scaled images."""
        size = self.config.size
        tiles = np.stack([extract_tiles(tiling(x.shape[:-1], size), x)[0] for x in images])
        return np.asarray(self._trajectory(self.trained["flow_sdf"]["net"], key, tiles))[..., 0]


def _cases(config: FlowSDFConfig, segmenter: _Segmenter, source: Any, key: jax.Array) -> list[dict[str, Any]]:
    n = len(source)
    most = most_of(config.data, config.test_images) or n
    chosen = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))
    cases = []
    # A few images at a time: of an ensemble only the masks and the summary are kept.
    for start in range(0, len(chosen), config.chunk):
        numbers = chosen[start : start + config.chunk]
        examples = [source[int(i)] for i in numbers]
        images = [segmenter.scale(example["image"]) for example in examples]
        ensembles = segmenter.ensembles(key, images, first=start)
        probabilities = segmenter.probabilities(key, images)
        for i, example, image, maps, p in zip(numbers, examples, images, ensembles, probabilities, strict=True):
            readers = masks_of(example)
            truth = readers.mean(axis=0) >= 0.5
            summary = jax.device_get(summarise(jnp.asarray(maps), threshold=_threshold(config)))
            cases.append(
                {
                    "name": str(source.names[i]),
                    "image": image,
                    "readers": readers,
                    "truth": truth,
                    "first": maps[0],
                    "member_masks": maps <= _threshold(config),
                    "summary": summary,
                    "baseline_probability": p,
                    "baseline": p > 0.5,
                    "dice": float(dice(summary.mask[None], truth[None])[0]),
                    "diverged": not np.isfinite(maps).all(),
                    "baseline_diverged": not np.isfinite(p).all(),
                }
            )
    return cases


def _metrics(config: FlowSDFConfig, cases: list[dict[str, Any]]) -> dict[str, Any]:
    scores = segmentation_scores
    truths = [case["truth"] for case in cases]
    summaries = [case["summary"] for case in cases]
    masks, baseline = [s.mask for s in summaries], [case["baseline"] for case in cases]
    probability = [case["baseline_probability"] for case in cases]
    entropy = [-(p * np.log(p + 1e-7) + (1 - p) * np.log(1 - p + 1e-7)) for p in probability]
    first = [case["first"] for case in cases]
    singles = [scores.score_masks([case["member_masks"][k] for case in cases], truths) for k in range(config.members)]
    metrics: dict[str, Any] = {
        "unet": scores.score_masks(baseline, truths)
        | scores.score_probability(probability, truths)
        | {
            "error_auroc": scores.score_uncertainty(entropy, baseline, truths),
            "case_correlation": scores.score_cases(
                [e.mean() for e in entropy],
                [float(dice(b[None], t[None])[0]) for b, t in zip(baseline, truths, strict=True)],
            ),
        },
        "flow_sdf": scores.score_masks(masks, truths)
        | scores.score_probability([s.probability for s in summaries], truths)
        | {
            "error_auroc": scores.score_uncertainty([s.mask_variance for s in summaries], masks, truths),
            "error_auroc_mean": scores.score_uncertainty([s.standardised_mean for s in summaries], masks, truths),
            "case_correlation": scores.score_cases(
                [float(s.case_uncertainty) for s in summaries], [case["dice"] for case in cases]
            ),
        },
        "flow_sdf_single": {name: float(np.mean([s[name] for s in singles])) for name in singles[0]},
    }
    if config.target == "distance":
        metrics["flow_sdf_single"]["eikonal_error"] = scores.eikonal_error(first, config.truncation)
    if len(cases[0]["readers"]) > 1:
        readers = [case["readers"] for case in cases]
        metrics["unet"]["ged"] = scores.score_raters([b[None] for b in baseline], readers)
        metrics["flow_sdf"]["ged"] = scores.score_raters([case["member_masks"] for case in cases], readers)
        metrics["flow_sdf_single"]["ged"] = scores.score_raters([case["member_masks"][:1] for case in cases], readers)
    for name, lost in (("unet", "baseline_diverged"), ("flow_sdf", "diverged"), ("flow_sdf_single", "diverged")):
        share = float(np.mean([case[lost] for case in cases]))
        if share:  # masks of NaN are empty: what is said of them would be of no model
            metrics[name] = dict.fromkeys(metrics[name], float("nan")) | {"diverged": share}
    metrics["test_images"] = len(cases)
    return metrics


_PENALTY = "the diagonal of the image where only one of the masks is empty"
DESCRIBE = {
    "dice": Metric("Dice", "higher", "mean over test images"),
    "dice_pooled": Metric("Dice, pooled", "higher", "all pixels of all test images together (F1)"),
    "iou": Metric("IoU", "higher", "mean over test images"),
    "hausdorff95": Metric("Hausdorff 95", "lower", f"pixels, mean over test images; {_PENALTY}"),
    "surface_distance": Metric("Surface distance", "lower", f"average symmetric surface distance, pixels; {_PENALTY}"),
    "missed": Metric("Missed", "lower", "test images with an object of which nothing was found"),
    "false_alarms": Metric("False alarms", "lower", "test images without an object in which one was found"),
    "diverged": Metric("Diverged", "lower", "share of the images whose results hold NaN or infinity, if any"),
    "component_error": Metric("Component error", "lower", "difference in the number of connected components"),
    "ece": Metric("Calibration error", "lower", "expected calibration error, 15 bins"),
    "brier": Metric("Brier score", "lower", "mean squared error of the probability"),
    "error_auroc": Metric("Error AUROC", "higher", "uncertainty (mask variance, or entropy) finds wrong pixels"),
    "error_auroc_mean": Metric("Error AUROC, standardised mean", "higher", "-|mean| / std finds wrong pixels"),
    "case_correlation": Metric("Case correlation", "higher", "uncertainty of the image against 1 - Dice"),
    "eikonal_error": Metric("Distance error", "lower", "| |grad| - 1 | of the sampled distance maps"),
    "ged": Metric("Energy distance", "lower", "squared generalised energy distance to the readers"),
}


def _spread(cases: list[dict[str, Any]], count: int) -> list[int]:
    """Test images from the worst to the best Dice, evenly."""
    order = sorted(range(len(cases)), key=lambda i: cases[i]["dice"])
    return [order[k] for k in np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))]


def _evaluate(config, constants, trained, splits, key) -> Evaluation:
    segmenter = _Segmenter(config, constants, trained)
    cases = _cases(config, segmenter, splits.test, key)
    metrics = _metrics(config, cases)
    shown = _spread(cases, 5)
    few = [cases[i]["image"] for i in shown[-3:]]
    times = np.asarray(_sampling(config).grid).tolist()
    way_key = jax.random.fold_in(key, len(splits.test))
    drawn = {
        "overview": figures.overview(cases, shown),
        "flow": figures.along_the_flow(segmenter.trajectories(way_key, few), few, times),
        "members": figures.members(cases, shown[:4], raters=splits.rater_names),
        "uncertainty": figures.uncertainty(cases),
        "failures": figures.failures(cases),
    }
    flow, unet_, single = metrics["flow_sdf"], metrics["unet"], metrics["flow_sdf_single"]
    headline = (
        f"Dice {flow['dice']:.3f} for the mean of {config.members} FlowSDF samples ({single['dice']:.3f} for one), "
        f"{unet_['dice']:.3f} for a deterministic U-Net of equal size; the uncertainty finds wrong pixels with AUROC "
        f"{flow['error_auroc']:.2f}."
    )
    if "ged" in flow:
        headline += f" Energy distance to the readers {flow['ged']:.3f}, U-Net {unet_['ged']:.3f}."
    return Evaluation(metrics, drawn, headline, DESCRIBE)


def _sample(config, constants, trained, splits, key, n) -> Evaluation:
    segmenter = _Segmenter(config, constants, trained)
    chosen = [splits.test[i % len(splits.test)] for i in range(n)]
    names = [str(splits.test.names[i % len(splits.test)]) for i in range(n)]
    images = [segmenter.scale(example["image"]) for example in chosen]
    ensembles = segmenter.ensembles(key, images)
    cases = [
        {"name": name, "image": image, "readers": masks_of(example), "member_masks": maps <= _threshold(config)}
        for name, image, example, maps in zip(names, images, chosen, ensembles, strict=True)
    ]
    drawn = {"samples": figures.members(cases, range(min(n, 8)), raters=splits.rater_names)}
    arrays = {f"distance_{i}": maps for i, maps in enumerate(ensembles)}
    return Evaluation(
        {"images": n, "members": config.members}, drawn, f"{n} images segmented", arrays=arrays, images=tuple(arrays)
    )


def _apply(config, constants, trained):
    segmenter = _Segmenter(config, constants, trained)

    def segment(key: jax.Array, image: np.ndarray) -> dict[str, np.ndarray]:
        if image.shape[-1] != constants["channels"]:
            raise ValueError(
                f"the run was trained on {constants['channels']} channels, this image has {image.shape[-1]}"
            )
        (maps,) = segmenter.ensembles(key, [segmenter.scale(image)], chunk=4)
        summary = summarise(jnp.asarray(maps), threshold=_threshold(config))
        probability = np.asarray(agreeing_probability(summary))
        return {
            "mask": np.asarray(summary.mask),
            "probability": probability,
            "uncertainty": probability * (1 - probability),
            "distance": np.asarray((summary.mean - _threshold(config)) * config.truncation),
        }

    return segment


SMALL = FlowSDFConfig(
    steps=800,
    batch_size=8,
    learning_rate=2e-3,
    warmup_steps=50,
    ema_decay=0.99,
    checkpoint_every=100,
    log_every=10,
)
SMOKE = dataclasses.replace(
    SMALL,
    steps=6,
    batch_size=2,
    size=64,
    test_images=4,
    chunk=4,
    image_channels=(12,),
    channels=(8,),
    baseline_channels=(8, 14),
    members=3,
    ode_steps=3,
    checkpoint_every=2,
    log_every=1,
)
FULL = FlowSDFConfig(
    data="",
    size=128,
    truncation=15.0,
    intensity="data",
    percentiles=(0.0, 100.0),
    quarter_turns=False,
    sigma_min=1e-5,
    prediction="velocity",
    repeats=1,
    network="segdiff",
    patch=1,
    channels=(128, 128, 256, 256, 512, 512),
    baseline_channels=(128, 128, 256, 256, 544, 544),
    blocks=3,
    attention=(3, 4),
    heads_width=512,
    adaptive=False,
    ode_steps=3,
    steps=500_000,
    batch_size=4,
    learning_rate=1e-4,
    warmup_steps=0,
    schedule="constant",
    optimizer="adam",
    ema_decay=0.999,
    precision="bfloat16",
    checkpoint_every=5000,
    log_every=100,
)

EXPERIMENT = before.experiment(
    name="flow_sdf",
    summary="Segmentation by flow matching on signed distance maps, with uncertainty, beside a U-Net",
    data="nuclei_dsb2018: 334 fluorescence images of nuclei, 128 pixels, CC0, shipped",
    presets={
        "smoke": SMOKE,
        "small": SMALL,
        "full": FULL,
        "full-glas": dataclasses.replace(FULL, sigma_min=1e-3, ema_decay=0.9999),
    },
    load=_load,
    measure=_measure,
    stages=(_stage("unet"), _stage("flow_sdf")),
    evaluate=_evaluate,
    sample=_sample,
    sample_flags={"sampler": "sampler", "steps": "ode_steps"},
    apply=_apply,
    baseline="unet",
    examples=_examples,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
