"""What one trained diffusion model does to images: inversion, interpolation, SDEdit and inpainting, on one page.

    jaxgen run image_to_image                        # phantom brains, computed
    jaxgen run image_to_image --data DATA            # your images: an npz, a folder, a TFDS name

Each is measured beside what one would do without a model: pixel averages for interpolation, harmonic filling for
inpainting, the degraded image itself for SDEdit.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen import guidance as steering
from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.data import most_of
from jaxgen.experiment import Evaluation, Metric, StageSpec
from jaxgen.imaging.inpainting import harmonic_fill
from jaxgen.metrics import nearest_neighbours
from jaxgen.samplers import ddim, editing, grids, sample
from jaxgen.tasks import before
from jaxgen.tasks import figures as pictures
from jaxgen.tasks.old import denoisers, images
from jaxgen.tasks.old import sample_quality as judging
from jaxgen.train import Stage

FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageToImageConfig(denoisers.DenoiserConfig, images.JudgedConfig):
    """The configuration of `image_to_image`."""

    sampler_steps: int = option(50, "steps of DDIM from noise to image", ge=2, le=10_000, group="sampling")
    inversion_iterations: int = option(3, "fixed-point iterations of an exact inversion", ge=1, le=20, group="sampling")
    edit_times: tuple[float, ...] = option(
        (0.2, 0.4, 0.6, 0.8), "where SDEdit begins, from data at 0 to noise at 1", gt=0, le=1, group="sampling"
    )
    jump: int = option(5, "RePaint: steps to jump back", ge=1, group="sampling")
    resamples: int = option(4, "RePaint: how often each stretch is drawn", ge=1, group="sampling")
    test_images: int = option(32, "held-out images to edit", ge=4, group="judging")


def _build(config: ImageToImageConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
    model = denoisers.make_model(config, constants, steps=config.sampler_steps)
    return Stage("ddpm", model, images.optimizers(config), config.steps, images.prepare_images(config))


def psnr(x: np.ndarray, truth: np.ndarray, where: np.ndarray | None = None) -> float:
    """The mean over images of ``10 log10(4 / mean squared error)``: the values lie in [-1, 1]; `where` picks pixels."""
    error = (np.where(np.isfinite(x), np.clip(x, -1, 1), np.nan) - truth) ** 2
    weight = np.ones_like(error) if where is None else np.broadcast_to(where, error.shape)
    axes = tuple(range(1, error.ndim))
    mean = np.maximum((error * weight).sum(axes) / weight.sum(axes), 1e-10)
    return float(np.mean(10 * np.log10(4 / mean)))


class _Editor:
    """The trained model with what it can do to images ``[n, h, w, c]``."""

    def __init__(self, config: ImageToImageConfig, constants, trained):
        self.config, self.path = config, denoisers.make_path(config)
        self._params, self._constants = trained["ddpm"]["net"], constants

    def _run(self, function, key, *arrays):
        """``function(denoise, keys [b], *arrays)`` in chunks of one compiled program."""
        run = jax.jit(
            lambda params, *given: function(denoisers.denoise_with(self.config, self._constants, params), *given)
        )
        keys = jax.random.split(key, len(arrays[0]))
        return images.in_chunks(
            lambda *given: run(self._params, *given), len(arrays[0]), self.config.chunk, keys, *arrays
        )

    def invert(self, key, x, steps: int, iterations: int = 0) -> np.ndarray:
        grid = grids.uniform(self.path, steps)[::-1]
        step = editing.invert(self.path, iterations)
        return self._run(lambda denoise, keys, x: sample(step, denoise, keys, x, grid), key, x)

    def draw(self, key, noise, steps: int) -> np.ndarray:
        grid = grids.uniform(self.path, steps)
        return self._run(lambda denoise, keys, x: sample(ddim(self.path), denoise, keys, x, grid), key, noise)

    def edit(self, key, guide, begin: float) -> np.ndarray:
        path = self.path
        t = denoisers.time_at(path, begin)
        grid = grids.uniform(path, max(2, round(begin * self.config.sampler_steps)), start=t)
        step = ddim(path, eta=1.0)
        return self._run(lambda denoise, keys, x: editing.sdedit(step, path, denoise, keys, x, grid), key, guide)

    def inpaint(self, key, method: str, known, mask) -> np.ndarray:
        path, config = self.path, self.config
        step, grid = ddim(path, eta=1.0), grids.uniform(path, config.sampler_steps)
        if method == "RePaint":
            grid = grids.repaint(grid, config.jump, config.resamples)

        def run(denoise, keys, known):
            noise_keys, step_keys = draws.split(keys, 2)
            start = denoisers.starting_noise(path, noise_keys, known.shape)
            if method == "projection":
                return sample(step, steering.inpaint(denoise, known, mask), step_keys, start, grid)
            wrap = editing.repaint if method == "RePaint" else editing.replacement
            return sample(wrap(step, path, known, mask), denoise, step_keys, start, grid)

        return self._run(run, key, known)


def _hole(size: int) -> np.ndarray:
    """1 where known ``[h, w, 1]``: a square of half the side, off the centre, is missing."""
    mask = np.ones((size, size, 1), np.float32)
    first = size // 8
    mask[first : first + size // 2, size // 2 - size // 8 : size - size // 8] = 0
    return mask


def _degrade(x: np.ndarray, factor: int) -> np.ndarray:
    """Averages over blocks of ``factor`` pixels."""
    n, h, w, c = x.shape
    small = x.reshape(n, h // factor, factor, w // factor, factor, c).mean((2, 4))
    return small.repeat(factor, 1).repeat(factor, 2)


def _evaluate(config: ImageToImageConfig, constants, trained, splits, key) -> Evaluation:
    judge, editor = images.Judge(config, constants, trained), _Editor(config, constants, trained)
    real = judging.Real(config, constants, splits, judge)
    most = most_of(config.data, config.test_images)
    truth = images.real_images(config, constants, splits.test, most)["image"]
    reference = np.median(nearest_neighbours(judge.features(real.held_out), real.train_features)[0])

    def realism(x: np.ndarray) -> float:
        """Feature distance to the nearest training image, in units of a held-out image's."""
        features = judge.features(x)
        if judging.diverged(x) or judging.diverged(features):
            return float("nan")
        return float(np.median(nearest_neighbours(features, real.train_features)[0]) / reference)

    metrics: dict[str, Any] = {}
    keys = jax.random.split(key, 5)
    few, steps = truth[:6], config.sampler_steps
    round_trips = {"image": few}
    for name, iterations in (("inversion", 0), ("inversion, iterated", config.inversion_iterations)):
        latent = editor.invert(keys[0], truth, steps, iterations)
        back = editor.draw(keys[0], latent, steps)
        metrics[name] = {"psnr": psnr(back, truth), "latent_norm": float(np.sqrt(np.mean(latent**2)))}
        round_trips |= {f"noise of {name}": latent[:6] / 3, f"drawn from it ({name})": back[:6]}

    pairs = len(truth) // 2
    a, b = jnp.asarray(latent[: 2 * pairs : 2]), jnp.asarray(latent[1::2])
    left, right = truth[: 2 * pairs : 2], truth[1::2]
    between = {
        "slerp of the noise": [np.asarray(editing.slerp(a, b, f)) for f in FRACTIONS],
        "lerp of the noise": [np.asarray(editing.lerp(a, b, f)) for f in FRACTIONS],
    }
    ways = {name: [editor.draw(keys[1], x, steps) for x in way] for name, way in between.items()}
    ways["average of the pixels"] = [(1 - f) * left + f * right for f in FRACTIONS]
    middle = len(FRACTIONS) // 2
    for name, way in ways.items():
        metrics[name] = {"realism": realism(way[middle])}

    guide = _degrade(truth, max(2, config.size // 16))
    edits = {f"SDEdit from {t:g}": editor.edit(keys[2], guide, t) for t in config.edit_times}
    metrics["degraded image"] = {"psnr": psnr(guide, truth), "realism": realism(guide)}
    faithful = {}
    for name, x in edits.items():
        faithful[name] = psnr(_degrade(x, max(2, config.size // 16)), guide)
        metrics[name] = {"psnr": psnr(x, truth), "realism": realism(x), "faithfulness": faithful[name]}

    mask = _hole(config.size)
    filled = {"harmonic": np.asarray(harmonic_fill(jnp.asarray(truth * mask), jnp.asarray(mask)))}
    for name in ("projection", "replacement", "RePaint"):
        filled[name] = editor.inpaint(keys[3], name, truth * mask, mask)
    for name, x in filled.items():
        metrics[name] = {"psnr": psnr(x, truth, 1 - mask), "realism": realism(x)}
    metrics["images"] = len(truth)

    begins = list(config.edit_times)
    figures = {
        "inversion": pictures.rows(round_trips, "Images, the noise that DDIM inversion takes them to, and back."),
        "interpolation": pictures.rows(
            {name: [x[0] for x in way] + [x[1] for x in way] for name, way in ways.items()},
            "From one held-out image to another, two pairs.",
            heads=[f"{f:g}" for f in FRACTIONS] * 2,
        ),
        "sdedit": pictures.rows(
            {"image": few, "guide": guide[:6], **{name: x[:6] for name, x in edits.items()}},
            "SDEdit: the guide is a coarse image; the later it begins the more is invented.",
        ),
        "trade_off": pictures.curves(
            {
                "faithfulness: PSNR to the guide, dB / 10": (begins, [faithful[n] / 10 for n in edits]),
                "distance to the training images": (begins, [metrics[n]["realism"] for n in edits]),
            },
            "SDEdit: what is gained in realism is lost in faithfulness.",
            x="where SDEdit begins",
            y="",
            levels={"a held-out image": 1.0},
        ),
        "inpainting": pictures.rows(
            {"image": few, "known": (truth * mask - (1 - mask))[:6], **{n: x[:6] for n, x in filled.items()}},
            "Inpainting of the missing square.",
        ),
    }
    decibels = {name: metrics[name]["psnr"] for name in ("inversion", "inversion, iterated", *filled)}
    headline = (
        f"Inversion and back {decibels['inversion']:.1f} dB, iterated {decibels['inversion, iterated']:.1f}; "
        f"inpainting {decibels['RePaint']:.1f} dB by RePaint, {decibels['replacement']:.1f} by replacement, "
        f"{decibels['harmonic']:.1f} by harmonic filling."
    )
    return Evaluation(metrics, figures, headline, DESCRIBE)


DESCRIBE = {
    "psnr": Metric("PSNR", "higher", "dB to the true image; of inpainting in the hole alone"),
    "realism": Metric("Distance to real", "lower", "to the nearest training image, in features; held-out: 1"),
    "faithfulness": Metric("Faithfulness", "higher", "PSNR of the coarse result to the coarse guide, dB"),
    "latent_norm": Metric("Norm of the noise", "", "root mean square; 1 for normal noise"),
}

SMALL = ImageToImageConfig(
    steps=2000,
    batch_size=16,
    learning_rate=1e-3,
    warmup_steps=100,
    ema_decay=0.995,
    chunk=32,
    checkpoint_every=250,
    log_every=20,
)
SMOKE = dataclasses.replace(
    SMALL,
    steps=6,
    batch_size=4,
    size=16,
    channels=(8, 12),
    attention=(1,),
    samples=16,
    test_images=4,
    chunk=4,
    sampler_steps=4,
    inversion_iterations=1,
    edit_times=(0.5,),
    jump=2,
    resamples=2,
    judge_steps=6,
    judge_channels=(8,),
    checkpoint_every=3,
    log_every=1,
)
FULL = dataclasses.replace(
    SMALL,
    data="",
    size=256,
    path="linear",
    prediction="noise",
    channels=(128, 128, 256, 256, 512, 512),
    blocks=2,
    attention=(4,),
    head_width=512,
    adaptive=False,
    patch=1,
    sampler_steps=250,
    jump=10,
    resamples=10,
    steps=1_200_000,
    batch_size=64,
    learning_rate=2e-5,
    warmup_steps=5000,
    schedule="constant",
    optimizer="adam",
    ema_decay=0.9999,
    judge_steps=10_000,
    precision="bfloat16",
    checkpoint_every=5000,
    log_every=100,
)

EXPERIMENT = before.experiment(
    name="image_to_image",
    summary="Inversion, interpolation, SDEdit and inpainting with one trained model, on one page",
    data="phantom brains, computed; or your images",
    presets={"smoke": SMOKE, "small": SMALL, "full": FULL},
    load=images.load_images,
    measure=images.measure_images,
    stages=(images.JUDGE, StageSpec("ddpm", _build)),
    evaluate=_evaluate,
    baseline="harmonic",
    examples=images.example_images,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
