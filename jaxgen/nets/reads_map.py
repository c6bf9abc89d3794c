"""A network whose input holds a label map: the map goes to its spatially adaptive norms (SPADE)."""

import jax

from jaxgen import draws
from jaxgen.types import Array, Key, Net, Params


def reads_map(net: Net, channels: int) -> Net:
    """A network of ``[x, map]`` along the channels that hands the map to spatially adaptive norms.

    Args:
        net: `jaxgen.nets.unet` with ``variant.spade``.
        channels: those of x; without any the network starts from noise, and the key draws it.

    Returns:
        A `Net` with ``apply(params, z [b, *spatial, channels + labels], t=None, key=None)``.

    Reference:
        Park et al. 2019, "Semantic image synthesis with spatially-adaptive normalization", arXiv 1903.07291, eq. 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxgen.nets import UNetVariant, unet
        >>> net = reads_map(unet(1, channels=(8,), blocks=1, variant=UNetVariant(spade=4)), 0)
        >>> z = jnp.zeros((1, 4, 4, 3))
        >>> net.apply(net.init(jax.random.key(0), z), z).shape
        (1, 4, 4, 1)
    """

    def split(z: Array, key: Key | None) -> tuple[Array, Array]:
        x, given = z[..., :channels], z[..., channels:]
        if not channels:
            x = draws.normal(jax.random.key(0) if key is None else key, (*z.shape[:-1], 1)).astype(z.dtype)
        return x, given

    def init(key: Key, z: Array, t: Array | None = None) -> Params:
        x, given = split(z, None)
        return net.init(key, x, t, segmentation=given)

    def apply(params: Params, z: Array, t: Array | None = None, *, key: Key | None = None) -> Array:
        x, given = split(z, key)
        return net.apply(params, x, t, segmentation=given)

    return Net(init, apply)
