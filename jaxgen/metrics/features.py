"""Feature spaces: what the metrics of sets of images compare, with the record of how the numbers were made.

A Frechet distance depends on the features, on how images came to the size of the network, and on how many images there
were. Published ones differ by more for these reasons than for the models. So features carry a record of their making,
and sets whose records differ are not compared.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from typing import Protocol as Interface

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.errors import UserError
from jaxgen.metrics.fidelity import frechet_distance
from jaxgen.types import Array, Key, Params


class ImageSet(Interface):
    """Images that are read when they are asked for: anything with a length that slices."""

    def __len__(self) -> int:
        """How many images."""
        ...

    def __getitem__(self, part: slice, /) -> Any:
        """Some of them, ``[b, *spatial, c]``."""
        ...


class Extractor(NamedTuple):
    """A feature space, as a pure function of images.

    Attributes:
        name: what tells it from others, such as ``"inception-2048"``.
        apply: ``apply(params, images [b, *spatial, c]) -> [b, d]``, images in [-1, 1].
        params: its weights, ``()`` where it has none.
        resize: how images come to the size it needs, in words; "none".
    """

    name: str
    apply: Callable[[Params, Array], Array]
    params: Params = ()
    resize: str = "none"


class Features(NamedTuple):
    """Features of a set of images, and how they were made.

    Attributes:
        values: ``[n, d]``, float32.
        name: of the `Extractor`.
        weights: the `fingerprint` of its weights.
        resize: as there.
        shape: of an image before it was resized, ``(*spatial, c)``.
    """

    values: np.ndarray
    name: str
    weights: str
    resize: str
    shape: tuple[int, ...]


class Protocol(NamedTuple):
    """All that a distance between two sets of images depends on besides the images.

    Attributes:
        features: name of the feature space.
        weights: `fingerprint` of its weights.
        resize: how images came to its size.
        shape: of an image, ``(*spatial, c)``.
        real: how many real images.
        generated: how many generated ones.
    """

    features: str
    weights: str
    resize: str
    shape: tuple[int, ...]
    real: int
    generated: int


class Distance(NamedTuple):
    """A distance and its record.

    Attributes:
        value: the distance.
        protocol: how it was measured.
    """

    value: float
    protocol: Protocol


def fingerprint(params: Params) -> str:
    """The first 12 digits of the SHA-256 of a tree of weights: the same weights from any file give the same.

    Example:
        >>> fingerprint({"a": np.zeros(2)}) == fingerprint({"a": jnp.zeros(2)}) != fingerprint({"b": np.zeros(2)})
        True
        >>> fingerprint(())
        'none'
    """
    leaves = jax.tree.leaves_with_path(params)
    if not leaves:
        return "none"
    digest = hashlib.sha256()
    for path, leaf in leaves:
        x = np.asarray(leaf, np.float32)
        digest.update(f"{jax.tree_util.keystr(path)}{x.shape}".encode())
        digest.update(np.ascontiguousarray(x).tobytes())
    return digest.hexdigest()[:12]


def extract(extractor: Extractor, images: ImageSet | np.ndarray | Array, *, batch: int = 32) -> Features:
    """Features of a set of images, computed batch by batch, in bounded memory.

    Args:
        extractor: the feature space.
        images: ``[n, *spatial, c]`` in [-1, 1]; anything that slices, such as a memory-mapped array.
        batch: images at once; a last, smaller batch is filled up, so that one program serves all.

    Returns:
        The `Features`.

    Raises:
        ValueError: if there is no image, or features are not ``[b, d]``.

    Example:
        >>> images = np.linspace(-1, 1, 5 * 16).reshape(5, 4, 4, 1)
        >>> extract(pixels(2), images, batch=2).values.shape
        (5, 4)
    """
    count = len(images)
    if not count:
        raise ValueError("features of no image")
    apply = jax.jit(extractor.apply)
    size, found, shape = min(batch, count), [], (0,)
    for start in range(0, count, size):
        part = np.asarray(images[start : start + size], np.float32)
        shape = part.shape[1:]
        whole = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)]) if len(part) < size else part
        with jax.default_matmul_precision("highest"):  # so that features do not depend on the device
            values = np.asarray(apply(extractor.params, jnp.asarray(whole)), np.float32)
        if values.ndim != 2 or len(values) != size:
            raise ValueError(f"{extractor.name} gave features of shape {values.shape} for {size} images, not [b, d]")
        found.append(values[: len(part)])
    return Features(
        np.concatenate(found), extractor.name, fingerprint(extractor.params), extractor.resize, tuple(shape)
    )


def protocol(real: Features, generated: Features, *, equal_numbers: bool = True) -> Protocol:
    """The record of a comparison, if the two sets can be compared.

    Args:
        real: features of real images.
        generated: features of generated ones.
        equal_numbers: refuse sets of different sizes, whose Frechet distances are biased differently.

    Returns:
        The `Protocol`.

    Raises:
        UserError: if features, weights, resizing, shapes or (with `equal_numbers`) numbers differ.
    """
    for what in ("name", "weights", "resize", "shape"):
        ours, theirs = getattr(real, what), getattr(generated, what)
        if ours != theirs:
            raise UserError(f"features cannot be compared: {what} is {ours} for one set and {theirs} for the other")
    n, m = len(real.values), len(generated.values)
    if equal_numbers and n != m:
        raise UserError(
            f"{n} real and {m} generated images: the distance falls with their number; take {min(n, m)} of each, or "
            "use a kernel distance, which is unbiased"
        )
    return Protocol(real.name, real.weights, real.resize, real.shape, n, m)


def frechet(real: Features, generated: Features) -> Distance:
    """The Frechet distance of two sets of as many images each, with its record.

    Args:
        real: features of real images.
        generated: features of as many generated ones.

    Returns:
        The squared distance (see `jaxgen.metrics.frechet_distance`) and its `Protocol`.

    Raises:
        UserError: if the sets cannot be compared.

    Example:
        >>> images = np.random.default_rng(0).normal(size=(40, 4, 4, 1)).clip(-1, 1)
        >>> one, two = (extract(pixels(), x) for x in (images[:20], images[20:]))
        >>> frechet(one, two).protocol.features, frechet(one, two).protocol.generated
        ('pixels', 20)
    """
    record = protocol(real, generated)
    return Distance(frechet_distance(real.values, generated.values), record)


def require_equal_protocols(*distances: Distance) -> Protocol:
    """The record that distances share, before they are put into one table.

    Args:
        distances: of several models.

    Returns:
        Their `Protocol`.

    Raises:
        UserError: if their records differ: the one with more images would look better than it is.

    Example:
        >>> of = lambda n: Distance(1.0, Protocol("pixels", "none", "none", (8, 8, 1), n, n))
        >>> require_equal_protocols(of(500), of(500)).real
        500
    """
    first = distances[0].protocol
    for other in distances[1:]:
        for what, ours, theirs in zip(Protocol._fields, first, other.protocol, strict=True):
            if ours != theirs:
                raise UserError(f"distances cannot be compared: {what} is {ours} for one and {theirs} for another")
    return first


def pixels(size: int | Sequence[int] | None = None) -> Extractor:
    """The values of the pixels themselves, of a smaller image if `size` says so.

    Args:
        size: in pixels, one number or one an axis.

    Returns:
        An `Extractor` of width ``prod(size) * channels``.
    """

    def apply(params: Params, images: Array) -> Array:
        x = images if size is None else resized(images, size)
        return x.reshape(len(x), -1)

    if size is None:
        return Extractor("pixels", apply)
    return Extractor("pixels", apply, (), f"{size} px, linear, antialiased")


def random_projection(key: Key, shape: Sequence[int], width: int = 256) -> Extractor:
    """Random directions in the space of pixels: ``x A / sqrt(width)`` with A normal.

    Distances between images keep their size to a relative error of about ``sqrt(2 / width)``.

    Args:
        key: of the directions; sets are compared along the same ones.
        shape: of an image, ``(*spatial, c)``.
        width: of the features.

    Returns:
        An `Extractor`.

    Reference:
        Johnson and Lindenstrauss 1984, "Extensions of Lipschitz mappings into a Hilbert space".
    """
    drawn = draws.normal(key, (int(np.prod(shape)), width)) / np.sqrt(width)
    return Extractor(f"random-{width}", _project, drawn)


def _project(params: Params, images: Array) -> Array:
    return jnp.matmul(images.reshape(len(images), -1), params, precision=jax.lax.Precision.HIGHEST)


def resized(images: Array, size: int | Sequence[int]) -> Array:
    """Images ``[b, *spatial, c]`` of `size` pixels: linear interpolation, over wider windows where they shrink."""
    rank = images.ndim - 2
    sides = (size,) * rank if isinstance(size, int) else tuple(size)
    shape = (images.shape[0], *sides, images.shape[-1])
    if shape == images.shape:
        return images
    return jax.image.resize(images, shape, "linear", antialias=True, precision=jax.lax.Precision.HIGHEST)


def to_colour(images: Array) -> Array:
    """Grey images ``[b, h, w, 1]`` as colour, three times the same; colour images as they are.

    Raises:
        ValueError: for other numbers of channels.
    """
    if images.shape[-1] not in (1, 3):
        raise ValueError(f"grey or colour images are needed, not {images.shape[-1]} channels")
    return jnp.broadcast_to(images, (*images.shape[:-1], 3))


def to_bytes(images: Array) -> Array:
    """Images in [-1, 1] as the values 0 to 255 that a file of 8 bits holds, in float32."""
    return jnp.clip(jnp.round((images.astype(jnp.float32) + 1) * 127.5), 0, 255)
