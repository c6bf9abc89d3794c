"""Residual networks that others have trained on images and volumes, for their features."""

from collections.abc import Callable
from typing import Any, cast

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.nets import ops
from jaxgen.nets.door import float32_answer
from jaxgen.types import Array, Key, Net, Params

BLOCKS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
"""Blocks of the four stages, by the number of layers; from 50 on they are bottlenecks."""


class _Conv(nn.Module):
    features: int
    window: int
    stride: int = 1
    dilation: int = 1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        window = (self.window,) * (x.ndim - 2)
        kernel = self.param("kernel", nn.initializers.he_normal(), (*window, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        if self.dilation == 1:
            return ops.convolution(x, kernel, bias, self.stride)
        return _on_subgrids(x, self.dilation, lambda h: ops.convolution(h, kernel, bias))


def _on_subgrids(x: Array, step: int, function: Callable[[Array], Array]) -> Array:
    """Apply a convolution to each of the interleaved grids of every `step`-th pixel: that dilates it."""
    shape, rank = x.shape, x.ndim - 2
    space = [-(-n // step) for n in shape[1:-1]]
    x = jnp.pad(x, [(0, 0), *((0, s * step - n) for s, n in zip(space, shape[1:-1], strict=True)), (0, 0)])
    x = x.reshape(shape[0], *(m for s in space for m in (s, step)), shape[-1])
    grids, places = range(2, 2 * rank + 1, 2), range(1, 2 * rank, 2)
    x = function(x.transpose(0, *grids, *places, 2 * rank + 1).reshape(-1, *space, shape[-1]))
    x = x.reshape(shape[0], *(step,) * rank, *space, x.shape[-1])
    x = x.transpose(0, *(axis for i in range(1, rank + 1) for axis in (rank + i, i)), 2 * rank + 1)
    x = x.reshape(shape[0], *(s * step for s in space), x.shape[-1])
    return x[tuple(slice(n) for n in shape[:-1])]


class _Block(nn.Module):
    width: int
    bottleneck: bool
    stride: int
    dilation: int
    stride_first: bool
    projection: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        out = self.width * (4 if self.bottleneck else 1)
        if self.bottleneck:
            first, second = (self.stride, 1) if self.stride_first else (1, self.stride)
            h = nn.relu(_Conv(self.width, 1, first, name="conv1")(x))
            h = nn.relu(_Conv(self.width, 3, second, self.dilation, name="conv2")(h))
            h = _Conv(out, 1, name="conv3")(h)
        else:
            h = nn.relu(_Conv(self.width, 3, self.stride, self.dilation, name="conv1")(x))
            h = _Conv(out, 3, 1, self.dilation, name="conv2")(h)
        if self.stride != 1 or x.shape[-1] != out:
            if self.projection:
                x = _Conv(out, 1, self.stride, name="downsample")(x)
            else:
                x = x[(slice(None), *(slice(None, None, self.stride),) * (x.ndim - 2))]
                x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, out - x.shape[-1])])
        return nn.relu(h + x)


class _ResNet(nn.Module):
    depth: int
    stem_stride: int
    dilated: bool
    stride_first: bool
    projection: bool

    @nn.compact
    def __call__(self, x: Array, maps: bool) -> Array | tuple[Array, ...]:
        rank = x.ndim - 2
        x = nn.relu(_Conv(64, 7, self.stem_stride, name="conv1")(x))
        x = nn.max_pool(x, (3,) * rank, (2,) * rank, padding=((1, 1),) * rank)
        stages = []
        for stage, blocks in enumerate(BLOCKS[self.depth]):
            dilation = 2 ** (stage - 1) if self.dilated and stage > 1 else 1
            for i in range(blocks):
                stride = 2 if i == 0 and stage > 0 and dilation == 1 else 1
                x = _Block(
                    64 * 2**stage,
                    self.depth >= 50,
                    stride,
                    dilation,
                    self.stride_first,
                    self.projection,
                    name=f"layer{stage + 1}_{i}",
                )(x)
            stages.append(x)
        return tuple(stages) if maps else jnp.mean(x.astype(jnp.float32), axis=tuple(range(1, x.ndim - 1)))


def resnet(
    depth: int = 50,
    *,
    stem_stride: int = 2,
    dilated: bool = False,
    stride_first: bool = False,
    projection: bool = True,
) -> Net:
    """Residual network without its last layer: features of images or volumes, pooled over space.

    ``apply(params, x, maps=False)`` maps `x` ``[b, *spatial, c]`` to features ``[b, d]`` in float32, with d 2048 for
    bottlenecks and 512 else, or with `maps` to the outputs of the four stages, the finest first, for a loss that
    compares them. Batch normalisation is folded into the convolutions; weights come from `jaxgen.interop.resnet`.

    Args:
        depth: number of layers, one of `BLOCKS`.
        stem_stride: of the first convolution.
        dilated: the last two stages keep the resolution, with convolutions dilated by 2 and 4 (as in MedicalNet).
        stride_first: bottlenecks halve the image in their first convolution, as in the paper and in Keras, rather than
            in the second one, as in PyTorch.
        projection: a shortcut that changes shape is a convolution, or else takes every other pixel and fills up the
            channels with zeros.

    Returns:
        A `Net`.

    Raises:
        ValueError: if there is no such depth.

    Reference:
        He et al. 2016, "Deep residual learning for image recognition", arXiv 1512.03385, table 1; Chen, Ma and Zheng
        2019, "Med3D: transfer learning for 3D medical image analysis", arXiv 1904.00625, for the dilated one.

    Example:
        >>> import jax
        >>> net, volumes = resnet(10, dilated=True), jnp.zeros((2, 16, 16, 16, 1))
        >>> params = jax.eval_shape(net.init, jax.random.key(0), volumes)
        >>> jax.eval_shape(net.apply, params, volumes).shape
        (2, 512)
    """
    if depth not in BLOCKS:
        raise ValueError(f"depth is one of {', '.join(map(str, BLOCKS))}, not {depth}")
    module = _ResNet(depth, stem_stride, dilated, stride_first, projection)

    def init(key: Key, x: Array) -> Params:
        return module.init(key, x, False)["params"]

    def apply(params: Params, x: Array, maps: bool = False, *, key: Key | None = None) -> Any:
        return cast(Array, module.apply({"params": params}, x, maps))

    return float32_answer(Net(init, apply))
