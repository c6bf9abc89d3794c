"""Models that answer a pair of images with a displacement field: VoxelMorph and DiffuseMorph."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxgen import draws
from jaxgen.losses.similarity import lncc
from jaxgen.losses.smoothness import diffusion_energy
from jaxgen.losses.times import uniform_time
from jaxgen.medical.registration.fields import exponential
from jaxgen.medical.registration.transformer import warp
from jaxgen.paths import Path, perturb
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params


class Alignment(NamedTuple):
    """What a field is trained for: ``weight (-LNCC(warp(M, u), F) + smoothness |grad u|^2)``.

    Attributes:
        weight: of both terms together.
        smoothness: of the diffusion energy of the field.
        window: side of the windows of the local correlation.
        squarings: steps of scaling and squaring, by which the network's answer is a velocity; 0 takes it as the field.
    """

    weight: float = 1.0
    smoothness: float = 1.0
    window: int = 9
    squarings: int = 0

    def field(self, answer: Array) -> Array:
        """The displacements ``[b, *spatial, r]`` that a network's answer stands for."""
        return exponential(answer, steps=self.squarings) if self.squarings else answer

    def loss(self, answer: Array, batch: Batch) -> tuple[Array, Info]:
        """The loss ``[b]`` of a network's answer, and its two parts."""
        moving, fixed = ((batch[name].astype(jnp.float32) + 1) / 2 for name in ("moving", "fixed"))
        similarity = lncc(warp(moving, self.field(answer)), fixed, window=self.window)
        energy = diffusion_energy(answer)
        return self.weight * (self.smoothness * energy - similarity), {"lncc": similarity, "energy": energy}


class Registration(NamedTuple):
    """A model of displacement fields.

    Attributes:
        model: how it is trained, on batches ``moving`` and ``fixed`` ``[b, *spatial, 1]`` in [-1, 1].
        flow: ``flow(params, moving, fixed, share=1.0) -> [b, *spatial, r]`` in voxels, see
            `jaxgen.medical.registration.warp`; `share` is how far to go, from 0 to 1.
    """

    model: Model
    flow: Callable[..., Array]


def voxelmorph(net: Net, alignment: Alignment = Alignment()) -> Registration:  # noqa: B008  (a tuple)
    """A network that answers both images with the field, trained without known fields.

    A share of the way is that share of its answer.

    Args:
        net: from ``[b, *spatial, 2]`` to ``[b, *spatial, r]``, such as `jaxgen.nets.deformation_net`.
        alignment: what it is trained for.

    Returns:
        A `Registration` with one group of parameters, ``"net"``.

    Reference:
        Balakrishnan et al. 2019, "VoxelMorph: a learning framework for deformable medical image registration", arXiv
        1809.05231, eqs. 2 to 8; Dalca et al. 2018, arXiv 1805.04605, for velocities.

    Example:
        >>> import jax
        >>> from jaxgen.nets import deformation_net
        >>> model, flow = voxelmorph(deformation_net((4, 8), (4,)))
        >>> batch = {"moving": jnp.zeros((2, 8, 8, 1)), "fixed": jnp.zeros((2, 8, 8, 1))}
        >>> params = jax.jit(model.init)(jax.random.key(0), batch)
        >>> flow(params, **batch).shape
        (2, 8, 8, 2)
    """

    def init(key: Key, batch: Batch) -> Params:
        return {"net": net.init(key, _joined(batch["moving"], batch["fixed"]))}

    def answer(params: Params, moving: Array, fixed: Array) -> Array:
        return net.apply(params["net"], _joined(moving, fixed))

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        del key
        return alignment.loss(answer(params, batch["moving"], batch["fixed"]), batch)

    def flow(params: Params, moving: Array, fixed: Array, share: Array | float = 1.0) -> Array:
        return alignment.field(share * answer(params, moving, fixed))

    return Registration(Model(init, (Objective("net", loss),), _draws_nothing), flow)


