"""Shifted time grids: large images keep their content longer under noise, so that more steps are spent there.

Averaging over the pixels of a region makes noise weaker but not what the pixels share. An image of m pixels needs
``sqrt(m / n)`` times the noise-to-signal ratio of one of n pixels to hide as much.
"""

import math

from jaxgen import paths
from jaxgen.paths import Path
from jaxgen.samplers import grids
from jaxgen.types import Array


def shifted(path: Path, steps: int, shift: float = 3.0, *, start: float | None = None) -> Array:
    """Equal steps in time, of which the noise-to-signal ratio is then multiplied: ``r(t_i) = shift r(u_i)``.

    On `jaxgen.paths.rectified`, with noise levels ``w = 1 - u``, the levels are ``shift w / (1 + (shift - 1) w)``.

    Args:
        path: the path; its log-SNR must increase from noise to data.
        steps: the number of steps, at least 1.
        shift: above 1 spends more steps at much noise, below 1 fewer; 1 is `grids.uniform`.
        start: the time to begin at; None for the noise end.

    Returns:
        Times ``[steps + 1]``; the first and the last stay where they are.

    Raises:
        ValueError: if there is no step, or the shift is not positive.

    Reference:
        Esser et al. 2024, "Scaling rectified flow transformers for high-resolution image synthesis", eq. 23.

    Example:
        >>> shifted(paths.rectified(), 2, 3.0).round(3).tolist()
        [0.0, 0.25, 1.0]
    """
    if not (shift > 0 and math.isfinite(shift)):
        raise ValueError(f"shift is {shift}: a number above 0 is needed")
    change = 2 * math.log(shift)
    begin = path.t_noise if start is None else start
    if start is not None:
        # The equal steps begin where the shift leads to `start`.
        start = float(paths.time_of_log_snr(path, paths.log_snr(path, start) + change))
    even = grids.uniform(path, steps, start=start)
    moved = paths.time_of_log_snr(path, paths.log_snr(path, even) - change)
    return moved.astype(even.dtype).at[0].set(begin).at[-1].set(path.t_data)


def shift_of_size(size: int, base: int = 32**3, dimensions: int = 3, scale: float = 1.0) -> float:
    """The shift for images of a size, ``scale (size / base)^(1 / dimensions)``, as MONAI's rectified flow has it.

    In 2-D it is the rule of Esser et al., ``sqrt(size / base)``.

    Args:
        size: pixels or voxels of an image (of its code, in latent diffusion).
        base: of the images whose shift is `scale`.
        dimensions: of the images.
        scale: multiplies the shift.

    Returns:
        The shift.

    Raises:
        ValueError: if a number is not positive.

    Reference:
        Esser et al. 2024, "Scaling rectified flow transformers for high-resolution image synthesis", eq. 23.

    Example:
        >>> shift_of_size(64**3)
        2.0
    """
    if min(size, base, dimensions, scale) <= 0:
        raise ValueError("size, base, dimensions and scale must be above 0")
    return scale * (size / base) ** (1 / dimensions)


def mu_of_tokens(
    tokens: int, base_shift: float = 0.5, max_shift: float = 1.15, base_tokens: int = 256, max_tokens: int = 4096
) -> float:
    """The logarithm of the shift for a number of tokens: straight through two points, as pipelines of FLUX have it.

    Args:
        tokens: of an image.
        base_shift: the logarithm at `base_tokens`.
        max_shift: the logarithm at `max_tokens`.
        base_tokens: the smaller number of tokens.
        max_tokens: the larger one.

    Returns:
        mu; the shift is ``exp(mu)``.

    Raises:
        ValueError: if the two numbers of tokens are equal.

    Example:
        >>> mu_of_tokens(256), mu_of_tokens(4096)
        (0.5, 1.15)
    """
    if base_tokens == max_tokens:
        raise ValueError(f"base_tokens and max_tokens are both {base_tokens}: two points are needed")
    share = (tokens - base_tokens) / (max_tokens - base_tokens)
    return base_shift + share * (max_shift - base_shift)
