"""AnoDDPM: an image is noised half-way and denoised by a model of healthy images; what does not come back is anomalous.

The level is a bandwidth. Detail finer than where the noise's spectrum drowns the image's is made up anew, coarser
detail is copied: white noise drowns the finest detail first, so that large lesions survive it; coarse and simplex noise
reach them. The noise's distribution is a function ``(key, shape) -> noise``, the same one in training
(`jaxgen.families.diffusion_model`), on the way up (here) and on the way down (``ddim(path, eta, noise=noise)``).
"""

import functools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgen import draws
from jaxgen.imaging.noise import coarse_noise, simplex_noise
from jaxgen.paths import Path, perturb
from jaxgen.samplers import sample
from jaxgen.types import Array, Denoise, Key, NoiseDistribution, Step

SIMPLEX_STD = 0.515
"""Of the simplex noise of the published code, which is not scaled to 1."""


def make_simplex_noise(
    wavelength: float = 64.0, *, octaves: int = 6, persistence: float = 0.8, std: float = 1.0
) -> NoiseDistribution:
    """Simplex noise as a distribution; its defaults are AnoDDPM's but for the standard deviation.

    Args:
        wavelength: of the first octave, in pixels.
        octaves: how many, each of half the wavelength of the one before.
        persistence: the amplitude of an octave relative to the one before.
        std: standard deviation of the noise; `SIMPLEX_STD` is faithful to the published code.

    Returns:
        The distribution, ``(key, shape) -> noise``.

    Reference:
        Wyatt et al. 2022, "AnoDDPM: anomaly detection with denoising diffusion probabilistic models using simplex
        noise".

    Example:
        >>> import jax
        >>> make_simplex_noise(16.0)(jax.random.key(0), (2, 16, 16, 1)).shape
        (2, 16, 16, 1)
    """
    drawn = functools.partial(simplex_noise, octaves=octaves, persistence=persistence, wavelength=wavelength)
    return lambda key, shape: std * drawn(key, shape)


def make_coarse_noise(cells: int) -> NoiseDistribution:
    """Coarse noise as a distribution, scaled to variance 1: Gaussian noise on a small grid, enlarged linearly.

    `jaxgen.imaging.noise.coarse_noise` has standard deviation 1 at the nodes alone; its mean variance over the image is
    divided out.

    Args:
        cells: nodes of the grid along each axis.

    Returns:
        The distribution, ``(key, shape) -> noise``.

    Reference:
        Kascenas et al. 2022, "Denoising autoencoders for unsupervised anomaly detection in brain MRI", for the noise.

    Example:
        >>> import jax
        >>> bool(abs(make_coarse_noise(4)(jax.random.key(0), (64, 32, 32, 1)).std() - 1) < 0.05)
        True
    """

    def noise(key: Key, shape: tuple[int, ...]) -> Array:
        variance = 1.0
        for n in shape[1:-1]:
            variance *= _correlation(n, cells)[0]
        return coarse_noise(key, shape, cells) / variance**0.5

    return noise


def named_noise(
    name: str, size: int, *, wavelength: float = 64.0, std: float = 1.0, cells: int = 8
) -> NoiseDistribution:
    """Noise by its name: white, simplex, coarse, or coarse16 for coarse noise of 16 nodes along each axis.

    Args:
        name: of the noise.
        size: pixels along an axis of the images; coarse noise has no more nodes.
        wavelength: of the first octave of simplex noise, in pixels.
        std: standard deviation of simplex noise; the others have 1.
        cells: nodes of coarse noise whose name does not say.

    Returns:
        The distribution.

    Example:
        >>> import jax
        >>> named_noise("coarse4", 32)(jax.random.key(0), (2, 32, 32, 1)).shape
        (2, 32, 32, 1)
    """
    if name == "white":
        return draws.normal
    if name == "simplex":
        return make_simplex_noise(wavelength, std=std)
    return make_coarse_noise(min(int(name.removeprefix("coarse") or cells), size))


def averaged(restore: Callable[[Key], Array], keys: Key, repeats: int) -> Array:
    """The mean of what ``restore(keys [b])`` gives with several draws of noise per image, one after the other.

    Args:
        restore: ``keys [b] -> [b, ...]``.
        keys: ``[b]``.
        repeats: the number of draws.

    Returns:
        ``[b, ...]``.

    Example:
        >>> import jax
        >>> averaged(lambda keys: jnp.ones(len(keys)), jax.random.split(jax.random.key(0), 2), 3).tolist()
        [1.0, 1.0]
    """

    def once(_: None, drawn: Key) -> tuple[None, Array]:
        return None, restore(drawn)

    return jnp.mean(lax.scan(once, None, draws.split(keys, repeats))[1], 0)


