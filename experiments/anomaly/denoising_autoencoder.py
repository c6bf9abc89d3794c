"""Denoising autoencoders: noise taken away, and lesions found as what coarse noise taught the network to repair.

    jaxgen run denoising_autoencoder                          # phantom brains in T2, computed, with lesions to find
    jaxgen run denoising_autoencoder --cells 4                # another coarseness
    jaxgen run denoising_autoencoder --data DATA              # your images: denoising only

Two networks are trained on healthy images: one on white noise, one on coarse noise (or simplex noise, or blocks left
out). Both are judged on white noise, beside Gaussian and median filters whose width is chosen on validation images;
and on four kinds of lesions, beside an intensity threshold, a map of z-scores and principal components.

Vincent et al. 2008; Kascenas et al. 2022, "Denoising autoencoders for unsupervised anomaly detection in brain MRI".
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from jaxgen import draws
from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.data import ArraySource, Splits, measure_range, most_of, resized
from jaxgen.data.phantoms import LESIONS, brain2d
from jaxgen.experiment import Evaluation, Figure, Metric, StageSpec
from jaxgen.families import denoising_autoencoder_model
from jaxgen.imaging.augment import random_flip
from jaxgen.imaging.noise import coarse_noise, mask_blocks, simplex_noise
from jaxgen.medical import anomaly
from jaxgen.tasks import autoencoding as reconstruction
from jaxgen.tasks import before
from jaxgen.tasks import figures as pictures
from jaxgen.tasks.best import lowest
from jaxgen.tasks.old import images
from jaxgen.tasks.old.networks import UNetConfig, network
from jaxgen.train import Stage
from jaxgen.types import Array, Key

PHANTOM = "brain2d"
COMPONENTS = (32, 128)
FLOOR = -0.98
"""What is above it is foreground: a hundredth of the range."""
GAUSSIANS = (0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.5, 2.0)
MEDIANS = (3, 5, 7)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenoisingConfig(UNetConfig):
    """The configuration of `denoising_autoencoder`."""

    data: str = option(PHANTOM, f"data: {PHANTOM} (phantoms in T2), a folder, a TFDS name or a .npz", group="data")
    channels: tuple[int, ...] = option((16, 32, 64), "widths of the U-Net's levels", ge=4, group="network")
    attention: tuple[int, ...] | None = option(None, "levels with self-attention, 0 the finest", ge=0, group="network")
    patch: int = option(1, "fold blocks of so many pixels into channels first", ge=1, le=16, group="network")

    noise: Literal["coarse", "simplex", "blocks"] = option(
        "coarse", "what teaches the second network to repair", group="method"
    )
    deviation: float = option(0.2, "deviation of the noise, as a share of the range of values", gt=0, group="method")
    cells: int = option(8, "nodes of the coarse noise along one side", ge=1, group="method")
    wavelength: float = option(16.0, "of the first octave of the simplex noise, pixels", gt=0, group="method")
    block: int = option(8, "side of the blocks left out, pixels", ge=1, group="method")
    left_out: float = option(0.25, "share of the blocks left out", ge=0, le=1, group="method")
    samples: int = option(256, "test images to judge on", ge=8, group="judging")
    phantoms: int = option(2000, "healthy phantoms to train on", ge=8, group="data")
    lesions: int = option(200, "phantoms of each kind of lesion to judge on", ge=2, group="judging")
    foreground_only: bool = option(True, "noise only where an image is above its floor", group="method")


class Drawn(ArraySource):
    """Phantoms: of the size asked for and in [-1, 1] already."""


def _phantoms(config: DenoisingConfig, n: int, part: int, lesion: str | None = None) -> dict[str, np.ndarray]:
    """T2 slices; values 0 to about 1 become -1 to about 1, and brighter ones are kept."""
    kind = None if lesion is None else LESIONS[lesion]
    draw = functools.partial(brain2d, 4 * config.seed + part, size=config.size, contrast="t2", lesion=kind)
    with ThreadPoolExecutor(2) as pool:
        drawn = list(pool.map(draw, range(n)))
    image = np.stack([2 * example["image"] - 1 for example in drawn]).astype(np.float32)
    return {"image": image, "mask": np.stack([example["mask"] for example in drawn])}


def _load(config: DenoisingConfig) -> Splits:
    if config.data != PHANTOM:
        return images.open_images(config, ("image",))
    few = max(8, config.phantoms // 10)
    counts = (config.phantoms, few, few)
    train, validation, test = (Drawn(_phantoms(config, n, part)) for part, n in enumerate(counts))
    return Splits(train, validation, test, name=PHANTOM, origin="computed", licence="CC0-1.0")


def _measure(config: DenoisingConfig, splits: Splits) -> dict[str, Any]:
    if config.data == PHANTOM:
        return {"value_range": [[-1.0], [1.0]], "channels": 1, "classes": []}
    bounds = [list(bound) for bound in measure_range(splits.train)]
    return {"value_range": bounds, "channels": int(splits.train[0]["image"].shape[-1]), "classes": []}


def _images(config: DenoisingConfig, constants: Mapping[str, Any], source) -> ArraySource:
    if isinstance(source, Drawn):
        return ArraySource({"image": source.arrays["image"]})
    return resized(source, config.size, constants["value_range"])


def _foreground(x):
    """Where any channel is more than a hundredth of the range above its floor: ``[b, *spatial, 1]``."""
    return (x > FLOOR).any(-1, keepdims=True)


def _corrupt(config: DenoisingConfig, name: str) -> Callable[[Key, Array], Array]:
    """Noise of a share of the range, which is 2."""

    def white(key: Key, x: Array) -> Array:
        return x + 2 * config.deviation * draws.normal(key, x.shape)

    def coarse(key: Key, x: Array) -> Array:
        return x + 2 * config.deviation * coarse_noise(key, x.shape, config.cells)

    def simplex(key: Key, x: Array) -> Array:
        return x + 2 * config.deviation * simplex_noise(key, x.shape, wavelength=config.wavelength)

    def blocks(key: Key, x: Array) -> Array:
        return mask_blocks(key, x, config.left_out, block=config.block, value=-1.0)

    chosen = {"white": white, "coarse": coarse, "simplex": simplex, "blocks": blocks}[name]
    if not config.foreground_only:
        return chosen
    return lambda key, x: jnp.where(_foreground(x), chosen(key, x), x)


def _prepare(config: DenoisingConfig):
    def prepare(key, batch):
        return random_flip(key, batch, axes=(1,), names=("image",)) if config.mirror else batch

    return prepare


def _stage(stage: str):
    def build(config: DenoisingConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
        noise = "white" if stage == "denoiser" else config.noise
        model = denoising_autoencoder_model(
            network(config, constants),
            _corrupt(config, noise),
        )
        return Stage(stage, model, images.optimizers(config), config.steps, _prepare(config))

    return build


def _restoring(config: DenoisingConfig, constants, params) -> Callable[[np.ndarray], np.ndarray]:
    net = network(config, constants)
    return lambda x: reconstruction.in_chunks(config, lambda x: net.apply(params, x), x)


def _smooth(x: np.ndarray, deviation: float) -> np.ndarray:
    return ndimage.gaussian_filter(x, (0, deviation, deviation, 0))


def _median(x: np.ndarray, width: int) -> np.ndarray:
    return ndimage.median_filter(x, (1, width, width, 1))


def _tuned(make: Callable, widths, noisy: np.ndarray, clean: np.ndarray) -> tuple[Callable, float]:
    """The filter of the width that is best on validation images."""
    best = lowest({width: float(np.square(make(noisy, width) - clean).mean()) for width in widths})
    return lambda x: make(x, best), best


def _detectors(config: DenoisingConfig, train: np.ndarray, restorers: Mapping[str, Callable]) -> dict[str, Callable]:
    """Scores of pixels ``[n, h, w]``, 0 or more, of images ``[n, h, w, c]``: the networks, and what they must beat."""
    found: dict[str, Callable] = {"intensity": lambda x: anomaly.intensity(x) + 1, "z-scores": anomaly.z_map(train)}
    found |= {f"pca-{count}": anomaly.principal_residual(train, count) for count in COMPONENTS}
    for name, restore in restorers.items():
        found[name] = lambda x, restore=restore: anomaly.absolute_residual(x, restore(x))
    return found


def _anomalies(config: DenoisingConfig, train: np.ndarray, restorers) -> tuple[dict[str, dict[str, float]], Figure]:
    metrics: dict[str, dict[str, float]] = {}
    shown: dict[str, list[np.ndarray]] = {"image": [], "lesion": []}
    detectors = _detectors(config, train, restorers)
    for kind in LESIONS:
        drawn = _phantoms(config, config.lesions, 3, kind)
        x, mask = drawn["image"], drawn["mask"]
        for j in range(2):
            shown["image"].append(x[j])
            shown["lesion"].append(2.0 * mask[j][..., None] - 1)
        for name, detect in detectors.items():
            score = anomaly.clean(detect(x), anomaly.foreground(x, FLOOR))
            judged = anomaly.evaluate_detection(score, mask)
            found = {f"ap_{kind}": judged.average_precision, f"dice_{kind}": judged.best_dice}
            metrics[name] = metrics.get(name, {}) | found
            high = float(np.quantile(score[score > 0], 0.999)) if (score > 0).any() else 1.0
            shown.setdefault(name, []).extend(2 * np.clip(score[:2, ..., None] / high, 0, 1) - 1)
    heads = [f"{kind} {j + 1}" for kind in LESIONS for j in range(2)]
    caption = "Lesions, and the score of each method: bright where it sees one."
    return metrics, pictures.rows(shown, caption, heads=heads)


def _evaluate(config: DenoisingConfig, constants, trained, splits, key) -> Evaluation:
    names = {"denoiser": "white noise", "restorer": f"{config.noise} noise"}
    restorers = {names[stage]: _restoring(config, constants, trained[stage]["net"]) for stage in names}
    train, validation = (
        _images(config, constants, part).arrays["image"][: reconstruction.MOST_TRAIN]
        for part in (splits.train, splits.validation)
    )
    most = most_of(config.data, min(config.samples, reconstruction.MOST_TRAIN))
    test = _images(config, constants, splits.test).arrays["image"][:most]
    white = jax.jit(_corrupt(config, "white"))

    def noisy(x: np.ndarray, number: int) -> np.ndarray:
        keys = jax.random.split(jax.random.fold_in(key, number), len(x))
        return images.in_chunks(white, len(x), config.chunk, keys, x)

    noisy_validation, noisy_test = noisy(validation, 0), noisy(test, 1)
    gaussian, deviation = _tuned(_smooth, GAUSSIANS, noisy_validation, validation)
    median, width = _tuned(_median, MEDIANS, noisy_validation, validation)
    restored = {"noisy": noisy_test, "gaussian filter": gaussian(noisy_test), "median filter": median(noisy_test)}
    restored |= {name: restore(noisy_test) for name, restore in restorers.items()}
    metrics: dict[str, Any] = {name: reconstruction.likeness(x, test) for name, x in restored.items()}
    caption = f"White noise of {config.deviation:g} of the range, and what each method makes of it."
    figures = {"denoising": reconstruction.reconstructions(test, restored, caption)}
    ours = metrics["white noise"]["psnr"]
    best = max(metrics["gaussian filter"]["psnr"], metrics["median filter"]["psnr"])
    headline = f"White noise taken away: {ours:.2f} dB, by the best filter {best:.2f} dB."
    if config.data == PHANTOM:
        found, figures["anomalies"] = _anomalies(config, train, restorers)
        for name, numbers in found.items():
            metrics[name] = metrics.get(name, {}) | numbers
        chosen = names["restorer"]
        headline += f" Lesions by {chosen}, average precision (best of the baselines): " + ", ".join(
            f"{kind} {metrics[chosen][f'ap_{kind}']:.3f} "
            f"({max(metrics[name][f'ap_{kind}'] for name in found if name not in restorers):.3f})"
            for kind in LESIONS
        )
        headline += "."
    metrics |= {"gaussian_deviation": deviation, "median_width": width, "images": len(test)}
    return Evaluation(metrics, figures, headline, DESCRIBE)


DESCRIBE = {
    **reconstruction.DESCRIBE,
    **{
        f"ap_{kind}": Metric(f"AP, {kind}", "higher", f"average precision of lesion pixels: {words}")
        for kind, words in {"L1": "bright", "L2": "faint", "L3": "small", "L4": "as bright as grey matter"}.items()
    },
    **{
        f"dice_{kind}": Metric(f"Best Dice, {kind}", "higher", "at the best threshold of the test set: an upper bound")
        for kind in LESIONS
    },
}

SMALL = DenoisingConfig(
    steps=1000,
    batch_size=8,
    learning_rate=1e-3,
    warmup_steps=50,
    ema_decay=0.995,
    checkpoint_every=250,
    log_every=20,
)
SMOKE = dataclasses.replace(
    SMALL,
    steps=6,
    batch_size=4,
    size=16,
    channels=(8,),
    cells=4,
    phantoms=40,
    lesions=4,
    samples=16,
    chunk=16,
    checkpoint_every=3,
    log_every=1,
)
FULL = DenoisingConfig(
    data="",
    size=128,
    channels=(64, 128, 256, 512),
    blocks=2,
    cells=16,
    steps=67_200,
    batch_size=16,
    learning_rate=1e-4,
    weight_decay=1e-5,
    mirror=False,
    ema_decay=0.999,
    samples=2000,
    precision="bfloat16",
    checkpoint_every=2000,
    log_every=100,
)

EXPERIMENT = before.experiment(
    name="denoising_autoencoder",
    summary="Noise taken away, and lesions found by a network that learned to repair coarse noise",
    data="phantom brains in T2, computed, and four kinds of lesions; or your images, denoising only",
    presets={"smoke": SMOKE, "small": SMALL, "full": FULL},
    load=_load,
    measure=_measure,
    stages=(StageSpec("denoiser", _stage("denoiser")), StageSpec("restorer", _stage("restorer"))),
    evaluate=_evaluate,
    baseline="gaussian filter",
    examples=lambda config, constants, splits: _images(config, constants, splits.train),
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
