"""Translation: the options, data, facts and training that its experiments share."""

import dataclasses
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.config import option
from jaxgen.data import ArraySource, Source, Splits, Subset, measure_range, most_of, resized
from jaxgen.data.domains import Domain, Held, is_paired, load_domains
from jaxgen.data.everything import without_blank
from jaxgen.data.mismatched import misaligned, unpaired
from jaxgen.data.source import evenly_spaced
from jaxgen.experiment import Run
from jaxgen.imaging.augment import random_flip
from jaxgen.tasks import images, networks
from jaxgen.types import Batch, Key

MOST_FITTED = 500
"""Training images that lookup tables, histograms and features are fitted to."""
PIECE, VOLUMES = 64, 4
"""Images, and volumes, that are held at once as they come."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TranslationConfig(networks.UNetConfig):
    """The options of every translation experiment."""

    data: str = option(
        "contrast_phantom", "pairs: a name, a folder with source/ and target/, or an npz with sources and images",
        group="data",
    )  # fmt: skip
    unpaired: bool = option(
        False, "train without pairs; folders may then hold different subjects under any names", group="data"
    )
    generator: Literal["unet", "skip"] = option(
        "unet", "network of direct methods: the U-Net, or that of pix2pix with these --channels", group="network"
    )
    reverse: bool = option(False, "translate from target to source", group="data")
    test_images: int = option(256, "test images to evaluate at most, evenly spaced", ge=2, group="evaluation")

    @property
    def sides(self) -> int | tuple[int, ...]:
        """What images are brought to: pixels of a side, or of volumes one number per axis."""
        return self.size


@dataclasses.dataclass(frozen=True, kw_only=True)
class TranslationFacts(images.ImageFacts):
    """What translating must know of the training images; `value_range` and `image_channels` are those of targets.

    Attributes:
        source_range: lowest and highest raw value of each channel of sources, ``(low, high)``.
        source_channels: their number of channels.
        paired: whether the target of each source is known.
    """

    source_range: tuple[tuple[float, ...], ...]
    source_channels: int
    paired: bool = True


def load(config: TranslationConfig) -> Splits:
    """Sources with their targets, or without pairs."""
    splits = load_domains(
        config.data, seed=config.seed, slices=config.slices, paired=not config.unpaired, reverse=config.reverse
    )
    return without_blank(splits, config.data) if config.slices and is_paired(splits) else splits


def measure(config: TranslationConfig, splits: Splits, most: int = MOST_FITTED) -> TranslationFacts:
    """The ranges of values, of at most `most` images, and the channels of both kinds, and whether they are pairs."""
    ranges = [measure_range(Domain(splits.train, entry), most=most) for entry in ("image", "source")]
    first = splits.train[0]
    return TranslationFacts(
        value_range=tuple(tuple(bound) for bound in ranges[0]),
        image_channels=int(first["image"].shape[-1]),
        source_range=tuple(tuple(bound) for bound in ranges[1]),
        source_channels=int(first["source"].shape[-1]),
        paired=is_paired(splits),
    )


def brought(
    run: Run, source: Source, most: int | None = None, dtype: type[np.floating] | type[np.uint8] = np.float32
) -> dict[str, np.ndarray]:
    """Pairs of a split at one size, evenly chosen if there are more than `most`.

    Args:
        run: the run.
        source: the split.
        most: how many at most; None for all.
        dtype: float32 for values in [-1, 1], uint8 for bytes.

    Returns:
        ``image [n, *spatial, c]`` and ``source [n, *spatial, s]``, and ``mask [n, *spatial]`` if there are any; where
        they are computed the ``clean`` images too.
    """
    chosen = evenly_spaced(len(source), len(source) if most is None else most)
    size, facts, pieces = run.config.sides, run.facts, []
    together = PIECE if isinstance(size, int) else VOLUMES
    for start in range(0, len(chosen), together):
        piece = Held(Subset(source, chosen[start : start + together]))
        found = dict(resized(Domain(piece, "image"), size, facts.value_range, dtype=dtype).arrays)
        for entry, bounds in (("source", facts.source_range), ("clean", facts.value_range)):
            if entry in piece[0]:
                found[entry] = resized(Domain(piece, entry), size, bounds, dtype=dtype).arrays["image"]
        pieces.append(found)
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def tested_pairs(run: Run) -> dict[str, np.ndarray]:
    """Test images as networks see them, float32."""
    return brought(run, run.splits.test, most_of(run.config.data, run.config.test_images))


def fitted_pairs(run: Run) -> dict[str, np.ndarray]:
    """Training images that baselines are fitted to, as networks see them, float32."""
    return brought(run, run.splits.train, MOST_FITTED)


def examples(run: Run, off: int = 0) -> ArraySource:
    """What training is fed: pairs at one size, a byte per value; sources are moved by up to `off` pixels."""
    found = brought(run, run.splits.train, dtype=np.uint8)
    source = misaligned(found["source"], off, run.config.seed) if off else found["source"]
    return ArraySource({"image": found["image"], "source": source})


def unpaired_examples(run: Run, *, healthy: bool = False) -> ArraySource:
    """The same with each target next to the source of another subject; only `healthy` targets, if asked for."""
    found = brought(run, run.splits.train, dtype=np.uint8)
    return ArraySource(unpaired(found, run.config.data, healthy=healthy))


def prepare(config: Any, axis: int = 1) -> images.Prepare:
    """On the device: bytes to [-1, 1], both mirrored alike along the spatial `axis` if the configuration says so."""

    def prepare(key: Key, batch: Batch) -> Batch:
        pair = {name: batch[name].astype(jnp.float32) / 127.5 - 1 for name in ("image", "source")}
        return random_flip(key, pair, axes=(axis,), names=("image", "source")) if config.mirror else pair

    return prepare


def prepare_unpaired(config: Any) -> images.Prepare:
    """The same, source and target each mirrored by itself."""

    def prepare(key: Key, batch: Batch) -> Batch:
        keys = draws.split(key, 2)
        pair = {name: batch[name].astype(jnp.float32) / 127.5 - 1 for name in ("image", "source")}
        if not config.mirror:
            return pair
        flipped = zip(keys, pair, strict=True)
        return {name: random_flip(k, {name: pair[name]}, axes=(1,), names=(name,))[name] for k, name in flipped}

    return prepare
