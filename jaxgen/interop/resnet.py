"""Weights of residual networks trained on medical images: RadImageNet (2-D) and MedicalNet (3-D)."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.errors import UserError
from jaxgen.interop import batch_norm, weight_files
from jaxgen.metrics.features import Extractor, resized, to_colour
from jaxgen.nets.resnet import BLOCKS, resnet
from jaxgen.types import Array, Net, Params

_SEQUENCE = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
_MEANS = (0.485, 0.456, 0.406)  # red, green and blue of ImageNet


class Loaded(NamedTuple):
    """A residual network with its weights.

    Attributes:
        net: see `jaxgen.nets.resnet.resnet`.
        params: float32, with batch normalisation folded in.
        converted: whether the file is the Keras network, whose convolutions have biases and whose bottlenecks halve
            the image in their first convolution.
    """

    net: Net
    params: Params
    converted: bool


def load(path: str | Path, *, stem_stride: int = 2, dilated: bool = False, max_bytes: int | None = None) -> Loaded:
    """Read a residual network in torchvision's names, or in those of RadImageNet, MedicalNet or MONAI.

    The depth, the spatial rank, the number of input channels and the kind of shortcuts are read off the tensors; what
    they do not show must be said.

    Args:
        path: a PyTorch or safetensors file.
        stem_stride: of the first convolution: 2, or 1 in MONAI's own networks.
        dilated: whether the last two stages are dilated: True for MedicalNet.
        max_bytes: the most that the file may hold; see `jaxgen.interop.weight_files.read`.

    Returns:
        The network and its weights.

    Raises:
        UserError: if the file cannot be read, or is of another network.
    """
    tensors = {_standard(name): x for name, x in weight_files.read(path, max_bytes=max_bytes).items()}
    stem = tensors.get("conv1.weight")
    if stem is None or stem.ndim not in (4, 5):
        raise UserError(f"{path}: has no first convolution conv1.weight; is it a residual network?")
    depth = _depth(tensors, path)
    converted = "conv1.bias" in tensors
    projection = "layer2.0.downsample.0.weight" in tensors
    net = resnet(
        depth, stem_stride=stem_stride, dilated=dilated, stride_first=converted and depth >= 50, projection=projection
    )
    side = (1,) + (32,) * (stem.ndim - 2) + (stem.shape[1],)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jax.ShapeDtypeStruct(side, jnp.float32))
    epsilon = 1.001e-5 if converted else 1e-5
    unused = ("fc.", "conv_seg.")
    return Loaded(net, batch_norm.fold(tensors, shapes, _names, epsilon=epsilon, file=path, unused=unused), converted)


def _standard(name: str) -> str:
    """The name that torchvision gives: RadImageNet's network is a sequence that starts with the same layers."""
    match = re.match(r"(?:backbone\.)?([014567])(\..+)", name)
    return f"{_SEQUENCE[match[1]]}{match[2]}" if match else name.removeprefix("backbone.")


def _depth(tensors: Mapping[str, np.ndarray], path: str | Path) -> int:
    count = tuple(len({n.split(".")[1] for n in tensors if n.startswith(f"layer{i}.")}) for i in (1, 2, 3, 4))
    bottleneck = "layer1.0.conv3.weight" in tensors
    for depth, blocks in BLOCKS.items():
        if blocks == count and (depth >= 50) == bottleneck:
            return depth
    raise UserError(f"{path}: stages of {count} blocks are no residual network that is known here")


def _names(path: tuple[str, ...]) -> tuple[str, str]:
    if len(path) == 1:
        return "conv1", "bn1"
    block = path[0].replace("_", ".")
    if path[1] == "downsample":
        return f"{block}.downsample.0", f"{block}.downsample.1"
    return f"{block}.{path[1]}", f"{block}.bn{path[1][-1]}"


def radimagenet(path: str | Path, size: int | None = 224) -> Extractor:
    """Features of the ResNet-50 that was trained on RadImageNet, 1.35 million radiologic images.

    Two files go by this name, and their inputs differ: the authors' PyTorch network takes images in [-1, 1]; the one
    converted from Keras, which MONAI uses, takes [0, 1] with blue first and ImageNet's means subtracted. Which one it
    is shows in the tensors, and is a part of the features' name: their distances cannot be compared.

    Args:
        path: a PyTorch or safetensors file.
        size: images are brought to that many pixels along each axis, the size the network was trained with; None
            leaves them as they are, as MONAI's tutorials do.

    Returns:
        What `jaxgen.metrics.features.extract` takes, for grey or colour images in [-1, 1].

    Raises:
        UserError: if the file cannot be read or is of another network.

    Reference:
        Mei et al. 2022, "RadImageNet: an open radiologic deep learning research dataset for effective transfer
        learning", Radiology: Artificial Intelligence 4(5).
    """
    loaded = load(path)
    kernel = loaded.params["conv1"]["kernel"]
    if kernel.ndim != 4 or kernel.shape[-2] != 3:
        raise UserError(f"{path}: does not take colour images, as RadImageNet's networks do")

    def apply(params: Params, images: Array) -> Array:
        x = to_colour(images)
        x = x if size is None else resized(x, size)
        if loaded.converted:
            x = (x[..., ::-1] + 1) / 2 - jnp.asarray(_MEANS[::-1])
        return loaded.net.apply(params, x)

    name = "radimagenet-keras" if loaded.converted else "radimagenet"
    return Extractor(name, apply, loaded.params, "none" if size is None else f"{size} px, bilinear, antialiased")


def medicalnet(path: str | Path) -> Extractor:
    """Features of volumes, of the residual networks that were trained on 23 sets of CT and MR (MedicalNet, Med3D).

    Each volume is brought to mean 0 and standard deviation 1 first. Give volumes of one spacing and size: nothing is
    resized.

    Args:
        path: a PyTorch or safetensors file, of any depth.

    Returns:
        What `jaxgen.metrics.features.extract` takes, for volumes ``[b, x, y, z, 1]``.

    Raises:
        UserError: if the file cannot be read or is of another network.

    Reference:
        Chen, Ma and Zheng 2019, "Med3D: transfer learning for 3D medical image analysis", arXiv 1904.00625.
    """
    net, params, _ = load(path, dilated=True)
    if params["conv1"]["kernel"].ndim != 5:
        raise UserError(f"{path}: takes images, not volumes, as MedicalNet's networks do")

    def apply(params: Params, volumes: Array) -> Array:
        axes = tuple(range(1, volumes.ndim))
        centred = volumes - jnp.mean(volumes, axes, keepdims=True)
        spread = jnp.std(centred, axes, keepdims=True)
        return net.apply(params, centred / jnp.maximum(spread, 1e-6))

    return Extractor("medicalnet", apply, params, "none")
