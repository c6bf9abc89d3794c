"""Weights of the Inception network of 2015, from the file that pytorch-fid and torch-fidelity use."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.errors import UserError
from jaxgen.interop import batch_norm, weight_files
from jaxgen.metrics.features import Extractor, to_bytes, to_colour
from jaxgen.nets.inception import SIDE, WIDTHS, inception
from jaxgen.types import Array, Params

_CLASSES = 1008


def load(path: str | Path, *, max_bytes: int | None = None) -> Params:
    """Read the weights of `jaxgen.nets.inception.inception`.

    Args:
        path: the weights of Google's network of 2015-12-05 in PyTorch's names, as pytorch-fid and torch-fidelity
            publish them (``pt_inception-2015-12-05-....pth``), or the same tensors in a safetensors file.
        max_bytes: the most that the file may hold; see `jaxgen.interop.weight_files.read`.

    Returns:
        The parameters, float32, with batch normalisation folded in.

    Raises:
        UserError: if the file cannot be read or is of another network, torchvision's Inception among them.
    """
    tensors = weight_files.read(path, max_bytes=max_bytes)
    last = tensors.get("fc.weight")
    if last is not None and last.shape != (_CLASSES, WIDTHS[-1]):
        raise UserError(
            f"{path}: the last layer has shape {last.shape} in place of {(_CLASSES, WIDTHS[-1])}: this is another "
            "Inception, whose features give other distances; name the file of pytorch-fid or torch-fidelity"
        )
    shapes = jax.eval_shape(inception().init, jax.random.key(0), jnp.zeros((1, SIDE, SIDE, 3)))

    def names(path: tuple[str, ...]) -> tuple[str, str]:
        return f"{'.'.join(path)}.conv", f"{'.'.join(path)}.bn"

    return batch_norm.fold(tensors, shapes, names, epsilon=1e-3, file=path, unused=("fc.", "AuxLogits."))


def extractor(path: str | Path, width: int = WIDTHS[-1]) -> Extractor:
    """The features of the Frechet Inception distance.

    Images are taken in [-1, 1], rounded to the 256 values of a stored image, made colour if they are grey, and resized
    as TensorFlow 1 did. (pytorch-fid resizes otherwise, so that its distances differ a little, except for images of 299
    pixels.)

    Args:
        path: see `load`.
        width: of the features, 64, 192, 768 or 2048, which is the usual one.

    Returns:
        What `jaxgen.metrics.features.extract` takes.

    Raises:
        UserError: see `load`.
    """
    return of_params(load(path), width)


def of_params(params: Params, width: int = WIDTHS[-1]) -> Extractor:
    """The same features with parameters at hand."""
    if width not in WIDTHS:
        raise ValueError(f"features are {', '.join(map(str, WIDTHS))} wide, not {width}")
    return Extractor(f"inception-{width}", _APPLY[width], params, f"{SIDE} px, bilinear from the corner (TensorFlow 1)")


def _features(width: int) -> Any:
    net = inception()

    def apply(params: Params, images: Array) -> Array:
        return net.apply(params, to_bytes(to_colour(images)), width)

    return apply


_APPLY = {width: _features(width) for width in WIDTHS}  # one function each, so that it is compiled once
