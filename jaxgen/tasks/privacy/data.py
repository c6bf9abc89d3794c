"""Images of people who come several times: options, data, facts, and who the generators learn from."""

import dataclasses

import numpy as np

from jaxgen.config import option
from jaxgen.data import ArraySource, Everything, Source, Splits, resized
from jaxgen.data.source import Subset
from jaxgen.data.visits import PairedVisits, first_people, require_visits
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.tasks import covariates, features, images, latent, latent_generation

PHANTOM = "visits_phantom"
MOST = 5000
"""Images of a split that rates are computed of; what is drawn is compared with all training images."""
PATCH = 2
"""Pixels per side that the networks that recognise people fold into channels first."""
COPYING, REGULAR = "copying", "generator"
"""The stages of the generators: one over-trained on a few people, and the one that images are released of."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrivacyConfig(latent_generation.ConditionalConfig, features.FeatureConfig):
    """The options of generation with privacy."""

    data: str = option(PHANTOM, "data: a name, or a .npz with `patient` (and `labels`)", group="data")
    mirror: bool = option(False, "mirror training images at random; off, since the heart is on the left", group="data")
    copying_people: int = option(100, "people that the over-trained generator learns from", ge=2, group="data")
    copying_steps: int = option(8000, "training steps of the over-trained generator", ge=1, group="training")
    embedding: int = option(128, "width of the embeddings of the networks that recognise people", ge=2, group="network")
    people_channels: images.Widths = option((16, 32, 64, 64), "widths of their levels", ge=4, group="network")
    people_blocks: int = option(1, "their residual blocks per level", ge=1, le=8, group="network")
    people_steps: int = option(1500, "training steps of each of them", ge=1, group="training")
    temperature: float = option(0.1, "temperature of the contrastive loss", gt=0, group="training")
    miss_rate: float = option(
        0.01, "share of pairs of one person that may pass as two: it sets the threshold", ge=0, lt=1, group="sampling"
    )
    most_draws: int = option(10, "images drawn for each one that is wanted, at most", ge=1, group="sampling")
    code_steps: int = option(2500, "training steps of the network that measures codes of phantoms", ge=1)
    code_images: int = option(6000, "phantoms that it learns from", ge=8, group="evaluation")
    membership_draws: int = option(16, "times and noises at which losses are compared", ge=1, group="evaluation")
    classifier_steps: int = option(400, "training steps of each classifier of drawn images", ge=1, group="evaluation")

    def __post_init__(self) -> None:
        """Check every field, and that the levels of the networks that recognise people divide an image."""
        super().__post_init__()
        multiple = PATCH * 2 ** (len(self.people_channels) - 1)
        if self.size % multiple:
            raise UserError(f"--size must be a multiple of {multiple} with these --people-channels, got {self.size}")

    @property
    def exact(self) -> bool:
        """Whether the data are phantoms, whose people have known codes."""
        return self.data.split("/")[0] == PHANTOM


def load(config: PrivacyConfig) -> Splits:
    """Images with their patients, and their classes if they have any; what no verifier can learn from is refused."""
    splits = images.open_images(config, ("image",), ("label", "covariates") if config.exact else ("label",))
    if not isinstance(config.data, Everything):
        require_visits(splits, f"--data {config.data}")
    return splits


def measure(config: PrivacyConfig, splits: Splits) -> covariates.CovariateFacts:
    """The facts of the images; the codes of phantoms are kept from the generators."""
    return covariates.CovariateFacts(**dataclasses.asdict(images.measure_images(config, splits)))


def members_of(run: Run, generator: str) -> Source:
    """The training images of a generator: of a few people, or of all."""
    train = run.splits.train
    return first_people(train, run.config.copying_people) if generator == COPYING else train


def examples_of(run: Run, generator: str) -> ArraySource:
    """The same as bytes, of one size."""
    return in_bytes(run, members_of(run, generator))


def in_bytes(run: Run, source: Source) -> ArraySource:
    """Images of one size, a byte per value, with what else a batch needs."""
    return resized(source, run.config.size, run.facts.value_range, dtype=np.uint8)


def pairs(run: Run) -> PairedVisits:
    """Pairs of training images of one person, as bytes."""
    return PairedVisits(in_bytes(run, run.splits.train))


def reconstructed(run: Run, x: np.ndarray) -> np.ndarray:
    """Images ``[n, h, w, c]`` in [-1, 1] as the trained autoencoder reconstructs them: drawn images have its blur."""
    codec = latent.codec(run)
    return np.nan_to_num(codec.decode(codec.encode(x)))


def through_autoencoder(run: Run, image: np.ndarray) -> np.ndarray:
    """The same of images as bytes, which stay bytes."""
    seen = reconstructed(run, image.astype(np.float32) / 127.5 - 1)
    return np.round((seen + 1) * 127.5).astype(np.uint8)


def seen_pairs(run: Run) -> PairedVisits:
    """`pairs`, and once more with the other image as the autoencoder reconstructs it."""
    source = in_bytes(run, run.splits.train)
    return PairedVisits(source, through_autoencoder(run, source.arrays["image"]))


def labels_like(source: Source, n: int) -> np.ndarray:
    """Classes ``[n]`` with the frequencies that they have in a source; zeros where it has none."""
    if "label" not in source[0]:
        return np.zeros(n, np.int32)
    known = np.array([int(source[i]["label"]) for i in range(len(source))], np.int32)
    return np.sort(known)[np.linspace(0, len(known) - 1, n).round().astype(int)]


def several(run: Run, source: Source) -> tuple[np.ndarray, Source]:
    """Images ``[n, h, w, c]`` in [-1, 1] of a split, at most `MOST`, and the examples they are of."""
    some = Subset(source, range(min(len(source), MOST)))
    return images.real_images(run, some)["image"], some
