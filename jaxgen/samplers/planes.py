"""Denoisers of volumes from denoisers of images: each plane of a volume has a prior of its own, and they take turns.

As both are plain denoisers, every sampler and every posterior method takes them as they are.
"""

import jax
import jax.numpy as jnp

from jaxgen.imaging.volumes import slices_of, volumes_of
from jaxgen.types import Array, Denoise


def plane_denoiser(denoise: Denoise, axis: int, *, together: int | None = None) -> Denoise:
    """Denoise every slice of volumes across an axis: ``x0_hat[i] = D(x_t[i], t)`` for slice i.

    Slices know nothing of each other: along the axis what is drawn is as rough as the noise.

    Args:
        denoise: of images ``[n, h, w, c]``.
        axis: 0, 1 or 2, that the slices lie across.
        together: slices at once, so that memory is bounded, in gradients too, where each is then computed twice; None
            for all.

    Returns:
        A denoiser of volumes ``[b, x, y, z, c]``, for a scalar t.

    Raises:
        ValueError: if the axis is none of these; when it is called, if x is no batch of volumes.

    Reference:
        Lee, Chung, Park, Park, Ryu & Ye 2023, "Improving 3D imaging with pre-trained perpendicular 2D diffusion
        models", section 3.

    Example:
        >>> from jaxgen.samplers import plane_denoiser
        >>> brightest = lambda x, t: 0 * x + x.max((1, 2, 3), keepdims=True)
        >>> x = jnp.arange(8.0).reshape(1, 2, 2, 2, 1)
        >>> plane_denoiser(brightest, 0)(x, 0.5).ravel().tolist()
        [3.0, 3.0, 3.0, 3.0, 7.0, 7.0, 7.0, 7.0]
    """
    if axis not in (0, 1, 2):
        raise ValueError(f"a volume has the axes 0, 1 and 2, not {axis}")

    def of_volumes(x: Array, t: Array) -> Array:
        if x.ndim != 5:
            raise ValueError(f"volumes [b, x, y, z, c] are needed, not {x.shape}")
        slices, count = slices_of(x, axis), x.shape[1 + axis]
        if together is None or len(slices) <= together:
            return volumes_of(denoise(slices, t), axis, count)
        filled = jnp.pad(slices, ((0, -len(slices) % together), *((0, 0),) * 3))
        some = jax.checkpoint(lambda part: denoise(part, t))
        found = jax.lax.map(some, filled.reshape(-1, together, *slices.shape[1:]))
        return volumes_of(found.reshape(filled.shape)[: len(slices)], axis, count)

    return of_volumes


def alternating(primary: Denoise, auxiliary: Denoise, times: Array, *, every: int = 2) -> Denoise:
    """Two denoisers in turn: that of step i is the auxiliary one if ``(i + 1) mod every = 0``, else the primary one.

    With short steps the score at every noise level is the weighted mean of both, that of
    ``p_primary(x_t)^(1 - 1 / every) p_auxiliary(x_t)^(1 / every)``.

    Args:
        primary: one denoiser.
        auxiliary: the other.
        times: of the sampler's grid, ``[steps + 1]``; step i begins at the i-th. Any other time counts as the nearest.
        every: K of the paper, 2 or more.

    Returns:
        A denoiser, for a scalar t; one of the two is evaluated.

    Raises:
        ValueError: if `every` is less than 2.

    Reference:
        Lee, Chung, Park, Park, Ryu & Ye 2023, "Improving 3D imaging with pre-trained perpendicular 2D diffusion
        models", algorithm 1; there the measurements enter in the primary steps alone.

    Example:
        >>> from jaxgen.samplers import alternating
        >>> times = jnp.array([1.0, 0.75, 0.5, 0.25, 0.0])
        >>> turns = alternating(lambda x, t: 0 * x, lambda x, t: 0 * x + 1, times, every=2)
        >>> [float(turns(jnp.zeros(1), t)[0]) for t in times[:-1]]
        [0.0, 1.0, 0.0, 1.0]
    """
    if every < 2:
        raise ValueError(f"one step in every {every} leaves no primary step; every must be 2 or more")

    def in_turn(x: Array, t: Array) -> Array:
        step = jnp.argmin(jnp.abs(jnp.asarray(times) - t))
        return jax.lax.cond((step + 1) % every == 0, auxiliary, primary, x, jnp.asarray(t))

    return in_turn
