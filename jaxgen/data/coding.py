"""Images as codes: what a model of codes is fed, encoded once."""

from typing import Protocol

import numpy as np

from jaxgen.data.source import ArraySource, Source

KEPT = ("label", "covariates", "text", "control")
"""What goes on with a code; hints (``control [*spatial, k]``) are mirrored with their images."""


class Encoder(Protocol):
    """What gives codes as distributions; `jaxgen.families.codec.Codec` does."""

    def moments(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and log-variance ``[n, *code]`` of the codes of images ``[n, *shape]`` in [-1, 1]."""


def coded(encoder: Encoder, source: Source, chunk: int, mirrored: int | None = None) -> ArraySource:
    """The codes of a source as means and log-variances, with classes, covariates and tokens.

    Args:
        encoder: the trained encoder.
        source: images as bytes, of one size.
        chunk: images read at once.
        mirrored: the spatial axis along which each image is encoded mirrored as well; None for none.

    Returns:
        Examples ``mean [*code]`` and ``log_variance [*code]``, twice as many as images where they are mirrored.

    Example:
        >>> class Same:
        ...     def moments(self, x):
        ...         return x, 0 * x
        >>> source = ArraySource({"image": np.full((3, 2, 2, 1), 255, np.uint8), "label": np.arange(3)})
        >>> codes = coded(Same(), source, 2, mirrored=1)
        >>> len(codes), codes[0]["mean"].max().item(), codes.arrays["label"].tolist()
        (6, 1.0, [0, 1, 0, 1, 2, 2])
    """
    parts = []
    for first in range(0, len(source), chunk):
        some = [source[i] for i in range(first, min(first + chunk, len(source)))]
        batch = {name: np.stack([example[name] for example in some]) for name in some[0]}
        told = {name: batch[name] for name in KEPT if name in batch}
        image = batch["image"].astype(np.float32) / 127.5 - 1
        parts.append(dict(zip(("mean", "log_variance"), encoder.moments(image), strict=True)) | told)
        if mirrored is not None:
            moments = encoder.moments(np.flip(image, 1 + mirrored))
            flipped = {"control": np.flip(told["control"], 1 + mirrored)} if "control" in told else {}
            parts.append(dict(zip(("mean", "log_variance"), moments, strict=True)) | told | flipped)
    return ArraySource({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
