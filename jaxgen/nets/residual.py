"""The residual block of the U-Net, and what changes resolution between its levels."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.nets import layers
from jaxgen.nets.spade import Spade, SpadeForm
from jaxgen.types import Array, Key


def average(x: Array) -> Array:
    """Halve every spatial axis of ``[b, *spatial, c]`` by the mean over blocks of two pixels.

    Example:
        >>> average(jnp.arange(4.0).reshape(1, 4, 1)).ravel().tolist()
        [0.5, 2.5]
    """
    b, *spatial, c = x.shape
    split = x.reshape(b, *(size for n in spatial for size in (n // 2, 2)), c)
    return jnp.mean(split, axis=tuple(range(2, 2 * len(spatial) + 1, 2)))


def repeat(x: Array) -> Array:
    """Double every spatial axis of ``[b, *spatial, c]`` by repeating pixels.

    Example:
        >>> repeat(jnp.arange(2.0).reshape(1, 2, 1)).ravel().tolist()
        [0.0, 0.0, 1.0, 1.0]
    """
    for axis in range(1, x.ndim - 1):
        x = jnp.repeat(x, 2, axis=axis)
    return x


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, twice, with a skip connection; an embedding enters between the two.

    With `adaptive` the embedding gives the second norm its scale and shift (adaptive group norm, Dhariwal & Nichol
    2021, arXiv 2105.05233, section 3); without, it is added to the features (Ho et al. 2020, arXiv 2006.11239). Where
    a `segmentation` is given both norms are spatially adaptive (`Spade`, with `spade` hidden channels). `resample`, if
    given, changes the resolution before the first convolution and on the skip connection.
    """

    features: int
    adaptive: bool = True
    dropout: float = 0.0
    norm: Callable[..., nn.Module] = layers.GroupNorm
    spade: int = 64
    resample: Callable[[Array], Array] | None = None
    spade_form: SpadeForm = SpadeForm()

    @nn.compact
    def __call__(
        self,
        x: Array,
        embedding: Array | None = None,
        key: Key | None = None,
        segmentation: Array | None = None,
    ) -> Array:
        """Map ``[b, *spatial, c]``, with an `embedding` ``[b, e]``, to ``[b, *spatial, features]``; `key` drops out."""

        def normalise(h: Array, scale: Array | None = None, shift: Array | None = None) -> Array:
            if segmentation is None:
                return self.norm()(h, scale, shift)
            return Spade(self.spade, self.norm, self.spade_form)(h, segmentation, scale, shift)

        h = nn.silu(normalise(x))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = layers.Conv(self.features)(h)
        scale = shift = None
        if embedding is not None:
            width = 2 * self.features if self.adaptive else self.features
            e = layers.Dense(width)(nn.silu(embedding))
            if self.adaptive:
                scale, shift = jnp.split(e, 2, axis=-1)
            else:
                h = h + e.reshape(e.shape[0], *((1,) * (x.ndim - 2)), -1)
        h = nn.silu(normalise(h, scale, shift))
        if self.dropout > 0 and key is not None:
            h = jnp.where(draws.bernoulli(key, 1 - self.dropout, h.shape), h / (1 - self.dropout), 0)
        h = layers.Conv(self.features, kernel_init=nn.initializers.zeros)(h)
        if x.shape[-1] != self.features:
            x = layers.Conv(self.features, width=1)(x)
        return x + h


class Downsample(nn.Module):
    """Halve every spatial axis by a strided convolution."""

    features: int
    padding: tuple[int, int] | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[b, *spatial, c]`` to ``[b, *spatial / 2, features]``."""
        return layers.Conv(self.features, stride=2, padding=self.padding)(x)


class Upsample(nn.Module):
    """Double every spatial axis, then convolve.

    `enlarge` doubles it, by repeating pixels unless told otherwise; None repeats them within the convolution, which is
    the same with fewer multiplications, and so not bit for bit.
    """

    features: int
    enlarge: Callable[[Array], Array] | None = repeat

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[b, *spatial, c]`` to ``[b, *2 spatial, features]``."""
        if self.enlarge is None:
            return layers.Conv(self.features, doubled=True)(x)
        return layers.Conv(self.features)(self.enlarge(x))
