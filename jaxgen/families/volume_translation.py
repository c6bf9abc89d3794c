"""Translation of volumes by a diffusion model of slices, whose network sees neighbouring slices once it is trained."""

from collections.abc import Callable, Sequence

from jaxgen.families.translation import conditional_diffusion, sources_for
from jaxgen.nets.volumetric import of_volumes, split_volumetric
from jaxgen.samplers import Sampling
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params


def volume_diffusion(
    make: Callable[[int], Net], shape: Sequence[int], sampling: Sampling, *, base: Params | None = None
) -> Model:
    """Diffusion of whole volumes given their sources: a trained network of slices stays, layers across them learn.

    All slices of a volume have the same noise level and independent noise. At first the layers are the identity, and
    the model is `jaxgen.families.translation.conditional_diffusion` slice by slice.

    Args:
        make: ``make(d)``, the network ``net([x_t, s], t)`` for volumes of d slices, such as `jaxgen.nets.unet` with
            ``UNetVariant(slices=d)``.
        shape: of a slice of the target, ``(h, w, c)``.
        sampling: the path, the sampler and what the network predicts.
        base: the trained parameters of the network of slices; None initialises them.

    Returns:
        A `Model` of batches ``image [n, d, h, w, c]`` and ``source [n, d, h, w, k]``, with the groups ``"net"``, which
        nothing trains, and ``"volumetric"``; ``sample(params, key, n, cond)`` draws a target for each of n sources of
        any depth, `key` one key or keys ``[n]``.

    Reference:
        Zhu et al. 2023, "Make-A-Volume: leveraging latent diffusion models for cross-modality 3D brain MRI synthesis",
        arXiv 2307.10094, section 2.3.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxgen.nets import UNetVariant, unet
        >>> from jaxgen.paths import cosine
        >>> from jaxgen.samplers import ddim, grids
        >>> path = cosine()
        >>> sampling = Sampling(path, ddim(path), grids.uniform(path, 2), "v")
        >>> make = lambda d: unet(1, channels=(8,), blocks=1, variant=UNetVariant(slices=d))
        >>> model, x = volume_diffusion(make, (4, 4, 1), sampling), jnp.zeros((1, 3, 4, 4, 1))
        >>> params = jax.jit(model.init)(jax.random.key(0), {"image": x, "source": x})
        >>> sorted(params), model.sample(params, jax.random.key(1), 1, x).shape
        (['net', 'volumetric'], (1, 3, 4, 4, 1))
    """
    net = of_volumes(make)

    def of_depth(depth: int) -> Model:
        return conditional_diffusion(net, (depth, *shape), sampling)

    def joined(params: Params) -> Params:
        return {"net": params["net"] | params["volumetric"]}

    def init(key: Key, batch: Batch) -> Params:
        planar, volumetric = split_volumetric(of_depth(batch["image"].shape[1]).init(key, batch)["net"])
        return {"net": planar if base is None else base, "volumetric": volumetric}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        return of_depth(batch["image"].shape[1]).objectives[0].loss(joined(params), key, batch)

    def sample(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        sources = sources_for(cond, n)
        return of_depth(sources.shape[1]).sample(joined(params), key, n, sources)

    return Model(init, (Objective("volumetric", loss),), sample)
