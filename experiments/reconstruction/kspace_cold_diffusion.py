"""K-space cold diffusion: columns that the scanner left out are put back one by one, with no noise anywhere.

    jaxgen run kspace_cold_diffusion                            # phantom brains with a smooth phase, computed
    jaxgen run kspace_cold_diffusion --data DATA                # your magnitude images: an npz, a folder, a TFDS name
    jaxgen apply runs/kspace_cold_diffusion scan.npz --out o    # your own k-space (array `kspace`, perhaps `mask`)

One network is trained for random columns at all accelerations. It is judged beside what it says at once (a supervised
reconstruction), the same with the measured columns put in, the zero-filled image, and total variation with a weight
chosen on validation images; and on equispaced columns, which it has never seen.

Shen et al. 2024, "Learning to reconstruct accelerated MRI through k-space cold diffusion without noise".
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.data import most_of
from jaxgen.data.kspace import read_kspace
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Metric, Reader, StageSpec
from jaxgen.imaging.augment import random_flip
from jaxgen.imaging.coils import root_sum_of_squares
from jaxgen.imaging.fourier import add_phase, centred_fft2, centred_ifft2, from_complex, to_complex
from jaxgen.imaging.mri import mri_operator
from jaxgen.imaging.sampling_masks import equispaced_mask, random_mask
from jaxgen.medical.reconstruction import kspace_cold_diffusion as cold
from jaxgen.medical.reconstruction.total_variation import total_variation
from jaxgen.metrics import psnr, ssim
from jaxgen.tasks import before
from jaxgen.tasks import figures as pictures
from jaxgen.tasks.best import highest
from jaxgen.tasks.old import images
from jaxgen.tasks.old.networks import UNetConfig, network
from jaxgen.train import Stage
from jaxgen.types import Array, Key, Params

CHANNELS = {"channels": 2}
"""The network's: real and imaginary part."""
MASKS = {"random": random_mask, "equispaced": equispaced_mask}
WEIGHTS = tuple(float(w) for w in np.geomspace(3e-4, 3e-2, 7))
"""Of total variation, in units of the largest magnitude, to choose from on validation images."""
METHODS = ("zero-filled", "total variation", "direct prediction", "direct, measured columns put in", "cold diffusion")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColdConfig(UNetConfig):
    """The configuration of `kspace_cold_diffusion`."""

    accelerations: tuple[int, ...] = option(
        (4, 8), "how many times fewer columns are measured: trained and judged on", ge=2, le=32, group="method"
    )
    phase: float = option(
        1.0, "deviation of the smooth random phase given to magnitude images, radians", ge=0, le=10, group="data"
    )
    restore_steps: int = option(0, "evaluations of a restoration (0: one a missing column)", ge=0, group="method")
    tv_iterations: int = option(200, "iterations of total variation", ge=1, group="judging")
    test_images: int = option(64, "test images to reconstruct", ge=2, group="judging")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        if max(self.accelerations) > self.size // 2:
            raise UserError(f"--accelerations must leave two of {self.size} columns, got {max(self.accelerations)}")


def _prepare(config: ColdConfig):
    """On the device: bytes to complex images with a phase, mirrored or not; colours are averaged."""

    def prepare(key, batch):
        flip_key, phase_key = draws.split(key, 2)
        batch = {"image": batch["image"].astype(jnp.float32).mean(-1, keepdims=True) / 255}
        batch = random_flip(flip_key, batch, axes=(1,), names=("image",)) if config.mirror else batch
        return {"image": add_phase(phase_key, batch["image"], config.phase)}

    return prepare


def _draw_mask(config: ColdConfig) -> Callable[[Key], Array]:
    """Random columns at one of the accelerations."""
    shape = (config.size, config.size)
    branches = [functools.partial(random_mask, shape=shape, acceleration=a) for a in config.accelerations]

    def draw(key: Key) -> Array:
        which_key, mask_key = jax.random.split(key)
        which = jax.random.randint(which_key, (), 0, len(branches))
        return jnp.stack([branch(mask_key) for branch in branches])[which]

    return draw


