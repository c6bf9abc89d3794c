"""The Inception network of 2015 whose features the Frechet Inception distance compares."""

from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.nets import ops
from jaxgen.types import Array, Key, Net, Params

SIDE = 299
"""Pixels along an axis that every image is brought to."""

WIDTHS = (64, 192, 768, 2048)
"""How wide the features are that can be asked for, the first layers' first."""

Layer = tuple[str, int, tuple[int, int]] | tuple[str, int, tuple[int, int], int]
Branch = tuple[Layer | tuple[Layer, Layer], ...]

# A branch is a chain of convolutions (name, features, window, stride 1 unless given); a pair of them sees one input.


def _block_a() -> tuple[Branch, ...]:
    return (
        (("branch1x1", 64, (1, 1)),),
        (("branch5x5_1", 48, (1, 1)), ("branch5x5_2", 64, (5, 5))),
        (("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3)), ("branch3x3dbl_3", 96, (3, 3))),
    )


def _block_b() -> tuple[Branch, ...]:
    return (
        (("branch3x3", 384, (3, 3), 2),),
        (("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3)), ("branch3x3dbl_3", 96, (3, 3), 2)),
    )


def _block_c(width: int) -> tuple[Branch, ...]:
    row, column = (1, 7), (7, 1)
    return (
        (("branch1x1", 192, (1, 1)),),
        (("branch7x7_1", width, (1, 1)), ("branch7x7_2", width, row), ("branch7x7_3", 192, column)),
        (
            ("branch7x7dbl_1", width, (1, 1)),
            ("branch7x7dbl_2", width, column),
            ("branch7x7dbl_3", width, row),
            ("branch7x7dbl_4", width, column),
            ("branch7x7dbl_5", 192, row),
        ),
    )


def _block_d() -> tuple[Branch, ...]:
    return (
        (("branch3x3_1", 192, (1, 1)), ("branch3x3_2", 320, (3, 3), 2)),
        (
            ("branch7x7x3_1", 192, (1, 1)),
            ("branch7x7x3_2", 192, (1, 7)),
            ("branch7x7x3_3", 192, (7, 1)),
            ("branch7x7x3_4", 192, (3, 3), 2),
        ),
    )


def _block_e() -> tuple[Branch, ...]:
    def split(name: str) -> tuple[Layer, Layer]:
        return (f"{name}a", 384, (1, 3)), (f"{name}b", 384, (3, 1))

    return (
        (("branch1x1", 320, (1, 1)),),
        (("branch3x3_1", 384, (1, 1)), split("branch3x3_2")),
        (("branch3x3dbl_1", 448, (1, 1)), ("branch3x3dbl_2", 384, (3, 3)), split("branch3x3dbl_3")),
    )


# name, branches, pooling, features after the pooling (0: none)
_BLOCKS = (
    ("Mixed_5b", _block_a(), "mean", 32),
    ("Mixed_5c", _block_a(), "mean", 64),
    ("Mixed_5d", _block_a(), "mean", 64),
    ("Mixed_6a", _block_b(), "halve", 0),
    ("Mixed_6b", _block_c(128), "mean", 192),
    ("Mixed_6c", _block_c(160), "mean", 192),
    ("Mixed_6d", _block_c(160), "mean", 192),
    ("Mixed_6e", _block_c(192), "mean", 192),
    ("Mixed_7a", _block_d(), "halve", 0),
    ("Mixed_7b", _block_e(), "mean", 192),
    ("Mixed_7c", _block_e(), "max", 192),  # not the mean, as in all other blocks: so was the network of 2015
)


class _Conv(nn.Module):
    features: int
    window: tuple[int, int]
    stride: int = 1
    padded: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", nn.initializers.he_normal(), (*self.window, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return nn.relu(ops.convolution(x, kernel, bias, self.stride, None if self.padded else (0, 0)))


class _Mixed(nn.Module):
    branches: tuple[Branch, ...]
    pool: str
    pooled: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        def layer(h: Array, name: str, features: int, window: tuple[int, int], stride: int = 1) -> Array:
            return _Conv(features, window, stride, padded=stride == 1, name=name)(h)

        outputs = []
        for branch in self.branches:
            h = x
            for step in branch:
                if isinstance(step[0], str):
                    h = layer(h, *cast(Layer, step))
                else:
                    h = jnp.concatenate([layer(h, *half) for half in cast(tuple[Layer, Layer], step)], axis=-1)
            outputs.append(h)
        h = _POOL[self.pool](x)
        outputs.append(layer(h, "branch_pool", self.pooled, (1, 1)) if self.pooled else h)
        return jnp.concatenate(outputs, axis=-1)


def _mean_pool(x: Array) -> Array:
    """The mean over 3 x 3 pixels; at the frame over those that there are."""
    return nn.avg_pool(x, (3, 3), padding=((1, 1), (1, 1)), count_include_pad=False)


def _max_pool(x: Array) -> Array:
    return nn.max_pool(x, (3, 3), padding=((1, 1), (1, 1)))


def _halve(x: Array) -> Array:
    return nn.max_pool(x, (3, 3), (2, 2))


_POOL = {"mean": _mean_pool, "max": _max_pool, "halve": _halve}


class _Inception(nn.Module):
    @nn.compact
    def __call__(self, x: Array, width: int) -> Array:
        x = (resize_corner(x.astype(jnp.float32), SIDE) - 128) / 128
        x = _Conv(32, (3, 3), 2, padded=False, name="Conv2d_1a_3x3")(x)
        x = _Conv(32, (3, 3), padded=False, name="Conv2d_2a_3x3")(x)
        x = _halve(_Conv(64, (3, 3), name="Conv2d_2b_3x3")(x))
        if width == WIDTHS[0]:
            return _pooled(x)
        x = _Conv(80, (1, 1), name="Conv2d_3b_1x1")(x)
        x = _halve(_Conv(192, (3, 3), padded=False, name="Conv2d_4a_3x3")(x))
        if width == WIDTHS[1]:
            return _pooled(x)
        for name, branches, pool, pooled in _BLOCKS:
            x = _Mixed(branches, pool, pooled, name=name)(x)
            if width == WIDTHS[2] and name == "Mixed_6e":
                break
        return _pooled(x)


def _pooled(x: Array) -> Array:
    return jnp.mean(x.astype(jnp.float32), axis=(1, 2))


def resize_corner(x: Array, side: int) -> Array:
    """Bilinear interpolation with pixel 0 on pixel 0, as TensorFlow 1 resized: pixel i of n is at ``i n_in / n``.

    Pixels are points here, not areas: the image moves by half a pixel, and shrinking leaves pixels out. The features of
    published Frechet distances were made so.

    Args:
        x: ``[b, h, w, c]``.
        side: of the result in pixels.

    Returns:
        ``[b, side, side, c]``.

    Example:
        >>> resize_corner(jnp.array([0.0, 4.0]).reshape(1, 2, 1, 1), 4)[0, :, 0, 0].tolist()
        [0.0, 2.0, 4.0, 4.0]
    """
    for axis in (1, 2):
        n = x.shape[axis]
        if n == side:
            continue
        place = np.arange(side, dtype=np.float32) * np.float32(n / side)
        low = place.astype(int)
        mix = np.zeros((side, n), np.float32)
        np.add.at(mix, (np.arange(side), low), 1 - (place - low))
        np.add.at(mix, (np.arange(side), np.minimum(low + 1, n - 1)), place - low)
        mixed = jnp.tensordot(x, jnp.asarray(mix, x.dtype), axes=(axis, 1), precision=jax.lax.Precision.HIGHEST)
        x = jnp.moveaxis(mixed, -1, axis)
    return x


def inception() -> Net:
    """Inception of 2015 without its last layer: features of colour images, pooled over space.

    ``apply(params, x, width=2048)`` maps `x` ``[b, h, w, 3]`` with values 0 to 255 (of any size: they are resized to
    299 pixels by `resize_corner`) to features ``[b, width]`` in float32; `width` is one of `WIDTHS`. Batch
    normalisation is folded into the convolutions; the weights come from `jaxgen.interop.inception`.

    Returns:
        A `Net`.

    Raises:
        ValueError: if images have not three channels, or features of another width are asked for.

    Reference:
        Szegedy et al. 2016, "Rethinking the Inception architecture for computer vision", arXiv 1512.00567, table 1;
        Heusel et al. 2017, arXiv 1706.08500, for the use of the features.

    Example:
        >>> net = inception()
        >>> params = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
        >>> jax.eval_shape(net.apply, params, jnp.zeros((5, 64, 64, 3))).shape
        (5, 2048)
    """
    module = _Inception()

    def init(key: Key, x: Array) -> Params:
        return module.init(key, _checked(x), WIDTHS[-1])["params"]

    def apply(params: Params, x: Array, width: int = WIDTHS[-1], *, key: Key | None = None) -> Array:
        if width not in WIDTHS:
            raise ValueError(f"features are {', '.join(map(str, WIDTHS))} wide, not {width}")
        return cast(Array, module.apply({"params": params}, _checked(x), width))

    return Net(init, apply)


def _checked(x: Array) -> Array:
    if x.ndim != 4 or x.shape[-1] != 3:
        raise ValueError(f"colour images [b, h, w, 3] are needed, got {x.shape}")
    return x
