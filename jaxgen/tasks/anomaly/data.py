"""What the anomaly experiments share: healthy images to train on, lesions to find, learned references, and `apply`.

Phantoms, computed: brain slices in T2 with four kinds of lesions, and the healthy twin of each. Or images of a user:
with labels, one of which is that of healthy images (judged image by image), with masks of lesions (trained on images
whose mask is empty), or a folder of one npz a patient with ``volume [contrasts, x, y, z]`` and ``lesion [x, y, z]``.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.config import option
from jaxgen.data import ArraySource, Everything, Source, Splits, Subset, checks, measure_range
from jaxgen.data.arrays import npz_headers, read_npz
from jaxgen.data.checks import FOREGROUND, absent_foreground, apply_foreground, name_foreground, parse_foreground
from jaxgen.data.images import fit_shape, resize
from jaxgen.data.phantoms import Lesion, brain2d
from jaxgen.data.source import identity
from jaxgen.errors import UserError
from jaxgen.experiment import StageSpec
from jaxgen.families import denoising_autoencoder_model, gaussian_likelihood, vae_model
from jaxgen.families.vae import posterior
from jaxgen.imaging.augment import random_flip
from jaxgen.imaging.noise import coarse_noise
from jaxgen.medical import anomaly
from jaxgen.nets import decoder, encoder
from jaxgen.tasks.old import images
from jaxgen.tasks.old.networks import UNetConfig, network
from jaxgen.train import Stage
from jaxgen.types import Net

PHANTOM = "brain2d"
FLOOR = -0.98
"""What is above it is foreground: a hundredth of the range."""
HEADROOM = 0.25
"""Of the range of healthy values, above it."""
RESIDUALS: dict[str, anomaly.Residual] = {
    "absolute": anomaly.absolute_residual,
    "brighter": anomaly.brighter_residual,
    "darker": lambda x, restored: anomaly.brighter_residual(restored, x),
}
"""What counts as a change, by the name of `--residual`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnomalyConfig(UNetConfig):
    """The options of every anomaly experiment."""

    data: str = option(
        PHANTOM, f"data: {PHANTOM} (phantoms in T2), a .npz or folder with labels or masks, or patients", group="data"
    )
    healthy: str = option("notumor", "the label of healthy images, where data have labels", group="data")
    foreground: str | int = option("binary", FOREGROUND, group="data")
    contrast: str = option("FLAIR", "the contrast to use of patients with several", group="data")
    test_patient: int = option(0, "which patient of a folder is held out for the test", ge=0, group="data")
    mirror: bool = option(False, "mirror training images left to right at random", group="data")
    phantoms: int = option(2000, "healthy phantoms to train on", ge=8, group="data")

    channels: tuple[int, ...] = option((16, 32, 64), "widths of the U-Net's levels", ge=4, group="network")
    attention: tuple[int, ...] | None = option(None, "levels with self-attention, 0 the finest", ge=0, group="network")
    patch: int = option(1, "fold blocks of so many pixels into channels first", ge=1, le=16, group="network")

    lesions: int = option(200, "phantoms of each kind of lesion to judge on", ge=2, group="judging")
    chosen_on: int = option(100, "validation images with artificial anomalies, to choose on", ge=2, group="judging")
    erosion: int = option(0, "layers of pixels taken off the foreground before judging", ge=0, group="judging")
    residual: Literal["absolute", "brighter", "darker"] = option(
        "absolute",
        "what counts: any change, or only what is brighter (lesions in FLAIR) or darker than restored",
        group="judging",
    )
    median: int = option(3, "width of the median that cleans the maps, odd", ge=1, group="judging")
    reference_steps: int = option(
        1000, "training steps of the coarse denoising autoencoder beside; 0 for none", ge=0, group="judging"
    )
    vae_steps: int = option(
        0, "training steps of the variational autoencoder beside; 0 for none", ge=0, group="judging"
    )
    vae_code: int = option(64, "numbers in its code", ge=1, group="judging")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        object.__setattr__(self, "foreground", str(parse_foreground(self.foreground)))
        if self.median % 2 == 0:
            raise UserError(f"--median must be odd, got {self.median}")


# Data


class Drawn(ArraySource):
    """Phantoms: of the size asked for and in [-1, 1] already."""