def diffusemorph(
    denoiser: Net,
    net: Net,
    path: Path,
    alignment: Alignment = Alignment(),  # noqa: B008  (a tuple)
    *,
    denoising: float = 1.0,
    direct: bool = False,
) -> Registration:
    """A diffusion network whose predicted noise, with the moving image, a second network turns into the field.

    The denoiser G learns the noise in the fixed image F, given F and the moving image M; the deformation network
    answers ``[M, z]`` with the field. Both are trained together:
    ``L = denoising |z - noise|^2 + alignment(u)``, ``z = G(M, F, F_t; t)``, ``u = net(M, z)``.
    To register, F itself stands for F_t at the data end of the path, and a share s of the way is ``net(M, s z)``.

    Nothing makes ``net(M, 0)`` zero: measure it. The deformation network sees F through z alone, which in training
    holds noise; `direct` shows it F as well.

    Args:
        denoiser: ``apply(params, x [b, *spatial, 3], t) -> [b, *spatial, 1]``, of M, F and F_t.
        net: from 2 channels, or 3 with `direct`, to ``[b, *spatial, r]``, such as `jaxgen.nets.deformation_net`.
        path: of the noise.
        alignment: what the field is trained for.
        denoising: the weight of the noise's error; 0 trains both networks for the field alone.
        direct: whether the deformation network sees the fixed image.

    Returns:
        A `Registration` with the groups ``"denoiser"`` and ``"net"``, trained by one loss.

    Reference:
        Kim, Han & Ye 2022, "DiffuseMorph: unsupervised deformable image registration using diffusion model", arXiv
        2112.05149, eqs. 7 to 10.

    Example:
        >>> import jax
        >>> from jaxgen.nets import deformation_net, unet
        >>> from jaxgen.paths import variance_preserving
        >>> nets = unet(1, channels=(8,), blocks=1), deformation_net((4, 8), (4,))
        >>> model, flow = diffusemorph(*nets, variance_preserving())
        >>> batch = {"moving": jnp.zeros((2, 8, 8, 1)), "fixed": jnp.zeros((2, 8, 8, 1))}
        >>> params = jax.jit(model.init)(jax.random.key(0), batch)
        >>> sorted(params), jax.eval_shape(flow, params, *batch.values()).shape
        (['denoiser', 'net'], (2, 8, 8, 2))
    """

    def seen(moving: Array, latent: Array, fixed: Array) -> Array:
        return _joined(moving, latent, fixed) if direct else _joined(moving, latent)

    def init(key: Key, batch: Batch) -> Params:
        denoiser_key, net_key = draws.split(key, 2)
        moving, fixed = batch["moving"], batch["fixed"]
        t = jnp.zeros(len(fixed))
        return {
            "denoiser": denoiser.init(denoiser_key, _joined(moving, fixed, fixed), t),
            "net": net.init(net_key, seen(moving, fixed, fixed)),
        }

    def latent(params: Params, moving: Array, fixed: Array, noisy: Array, t: Any, key: Key | None = None) -> Array:
        return denoiser.apply(params["denoiser"], _joined(moving, fixed, noisy), t, key=key)

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        noise_key, time_key, dropout_key = draws.split(key, 3)
        moving, fixed = batch["moving"].astype(jnp.float32), batch["fixed"].astype(jnp.float32)
        noise, t = draws.normal(noise_key, fixed.shape), uniform_time(path, time_key, len(fixed))
        z = latent(params, moving, fixed, perturb(path, fixed, noise, t), t, dropout_key)
        error = jnp.mean(jnp.square(z - noise), axis=tuple(range(1, z.ndim)))
        aligned, info = alignment.loss(net.apply(params["net"], seen(moving, z, fixed)), batch)
        return denoising * error + aligned, {**info, "denoising": error}

    def flow(params: Params, moving: Array, fixed: Array, share: Array | float = 1.0) -> Array:
        z = latent(params, moving, fixed, fixed, jnp.full(len(fixed), path.t_data))
        return alignment.field(net.apply(params["net"], seen(moving, share * z, fixed)))

    return Registration(Model(init, (Objective(("denoiser", "net"), loss),), _draws_nothing), flow)


def _joined(*images: Array) -> Array:
    return jnp.concatenate([x.astype(jnp.float32) for x in images], axis=-1)


def _draws_nothing(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
    raise TypeError("a registration draws nothing: it answers a pair of images with a field")
