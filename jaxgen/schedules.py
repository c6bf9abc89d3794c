"""Tables of noise rates (betas) of discrete diffusion models, for `jaxgen.paths.discrete`.

Entry i of a table of T says how much noise step i adds: ``x_i = sqrt(1 - beta_i) x_{i-1} + sqrt(beta_i) z``. All
tables are computed in float64 and given as float32.
"""

from typing import Any

import numpy as np


def linear_betas(T: int, start: float = 1e-4, end: float = 0.02) -> np.ndarray:
    """Noise rates equally spaced from `start` to `end`.

    Args:
        T: the length of the table.
        start: the first rate.
        end: the last rate.

    Returns:
        Float32 ``[T]``.

    Reference:
        Ho, Jain & Abbeel 2020, "Denoising diffusion probabilistic models", section 4.

    Example:
        >>> linear_betas(3, 0.25, 0.75).tolist()
        [0.25, 0.5, 0.75]
    """
    return np.linspace(start, end, T).astype(np.float32)


def scaled_linear_betas(T: int, start: float = 0.00085, end: float = 0.012) -> np.ndarray:
    """Noise rates whose square roots are equally spaced: the table of latent diffusion.

    Args:
        T: the length of the table.
        start: the first rate.
        end: the last rate.

    Returns:
        Float32 ``[T]``.

    Reference:
        Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models" (the published code).

    Example:
        >>> scaled_linear_betas(3, 0.25, 1.0).tolist()
        [0.25, 0.5625, 1.0]
    """
    return (np.linspace(np.sqrt(start), np.sqrt(end), T) ** 2).astype(np.float32)


def cosine_betas(T: int, max_beta: float = 0.999) -> np.ndarray:
    """The squared cosine table: the rates of `jaxgen.paths.cosine` at times ``(i + 1) / T``, cut at `max_beta`.

    Args:
        T: the length of the table.
        max_beta: the largest rate; 1 lets the table end without signal.

    Returns:
        Float32 ``[T]``.

    Reference:
        Nichol & Dhariwal 2021, "Improved denoising diffusion probabilistic models", eq. 17 and the text below it.

    Example:
        >>> [round(float(beta), 3) for beta in cosine_betas(4)]
        [0.153, 0.417, 0.708, 0.999]
    """
    kept = np.cos((np.arange(T + 1) / T + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - kept[1:] / kept[:-1], max_beta).astype(np.float32)


def sigmoid_betas(T: int, start: float = 1e-4, end: float = 0.02) -> np.ndarray:
    """Noise rates that rise from `start` to `end` as the logistic function does from -6 to 6.

    Args:
        T: the length of the table.
        start: the rate that it rises from.
        end: the rate that it rises to.

    Returns:
        Float32 ``[T]``.

    Reference:
        Xu et al. 2022, "GeoDiff" (the published code).

    Example:
        >>> [round(float(beta), 3) for beta in sigmoid_betas(3, 0.0, 1.0)]
        [0.002, 0.5, 0.998]
    """
    return (start + (end - start) / (1 + np.exp(-np.linspace(-6, 6, T)))).astype(np.float32)


def zero_terminal_snr(betas: Any) -> np.ndarray:
    """Change a table so that nothing of the data is left at its end: alpha is shifted and scaled to end at 0.

    ``alpha_i <- alpha_0 (alpha_i - alpha_T) / (alpha_0 - alpha_T)``: the first rate is kept, the last is exactly 1.

    Args:
        betas: the table ``[T]``, T at least 2.

    Returns:
        Float32 ``[T]``.

    Reference:
        Lin et al. 2024, "Common diffusion noise schedules and sample steps are flawed", algorithm 1.

    Example:
        >>> zero_terminal_snr(linear_betas(1000))[[0, -1]].tolist()
        [9.999999747378752e-05, 1.0]
    """
    alpha = np.sqrt(np.cumprod(1 - np.asarray(betas, np.float64)))
    kept = (alpha[0] * (alpha - alpha[-1]) / (alpha[0] - alpha[-1])) ** 2
    return (1 - kept / np.concatenate([[1.0], kept[:-1]])).astype(np.float32)