def phantoms(
    config: AnomalyConfig, n: int, part: int, lesion: Lesion | None = None, *, first: int = 0
) -> dict[str, np.ndarray]:
    """T2 slices of a part of the set, with masks and healthy twins; values 0 to about 1 become -1 to about 1."""
    draw = functools.partial(brain2d, 4 * config.seed + part, size=config.size, contrast="t2", lesion=lesion)
    with ThreadPoolExecutor(2) as pool:
        drawn = list(pool.map(draw, range(first, first + n)))
    stacked = {name: np.stack([example[name] for example in drawn]) for name in ("image", "healthy", "mask")}
    return stacked | {name: (2 * stacked[name] - 1).astype(np.float32) for name in ("image", "healthy")}


def load_data(config: AnomalyConfig) -> Splits:
    """Train and validation hold healthy images alone, test all there are; of other data they are empty."""
    if config.data == PHANTOM:
        few = max(8, config.phantoms // 10)
        counts = (config.phantoms, few, few)
        parts = [Drawn({"image": phantoms(config, n, part)["image"]}) for part, n in enumerate(counts)]
        return Splits(parts[0], parts[1], parts[2], name=PHANTOM, origin="computed", licence="CC0-1.0")
    folder = Path(config.data).expanduser()
    if folder.is_dir() and _patients(folder):
        return _load_patients(config, folder)
    splits = images.open_images(config, ("image",), ("label", "mask"), config.foreground)
    whole = isinstance(config.data, Everything)
    example = splits.test[0]
    if "label" in example:
        if not whole and config.healthy not in splits.label_names:
            known = ", ".join(splits.label_names)
            raise UserError(f"--healthy {config.healthy}: {config.data} has no such label; it has {known}")
    elif "mask" not in example:
        raise UserError(f"--data {config.data}: it has neither labels nor masks, so that nobody knows what is healthy")

    if whole:
        return splits

    def is_healthy(example: Mapping[str, np.ndarray]) -> bool:
        if "label" in example:
            return splits.label_names[int(example["label"])] == config.healthy
        return not example["mask"].any()

    def healthy(source: Source) -> Source:
        return Subset(source, [i for i in range(len(source)) if is_healthy(source[i])])

    train, validation = healthy(splits.train), healthy(splits.validation)
    if not len(train) or not len(validation):
        raise UserError(f"--data {config.data}: it has no healthy image to learn from")
    return splits._replace(train=train, validation=validation)


def _patients(folder: Path) -> list[Path]:
    """The files of one patient each, or none."""

    def fits(path: Path) -> bool:
        with checks.reading(path, "npz"):
            return {"volume", "lesion"} <= set(npz_headers(path))

    files = sorted(folder.glob("*.npz"))
    return files if files and all(fits(path) for path in files) else []


def _load_patients(config: AnomalyConfig, folder: Path) -> Splits:
    """Axial slices with enough brain: healthy ones of all patients but one, and all of that one."""
    files, whole = _patients(folder), isinstance(config.data, Everything)
    if not whole and (len(files) < 2 or config.test_patient >= len(files)):
        raise UserError(
            f"--test-patient {config.test_patient}: {folder} has {len(files)} patients, and needs 2 at least"
        )

    foreground = name_foreground(config.foreground, {}, folder)
    values: set[int] = set()

    def slices(path: Path) -> dict[str, np.ndarray]:
        with checks.reading(path, "npz"):
            wanted = {"volume", "lesion", "channels"} & set(npz_headers(path))
            file = read_npz(path, wanted)
        volume, lesion = file["volume"], file["lesion"]
        names = [str(name) for name in file["channels"]] if "channels" in file else []
        if volume.ndim == 4:
            if config.contrast not in names:
                raise UserError(
                    f"--contrast {config.contrast}: {path} has {', '.join(names) or 'no names of contrasts'}"
                )
            volume = volume[names.index(config.contrast)]
        image, mask = np.moveaxis(volume, -1, 0)[..., None], np.moveaxis(lesion, -1, 0)
        kept = (image > 0).mean((1, 2, 3)) > 0.15
        values.update(np.unique(mask).astype(int).tolist())
        mask = apply_foreground(mask[kept], "any" if foreground == "binary" else foreground, path)
        return {"image": image[kept], "mask": mask}

    if whole:
        parts = [slices(path) for path in files]
        everyone = ArraySource({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
        nobody = Subset(everyone, [])
        return Splits(nobody, nobody, everyone, name=folder.name, origin=f"folder {folder}")
    test = slices(files[config.test_patient])
    rest = [slices(path) for i, path in enumerate(files) if i != config.test_patient]
    if isinstance(foreground, int) and foreground not in values:
        raise absent_foreground(foreground, values, folder)
    joined = {name: np.concatenate([part[name] for part in rest]) for name in test}
    well = np.flatnonzero(~joined["mask"].any((1, 2)))
    if len(well) < 8:
        raise UserError(f"{folder}: {len(well)} slices without a lesion are too few to learn from; 8 are the least")
    # Neighbouring slices are alike: validation slices are a stretch, not every tenth.
    held = np.arange(len(well)) // min(8, len(well) // 8) % 8 == 7
    train, validation = (ArraySource({n: a[well[part]] for n, a in joined.items()}) for part in (~held, held))
    return Splits(train, validation, ArraySource(test), name=folder.name, origin=f"folder {folder}")


def measure_data(config: AnomalyConfig, splits: Splits) -> dict[str, Any]:
    """What the range of raw values is, and how many channels there are.

    Values out of the range are cut off, and a lesion may be brighter than anything healthy: there is room above.
    """
    if config.data == PHANTOM:
        return {"value_range": [[0.0], [1.0]], "channels": 1, "classes": []}
    home = identity(splits.train)
    example = splits.train[0]["image"]
    low, high = (np.array(bound) for bound in measure_range(splits.train))
    high = high + HEADROOM * (high - low)
    if example.dtype == np.uint8:
        high = np.minimum(high, 255.0)
    measured = {"value_range": [low.tolist(), high.tolist()], "channels": int(example.shape[-1])}
    return {**measured, "classes": [], "home": home}


def is_home(constants: Mapping[str, Any], splits: Splits) -> bool:
    """Whether a run was trained on these training images: its baselines may be fitted to no others."""
    return isinstance(splits.train, Drawn) or constants.get("home") == identity(splits.train)


def prepared(config: AnomalyConfig, constants: Mapping[str, Any], source: Source, most: int | None = None) -> dict:
    """Images of one size in [-1, 1] (phantoms are so already) with their labels and masks."""
    if isinstance(source, Drawn):
        return {"image": source.arrays["image"][:most]}
    return images.real_images(config, constants, source, most)


def examples(config: AnomalyConfig, constants: Mapping[str, Any], splits: Splits) -> ArraySource:
    """What training is fed."""
    return ArraySource({"image": prepared(config, constants, splits.train)["image"]})


def prepare(config: AnomalyConfig):
    """What is done to a batch on the device."""
    return lambda key, batch: random_flip(key, batch, axes=(1,), names=("image",)) if config.mirror else batch


# Methods

Found = tuple[np.ndarray, np.ndarray | None]
Method = Callable[[np.ndarray], Found]
"""``images [n, h, w, c] -> (map [n, h, w], healthy versions of the images, or None)``.

A map is 0 or more, since what lies outside of the foreground is 0, and that of an image is the same in any set.
"""


def by_map(detect: anomaly.Detector, *, lowest: float = -1.0) -> Method:
    """A method that gives a map alone, counted from the least value that it can have: -1 for values of images."""
    return lambda x: (np.maximum(np.asarray(detect(x)) - lowest, 0), None)


def by_residual(config: AnomalyConfig, restore: Callable[[np.ndarray], np.ndarray]) -> Method:
    """The residual of what a model restores."""

    def method(x: np.ndarray) -> Found:
        restored = restore(x)
        return RESIDUALS[config.residual](x, restored), restored

    return method


def cleaned(config: AnomalyConfig, raw: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A method's map of images ``x``, as it is evaluated and as `jaxgen apply` writes it."""
    within = anomaly.erode(anomaly.foreground(x, FLOOR), config.erosion)
    return anomaly.clean(raw, within, width=config.median)


# What every method is beside: a coarse denoising autoencoder, and a variational one


def reference_stage(config: AnomalyConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
    """A network that learns to take coarse noise away (Kascenas et al. 2022)."""

    def corrupt(key, x):
        noise = 0.4 * coarse_noise(key, x.shape, max(1, config.size // 8))
        return jnp.where((x > FLOOR).any(-1, keepdims=True), x + noise, x)

    model = denoising_autoencoder_model(network(config, constants), corrupt)
    steps = config.reference_steps
    return Stage("reference", model, images.optimizers(config, steps), steps, prepare(config))


def _vae(config: AnomalyConfig, constants: Mapping[str, Any]) -> tuple[Net, Net]:
    sides = (config.size, config.size)
    return (
        encoder(2 * config.vae_code, channels=config.channels, patch=config.patch, vector=True),
        decoder(constants["channels"], channels=config.channels, patch=config.patch, spatial=sides),
    )


def vae_stage(config: AnomalyConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
    """A variational autoencoder with a learned deviation."""
    model = vae_model(*_vae(config, constants), (config.vae_code,), gaussian_likelihood())
    made = images.optimizers(config, config.vae_steps)["net"]
    return Stage("vae", model, dict.fromkeys(("encoder", "decoder", "law"), made), config.vae_steps, prepare(config))


def learned(config: AnomalyConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> dict[str, Method]:
    """The learned references that were trained beside."""
    found: dict[str, Method] = {}
    if "reference" in trained:
        net, weights = network(config, constants), trained["reference"]["net"]
        found["coarse autoencoder"] = by_residual(config, _in_chunks(config, lambda p, x: net.apply(p, x), weights))
    if "vae" in trained:
        encode, decode = _vae(config, constants)

        def through(params, x):
            return decode.apply(params["decoder"], posterior(encode, params["encoder"], x)[0])

        found["vae"] = by_residual(config, _in_chunks(config, through, trained["vae"]))
    return found


def _in_chunks(config: AnomalyConfig, function: Callable, params) -> Callable[[np.ndarray], np.ndarray]:
    run = jax.jit(function)
    return lambda x: images.in_chunks(lambda x: run(params, x), len(x), config.chunk, x)


REFERENCES = (
    StageSpec("reference", reference_stage, lambda config: config.reference_steps > 0),
    StageSpec("vae", vae_stage, lambda config: config.vae_steps > 0),
)
"""The stages of the learned references."""


# Files of a user


def applied(config: AnomalyConfig, constants: Mapping[str, Any], score: Callable):
    """`jaxgen apply`: the map of anomalies of one image, and what it would be were it healthy.

    ``score(key, x [1, h, w, c]) -> (map [1, h, w], restored [1, h, w, c])``.
    """
    low, high = (np.asarray(bound, np.float32) for bound in constants["value_range"])

    def apply(key: jax.Array, image: np.ndarray) -> dict[str, np.ndarray]:
        if image.shape[-1] != constants["channels"]:
            raise ValueError(
                f"the run was trained on {constants['channels']} channels, this image has {image.shape[-1]}"
            )
        sides = (config.size, config.size)
        whole = fit_shape(np.asarray(image), sides, "pad", low)
        x = _to_unit(resize(whole, sides), low, high)
        x = (x if config.data == PHANTOM else np.clip(x, -1, 1))[None]  # as in an evaluation
        found, restored = (np.asarray(part) for part in score(key, x))
        found = cleaned(config, found, x)
        maps = {"anomaly": found[0], "restored": ((restored[0] + 1) / 2 * (high - low) + low)[..., 0]}
        return {name: _back(value, whole.shape[:-1], image.shape[:-1]) for name, value in maps.items()}

    return apply


def _to_unit(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Low goes to -1 and high to 1; a channel that has one value alone is 0."""
    width = np.where(high > low, high - low, 1)
    return np.where(high > low, 2 * (x - low) / width - 1, 0).astype(np.float32)


def _back(value: np.ndarray, padded: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    """A map in the size of the image it belongs to, without the padding."""
    value = resize(value[..., None].astype(np.float32), padded)[..., 0]
    starts = [(p - n) // 2 for p, n in zip(padded, shape, strict=True)]
    return value[tuple(slice(s, s + n) for s, n in zip(starts, shape, strict=True))]
