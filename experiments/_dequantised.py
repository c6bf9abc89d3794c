"""Images as whole numbers, dequantised: what the experiments that state bits per dimension share."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments import _images as images
from jaxgen import draws
from jaxgen.data import Source, Subset, resized
from jaxgen.imaging.augment import random_flip
from jaxgen.metrics.likelihood import dequantise


def prepare(config: images.ImageConfig):
    """On the device: bytes to continuous values in [-1, 1), and mirrored images."""

    def prepared(key, batch):
        noise_key, flip_key = draws.split(key, 2)
        batch = {**batch, "image": dequantise(noise_key, batch["image"])}
        return random_flip(flip_key, batch, axes=(1,), names=("image",)) if config.mirror else batch

    return prepared


def whole_numbers(config: images.ImageConfig, constants: Mapping[str, Any], source: Source, most: int) -> np.ndarray:
    """At most so many images of a split as bytes, ``[n, h, w, c]``."""
    chosen = np.unique(np.linspace(0, len(source) - 1, min(most, len(source))).round().astype(int))
    return resized(Subset(source, chosen), config.size, constants["value_range"], dtype=np.uint8).arrays["image"]
