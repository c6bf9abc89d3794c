"""The images of several coils side by side, each with the same prior: the multi-coil forms of score-MRI.

Coil images are real ``[b, h, w, 2 coils]``: real and imaginary part of the first coil, of the second, and so on.
"""

from typing import Any

import jax.numpy as jnp
from jax import lax

from jaxgen.imaging.coils import combine_coils
from jaxgen.imaging.fourier import centred_fft2, centred_ifft2, from_complex, to_complex
from jaxgen.imaging.mri import mri_operator
from jaxgen.imaging.operators import LinearOperator
from jaxgen.medical.reconstruction.residual import residual
from jaxgen.types import Array, Denoise, Key, Step


def join_channels(x: Array) -> Array:
    """Complex coil images ``[b, h, w, coils]`` from real ones ``[b, h, w, 2 coils]``.

    Raises:
        ValueError: if there is an odd number of channels.

    Example:
        >>> join_channels(jnp.array([[[[1.0, 2.0, 3.0, 4.0]]]])).ravel().tolist()
        [(1+2j), (3+4j)]
    """
    if x.shape[-1] % 2:
        raise ValueError(f"coil images need two channels a coil, not {x.shape[-1]} in all")
    return to_complex(x.reshape(*x.shape[:-1], x.shape[-1] // 2, 2))


def split_channels(z: Array) -> Array:
    """Real coil images ``[b, h, w, 2 coils]`` from complex ones ``[b, h, w, coils]``; the inverse of `join_channels`.

    Example:
        >>> split_channels(jnp.array([[[[1 + 2j, 3 + 4j]]]])).ravel().tolist()
        [1.0, 2.0, 3.0, 4.0]
    """
    return from_complex(z).reshape(*z.shape[:-1], 2 * z.shape[-1])


def coilwise_operator(mask: Array) -> LinearOperator:
    """Masked k-space of each coil's image by itself: ``A x = M F x_c``, with no sensitivities.

    With `jaxgen.medical.reconstruction.score_mri` and `complex_denoiser` each coil is reconstructed alone, and
    `jaxgen.imaging.coils.root_sum_of_squares` joins them.

    Args:
        mask: ``[h, w]`` or ``[b, h, w]``, 1 where measured.

    Returns:
        ``forward: [b, h, w, 2 coils] -> [b, h, w, coils]`` and its adjoint.

    Reference:
        Chung & Ye 2022, "Score-based diffusion models for accelerated MRI", section 3.4.

    Example:
        >>> coilwise_operator(jnp.ones((4, 6))).forward(jnp.ones((1, 4, 6, 16))).shape
        (1, 4, 6, 8)
    """
    kept = jnp.asarray(mask, jnp.float32)[..., None]
    return LinearOperator(
        lambda x: kept * centred_fft2(join_channels(x)), lambda y: split_channels(centred_ifft2(kept * y))
    )


def couple_coils(
    step: Step, mask: Array, sensitivities: Array, y: Array, grid: Array, *, every: int = 50, last: float = 0.2
) -> Step:
    """After every few steps, bring the coils to one image: the hybrid form of multi-coil score-MRI.

    ``x <- sum_c conj(S_c) x_c``, ``x <- x + strength A' (y - A x)`` with all coils together, ``x_c <- S_c x``. The
    strength falls linearly from 1 at the first step of the grid to `last` at its last one.

    Args:
        step: of coil images ``[b, h, w, 2 coils]``, such as `jaxgen.medical.reconstruction.score_mri` with
            `coilwise_operator`, on `jaxgen.paths.variance_exploding`.
        mask: ``[h, w]`` or ``[b, h, w]``.
        sensitivities: complex ``[h, w, coils]`` or ``[b, h, w, coils]``, normalised; estimate them from the calibration
            region alone (`jaxgen.imaging.coils`).
        y: k-space ``[b, h, w, coils]``.
        grid: the times that it is sampled on: steps are counted along it.
        every: how many steps apart, at least 1; the last step of the grid is always one.
        last: the strength at the end of the grid.

    Returns:
        A step with the state of `step`.

    Reference:
        Chung & Ye 2022, "Score-based diffusion models for accelerated MRI", algorithm 5; the published code lets the
        strength fall with a fixed number of 2000 steps, whatever the grid.

    Example:
        >>> from jaxgen.paths import rectified
        >>> from jaxgen.samplers import Sample, ddim
        >>> mask, coils, y = jnp.ones((1, 1)), jnp.ones((1, 1, 1), jnp.complex64), jnp.full((1, 1, 1, 1), 2j)
        >>> grid = jnp.array([0.0, 1.0])
        >>> step = couple_coils(ddim(rectified()), mask, coils, y, grid)
        >>> x = Sample(jnp.zeros((1, 1, 1, 2)))
        >>> step.step(lambda x, t: x, None, x, grid[0], grid[1]).x.ravel().tolist()
        [0.0, 2.0]
    """
    operator = mri_operator(mask, sensitivities, channels=2)
    steps = len(grid) - 1

    def couple(x: Array, strength: Array) -> Array:
        image = from_complex(combine_coils(join_channels(x), sensitivities))
        image = image + strength * operator.adjoint(residual(operator, y, image))
        return split_channels(sensitivities * to_complex(image)[..., None]).astype(x.dtype)

    def coupled(denoise: Denoise, key: Key, state: Any, t: Array, s: Array) -> Any:
        state = step.step(denoise, key, state, t, s)
        index = jnp.argmin(jnp.abs(grid - t))
        due = ((index + 1) % every == 0) | (index == steps - 1)
        strength = 1 - (1 - last) * index / max(1, steps - 1)
        return state._replace(x=lax.cond(due, couple, lambda x, strength: x, state.x, strength))

    return Step(step.init, coupled)