def _build(config: ColdConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
    shape = (config.size, config.size, 2)
    model = cold.kspace_cold_diffusion_model(
        network(config, CHANNELS), _draw_mask(config), shape, steps=config.restore_steps or config.size
    )
    return Stage("restorer", model, images.optimizers(config), config.steps, _prepare(config))


def _predictor(config: ColdConfig, params: Params, width: int) -> cold.Predict:
    """The trained network; images of other sizes are padded to what it can halve."""
    net = network(config, CHANNELS)
    multiple = config.patch * 2 ** (len(config.channels) - 1)

    def predict(x: Array, t: Array) -> Array:
        more = [-n % multiple for n in x.shape[1:3]]
        widths = [(0, 0), *((n // 2, n - n // 2) for n in more), (0, 0)]
        answer = net.apply(params, jnp.pad(x, widths), (t / width).astype(jnp.float32))
        first, left = more[0] // 2, more[1] // 2
        return answer[:, first : first + x.shape[1], left : left + x.shape[2]]

    return predict


def _restored(config: ColdConfig, params: Params, key: Key, kspace: Array, missing: int) -> dict[str, Array]:
    """What the network makes of k-space ``[b, h, w, 1]``, in its three ways."""
    measured = (jnp.abs(kspace) > 0).any((1, 3))
    predict, order = _predictor(config, params, kspace.shape[2]), cold.removal_order(key, measured)
    direct = cold.direct_prediction(predict, kspace, order)
    mended = jnp.where(measured[:, None, :, None], kspace, centred_fft2(to_complex(direct)[..., None]))
    steps = min(config.restore_steps, missing) or missing
    ways = (direct, from_complex(centred_ifft2(mended)[..., 0]), cold.restore(predict, kspace, order, steps=steps))
    return dict(zip(METHODS[2:], ways, strict=True))


def _magnitude(x: Array) -> Array:
    return jnp.sqrt(jnp.sum(x**2, -1, keepdims=True))


class _Judge:
    """Test images with a phase, and their reconstructions."""

    def __init__(self, config: ColdConfig, constants, trained, key):
        self.config, self._constants, self._params = config, constants, trained["restorer"]["net"]
        self._key = key

    def _keys(self, number: int, n: int) -> Array:
        return jax.random.split(jax.random.fold_in(self._key, number), n)

    def truth(self, source, number: int, most: int | None) -> np.ndarray:
        """Complex images ``[n, h, w, 2]`` of magnitude at most 1."""
        real = images.real_images(self.config, self._constants, source, most, dtype=np.uint8)["image"]
        x = jnp.asarray(real, jnp.float32).mean(-1, keepdims=True) / 255
        return np.asarray(add_phase(self._keys(number, len(x)), x, self.config.phase))

    def masks(self, family: str, acceleration: int, n: int) -> np.ndarray:
        """One mask an image, ``[n, h, w]``."""
        size = (self.config.size, self.config.size)
        return np.asarray(jax.vmap(lambda key: MASKS[family](key, size, acceleration))(self._keys(2, n)))

    def best_weight(self, mask: np.ndarray, x: np.ndarray) -> float:
        """The weight of total variation that is best on validation images."""

        @jax.jit
        def likeness(mask, x):
            operator = mri_operator(mask, channels=2)
            y = operator.forward(x)

            def one(weight):
                found = total_variation(operator, y, weight, iterations=self.config.tv_iterations, squared_norm=1.0)
                return psnr(_magnitude(found), _magnitude(x), data_range=1.0)

            return jax.lax.map(one, jnp.asarray(WEIGHTS)).T

        found = images.in_chunks(likeness, len(x), self.config.chunk, mask, x).mean(0)
        return highest(dict(zip(WEIGHTS, found.tolist(), strict=True)))

    def reconstruct(self, acceleration: int) -> Callable[[np.ndarray, np.ndarray, float], np.ndarray]:
        """``(mask [n, h, w], x, weight) -> [n, methods, h, w, 2]``: all of `METHODS`, in one program for all masks."""
        missing = self.config.size - round(self.config.size / acceleration)

        @jax.jit
        def every(params, weight, keys, mask, x):
            operator = mri_operator(mask, channels=2)
            y = operator.forward(x)
            found = {
                METHODS[0]: operator.adjoint(y),
                METHODS[1]: total_variation(
                    operator, y, weight, iterations=self.config.tv_iterations, squared_norm=1.0
                ),
                **_restored(self.config, params, keys, y, missing),
            }
            return jnp.stack([found[name] for name in METHODS], 1)

        def run(mask: np.ndarray, x: np.ndarray, weight: float) -> np.ndarray:
            program = functools.partial(every, self._params, weight)
            return images.in_chunks(program, len(x), self.config.chunk, self._keys(3, len(x)), mask, x)

        return run

    def way(self, mask: np.ndarray, restored: np.ndarray, parts: int = 8) -> list[np.ndarray]:
        """The first restorations at equal times from zero-filled to whole: as a column is filled once, degradations."""
        order = cold.removal_order(self._keys(3, len(mask)), jnp.asarray(mask[:, 0]))[: len(restored)]
        times = np.linspace(int(cold.columns_missing(order).max()), 0, parts).round().astype(int)
        return [np.asarray(cold.degrade(jnp.asarray(restored), order, int(t))) for t in times]


@jax.jit
def _scores(x: Array, truth: Array) -> tuple[Array, Array]:
    ours, want = _magnitude(x), _magnitude(truth)
    return jnp.mean(psnr(ours, want, data_range=1.0)), jnp.mean(ssim(ours, want, data_range=1.0))


def _grey(x: np.ndarray) -> np.ndarray:
    """Magnitudes for the figures, in [-1, 1]."""
    return 2 * np.clip(np.sqrt(np.sum(np.square(x), -1, keepdims=True)), 0, 1) - 1


def _evaluate(config: ColdConfig, constants, trained, splits, key) -> Evaluation:
    judge = _Judge(config, constants, trained, key)
    truth = judge.truth(splits.test, 0, most_of(config.data, config.test_images))
    validation = judge.truth(splits.validation, 1, min(32, config.test_images))
    metrics: dict[str, Any] = {name: {} for name in METHODS}
    figures = {}
    for acceleration in config.accelerations:
        weight = judge.best_weight(judge.masks("random", acceleration, len(validation)), validation)
        metrics[f"tv_weight_{acceleration}x"] = weight
        reconstruct = judge.reconstruct(acceleration)
        for family in MASKS:
            mask = judge.masks(family, acceleration, len(truth))
            found = reconstruct(mask, truth, weight)
            for i, name in enumerate(METHODS):
                peak, similarity = _scores(found[:, i], truth)
                metrics[name] |= {
                    f"psnr_{family}_{acceleration}x": float(peak),
                    f"ssim_{family}_{acceleration}x": float(similarity),
                }
            shown = {"truth": _grey(truth[:8])} | {name: _grey(found[:8, i]) for i, name in enumerate(METHODS)}
            caption = f"{acceleration} times fewer columns, {family}; magnitudes."
            figures[f"{family}_{acceleration}x"] = pictures.rows(shown, caption)
            if "along" not in figures:
                way = judge.way(mask, found[:3, -1])
                figures["along"] = pictures.rows(
                    {f"image {i + 1}": [_grey(x[i]) for x in way] for i in range(len(way[0]))},
                    f"Restorations on their way at {acceleration}x: columns are filled in, those measured stay.",
                )
    metrics["images"] = len(truth)
    parts = []
    for acceleration in config.accelerations:
        reached = {name: metrics[name][f"psnr_random_{acceleration}x"] for name in METHODS}
        parts.append(
            f"{acceleration}x: cold diffusion {reached['cold diffusion']:.2f} dB, direct prediction "
            f"{reached['direct prediction']:.2f} (measured columns put in {reached[METHODS[3]]:.2f}), total variation "
            f"{reached['total variation']:.2f}, zero-filled {reached['zero-filled']:.2f}"
        )
    describe = {}
    for family in MASKS:
        for acceleration in config.accelerations:
            words = f"{acceleration}x, {family} columns"
            describe[f"psnr_{family}_{acceleration}x"] = Metric(f"PSNR, {words}", "higher", "of magnitudes, dB")
            describe[f"ssim_{family}_{acceleration}x"] = Metric(f"SSIM, {words}", "higher", "of magnitudes")
    return Evaluation(metrics, figures, "; ".join(parts) + ".", describe)


def _apply(config: ColdConfig, constants, trained):
    """Restore k-space ``[h, w, coils]``: coils one by one, joined by the root of their sum of squares."""

    @functools.partial(jax.jit, static_argnames="missing")
    def run(params, key, kspace, missing):
        each = jnp.moveaxis(kspace, -1, 0)[..., None]
        keys = jnp.broadcast_to(key, each.shape[:1])  # one order for all coils
        found = _restored(config, params, keys, each, missing)
        found = {"zero_filled": from_complex(centred_ifft2(each)[..., 0])} | found
        return {name: root_sum_of_squares(jnp.moveaxis(to_complex(x), 0, -1)) for name, x in found.items()}

    def apply(key, kspace: np.ndarray) -> dict[str, np.ndarray]:
        there = (np.abs(kspace) > 0).any(-1)
        columns = there.any(0)
        if there[:, columns].mean() < 0.9:
            whole = there[there.any(1)].mean() > 0.9
            hint = "transpose it" if whole else "give another run one of its own kind"
            raise UserError(f"k-space is not measured in whole columns [:, j], as this method needs; {hint}")
        missing = int((~columns).sum())
        if missing == 0:
            raise UserError("k-space has all its columns: there is nothing to restore; give a mask of what to use")
        found = run(trained["restorer"]["net"], key, jnp.asarray(kspace), missing)
        names = {"reconstruction": "cold diffusion", "direct": "direct prediction", "zero_filled": "zero_filled"}
        return {name: np.asarray(found[method]) for name, method in names.items()}

    return apply


SMALL = ColdConfig(
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
    accelerations=(4,),
    tv_iterations=5,
    test_images=4,
    chunk=4,
    checkpoint_every=3,
    log_every=1,
)
FULL = ColdConfig(
    data="",
    size=320,
    channels=(64, 128, 256, 512),
    blocks=2,
    attention=(3,),
    patch=1,
    accelerations=(8,),
    phase=0.0,
    steps=700_000,
    batch_size=6,
    learning_rate=2e-5,
    schedule="constant",
    optimizer="adam",
    ema_decay=0.9995,
    mirror=False,
    tv_iterations=300,
    test_images=500,
    chunk=8,
    precision="bfloat16",
    checkpoint_every=5000,
    log_every=100,
)

EXPERIMENT = before.experiment(
    name="kspace_cold_diffusion",
    summary="MRI from few columns of k-space, put back one by one without noise, beside direct prediction and TV",
    data="phantom brains with a smooth phase, computed; or your magnitude images",
    presets={"smoke": SMOKE, "small": SMALL, "full": FULL},
    load=images.load_images,
    measure=images.measure_images,
    stages=(StageSpec("restorer", _build),),
    evaluate=_evaluate,
    apply=_apply,
    reader=Reader((".npz", ".h5"), read_kspace),
    baseline="total variation",
    examples=images.example_images,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