def coarse_covariance(cells: int) -> Callable[[Array], Array]:
    """Multiplication by the covariance of `make_coarse_noise`, ``[b, *spatial, c] -> [b, *spatial, c]``.

    The random shift makes it the same everywhere: a product over the axes of matrices ``C[i, j] = c[(j - i) mod n]``,
    each with 1 on its diagonal.

    Args:
        cells: nodes of the grid along each axis.

    Returns:
        The multiplication, for `jaxgen.guidance.classifier`.

    Reference:
        The noise is that of Kascenas et al. 2022, "Denoising autoencoders for unsupervised anomaly detection in brain
        MRI"; its covariance follows from linear interpolation.

    Example:
        >>> import jax.numpy as jnp
        >>> spread = coarse_covariance(4)(jnp.zeros((1, 8, 8, 1)).at[0, 4, 4, 0].set(1.0))[0, 4, :, 0]
        >>> [round(float(value), 2) for value in spread]
        [0.0, 0.02, 0.22, 0.65, 1.0, 0.65, 0.22, 0.02]
    """

    def multiply(v: Array) -> Array:
        for axis, n in enumerate(v.shape[1:-1], 1):
            row = _correlation(n, cells)
            lag = (np.arange(n) - np.arange(n)[:, None]) % n
            matrix = jnp.asarray((row / row[0])[lag], v.dtype)
            v = jnp.moveaxis(jnp.tensordot(v, matrix, ([axis], [1])), -1, axis)
        return v

    return multiply


@functools.lru_cache(maxsize=32)
def _correlation(n: int, cells: int) -> np.ndarray:
    """The mean product ``[n]`` of two numbers of one axis that are 0, 1, ... pixels apart around the circle."""
    products = _enlargement(n, cells) @ _enlargement(n, cells).T
    return np.array([np.trace(np.roll(products, -k, axis=1)) / n for k in range(n)])


def _enlargement(n: int, cells: int) -> np.ndarray:
    """The matrix ``[n, cells]`` of linear enlargement, as `jax.image.resize` has it."""
    place = np.clip((np.arange(n) + 0.5) * cells / n - 0.5, 0, cells - 1)
    return np.maximum(1 - np.abs(place[:, None] - np.arange(cells)), 0)


def partial_diffusion(
    step: Step,
    path: Path,
    denoise: Denoise,
    key: Key,
    x: Array,
    grid: Array,
    *,
    noise: NoiseDistribution = draws.normal,
    repeats: int = 1,
) -> Array:
    """Noise images up to the grid's first time and sample from there, several times each, as one batch.

    ``x_level = alpha x + sigma n``, then the steps of the grid. A grid that begins at the data end (a level of 0) gives
    the images back, to the bit.

    Args:
        step: ``ddim(path)``, or ``ddim(path, 1.0, noise=noise)`` and ``ddpm(path, noise=noise)`` for ancestral steps.
        path: the path.
        denoise: of healthy images, for this distribution of the noise.
        key: one key, or keys ``[b]``.
        x: images ``[b, *spatial, c]``, in the range that the denoiser was trained on.
        grid: times ``[steps + 1]`` that begin at the level: ``grids.uniform(path, steps, start=level)``. One step is a
            single call of the denoiser.
        noise: distribution of the noise, ``(key, shape) -> noise``.
        repeats: how many draws of noise an image.

    Returns:
        Healthy versions ``[repeats, b, *spatial, c]``; their mean over the first axis makes the surest residual.

    Reference:
        Wyatt et al. 2022, "AnoDDPM: anomaly detection with denoising diffusion probabilistic models using simplex
        noise".

    Example:
        >>> import jax
        >>> from jaxgen.paths import variance_preserving
        >>> from jaxgen.samplers import ddim, grids
        >>> path, x = variance_preserving(), jnp.ones((2, 4, 4, 1))
        >>> grid = grids.uniform(path, 3, start=0.25)
        >>> partial_diffusion(ddim(path), path, lambda x, t: 0 * x, jax.random.key(0), x, grid, repeats=5).shape
        (5, 2, 4, 4, 1)
    """
    b = x.shape[0]
    if key.ndim == 0:
        key = draws.split(key, b)
    # Repeats lie outside of the batch: all draws of an image come from its own key.
    keys = draws.split(key, repeats).reshape(repeats * b)
    many = jnp.broadcast_to(x, (repeats, *x.shape)).reshape(repeats * b, *x.shape[1:])
    noise_keys, step_keys = draws.split(keys, 2)
    noised = perturb(path, many, noise(noise_keys, many.shape).astype(x.dtype), grid[0]).astype(x.dtype)
    restored = sample(step, denoise, step_keys, noised, grid)
    return lax.select(jnp.broadcast_to(grid[0] == path.t_data, many.shape), many, restored).reshape(repeats, *x.shape)
