"""Coil sensitivities of parallel MRI: simulated, estimated from the calibration region, and coils joined to one image.

Sensitivities are complex64 ``[h, w, coils]`` or ``[b, h, w, coils]``, normalised to ``sum_c |S_c|^2 = 1`` where there
is signal and 0 elsewhere: then ``|A| <= 1`` for `jaxgen.imaging.mri.mri_operator`.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.imaging.fourier import centred_ifft2
from jaxgen.types import Array, Key


def root_sum_of_squares(images: Array) -> Array:
    """``sqrt(sum_c |x_c|^2)`` over the last axis.

    Args:
        images: of the coils, ``[..., coils]``.

    Returns:
        Real, ``[...]``.

    Reference:
        Roemer et al. 1990, "The NMR phased array".

    Example:
        >>> root_sum_of_squares(jnp.array([3.0, 4.0j])).tolist()
        5.0
    """
    return jnp.sqrt(jnp.sum(jnp.real(images * jnp.conj(images)), -1))


def combine_coils(images: Array, sensitivities: Array) -> Array:
    """``sum_c conj(S_c) x_c``: the image of least squares for normalised sensitivities.

    Args:
        images: of the coils, ``[b, h, w, coils]``.
        sensitivities: ``[h, w, coils]`` or ``[b, h, w, coils]``.

    Returns:
        Complex, ``[b, h, w]``.

    Reference:
        Roemer et al. 1990, "The NMR phased array".

    Example:
        >>> combine_coils(jnp.array([[[[2.0, 2.0j]]]]), jnp.array([[[1.0, 1.0j]]]) / 2**0.5).round(4).tolist()
        [[[(2.828399896621704+0j)]]]
    """
    return jnp.sum(jnp.conj(sensitivities) * images, -1)


def normalise_coils(sensitivities: Array) -> Array:
    """Divide by the root sum of squares, where it is not 0.

    Args:
        sensitivities: ``[..., coils]``.

    Returns:
        The same shape, with ``sum_c |S_c|^2`` 1, or 0 where it was 0.

    Example:
        >>> normalise_coils(jnp.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    total = root_sum_of_squares(sensitivities)[..., None]
    return jnp.where(total > 0, sensitivities / jnp.where(total > 0, total, 1), 0)


def simulated_coils(key: Key, shape: tuple[int, int], coils: int, *, radius: float = 1.5) -> Array:
    """Sensitivities like those of a birdcage: small loops on a ring round the field of view.

    Magnitude ``1 / d`` and phase the direction to the loop, d its distance; the ring has a random rotation, and each
    coil a phase of its own.

    Args:
        key: a key.
        shape: ``(h, w)``.
        coils: how many.
        radius: of the ring, in half widths of the image; above ``sqrt(2)`` no loop lies in the image.

    Returns:
        Complex64 ``[h, w, coils]``, normalised.

    Raises:
        ValueError: if there is no coil, or the ring is not above 0.

    Reference:
        Hayes et al. 1985, "An efficient, highly homogeneous radiofrequency coil", for the birdcage.

    Example:
        >>> simulated_coils(jax.random.key(0), (8, 8), 4).shape
        (8, 8, 4)
    """
    if coils < 1 or radius <= 0:
        raise ValueError(
            f"{coils} coils on a ring of radius {radius}: at least one coil and a radius above 0 are needed"
        )
    height, width = shape
    turn_key, phase_key = jax.random.split(key)
    angle = 2 * jnp.pi * (jnp.arange(coils) / coils + jax.random.uniform(turn_key))
    own = jax.random.uniform(phase_key, (coils,), maxval=2 * jnp.pi)
    down = 2 * (jnp.arange(height) - height // 2)[:, None, None] / height - radius * jnp.sin(angle)
    right = 2 * (jnp.arange(width) - width // 2)[None, :, None] / width - radius * jnp.cos(angle)
    distance = jnp.sqrt(down**2 + right**2 + 1e-3)
    return normalise_coils(jnp.exp(1j * (jnp.arctan2(down, right) - angle + own)) / distance).astype(jnp.complex64)


def calibration_size(mask: np.ndarray) -> tuple[int, int]:
    """The largest fully measured rectangle about the centre of k-space.

    Args:
        mask: concrete, ``[h, w]`` of 0 and 1.

    Returns:
        ``(height, width)``; ``(0, 0)`` if the centre itself is not measured.

    Raises:
        ValueError: if the mask is not ``[h, w]``.

    Example:
        >>> mask = np.zeros((8, 8))
        >>> mask[:, 2:6] = 1
        >>> calibration_size(mask)
        (8, 4)
    """
    mask = np.asarray(mask) > 0
    if mask.ndim != 2:
        raise ValueError(f"a mask [h, w] is needed, not {mask.shape}")

    def central(line: np.ndarray) -> int:
        """The most entries about n // 2 that are all measured, as `calibration_region` takes them."""
        n = len(line)
        counts = (c for c in range(n, 0, -1) if line[n // 2 - c // 2 : n // 2 - c // 2 + c].all())
        return next(counts, 0)

    best, height = (0, 0), mask.shape[0]
    for rows in range(height, 0, -1):
        first = height // 2 - rows // 2
        columns = central(np.all(mask[first : first + rows], axis=0))
        best = max(best, (rows, columns), key=lambda size: size[0] * size[1])
    return best if min(best) else (0, 0)


def calibration_region(kspace: Array, size: tuple[int, int]) -> Array:
    """The central part of k-space.

    Args:
        kspace: ``[b, h, w, coils]``.
        size: ``(height, width)`` of the part.

    Returns:
        ``[b, height, width, coils]``, zero frequency at ``[height // 2, width // 2]``.

    Raises:
        ValueError: if the part is empty or larger than k-space.

    Example:
        >>> calibration_region(jnp.arange(5.0).reshape(1, 1, 5, 1), (1, 3)).ravel().tolist()
        [1.0, 2.0, 3.0]
    """
    if any(not 1 <= n <= have for n, have in zip(size, kspace.shape[1:3], strict=True)):
        raise ValueError(f"a calibration region of {size} does not fit k-space of {kspace.shape[1:3]}")
    top, left = (have // 2 - n // 2 for n, have in zip(size, kspace.shape[1:3], strict=True))
    return kspace[:, top : top + size[0], left : left + size[1]]


def low_resolution_images(kspace: Array, size: tuple[int, int]) -> Array:
    """Coil images of the calibration region alone, under a Hann window against ringing.

    Args:
        kspace: ``[b, h, w, coils]``; only the calibration region counts.
        size: ``(height, width)`` of that region.

    Returns:
        Complex ``[b, h, w, coils]``.

    Raises:
        ValueError: if the region is empty or larger than k-space.

    Example:
        >>> low_resolution_images(jnp.ones((1, 8, 8, 2), jnp.complex64), (4, 4)).shape
        (1, 8, 8, 2)
    """
    part = calibration_region(kspace, size)
    # n + 2 points with the zeros at both ends left out, and the top at n // 2 for odd and even n.
    rows, columns = (0.5 + 0.5 * np.cos(2 * np.pi * (np.arange(n) - n // 2) / (n + 1)) for n in size)
    part = part * jnp.asarray(np.outer(rows, columns)[..., None], part.real.dtype)
    return centred_ifft2(_zero_padded(part, kspace.shape[1:3]))


def low_resolution_coils(kspace: Array, size: tuple[int, int]) -> Array:
    """Sensitivities as low-resolution coil images by their root sum of squares: cheap, and defined everywhere.

    Args:
        kspace: ``[b, h, w, coils]``; only the calibration region counts.
        size: ``(height, width)`` of that region.

    Returns:
        Complex ``[b, h, w, coils]``, normalised. They carry the low-resolution phase of the image, which is then
        missing from the image to be found.

    Raises:
        ValueError: if the region is empty or larger than k-space.

    Reference:
        McKenzie et al. 2002, "Self-calibrating parallel imaging with automatic coil sensitivity extraction".

    Example:
        >>> low_resolution_coils(jnp.ones((1, 8, 8, 4), jnp.complex64), (4, 4)).shape
        (1, 8, 8, 4)
    """
    return normalise_coils(low_resolution_images(kspace, size))


def _zero_padded(part: Array, shape: tuple[int, ...]) -> Array:
    """`part` ``[b, height, width, ...]`` in the middle of zeros of `shape`, zero frequency on zero frequency."""
    before = [n // 2 - m // 2 for n, m in zip(shape, part.shape[1:3], strict=True)]
    after = [n - m - b for n, m, b in zip(shape, part.shape[1:3], before, strict=True)]
    return jnp.pad(part, [(0, 0), *zip(before, after, strict=True), *[(0, 0)] * (part.ndim - 3)])


def espirit(
    kspace: Array, size: tuple[int, int], *, kernel: int = 6, threshold: float = 0.02, crop: float = 0.95
) -> Array:
    """Sensitivities as eigenvectors of the relations between neighbouring samples of the calibration region (ESPIRiT).

    Patches of ``kernel x kernel`` samples of all coils span a space; W projects on its directions with singular values
    above `threshold` times the largest. k-space that agrees with the calibration region stays what it is when each of
    its patches is projected and the patches are averaged. That is a convolution, so an image it leaves unchanged obeys

    ``G(r) S(r) = S(r)``,  ``G(r)[c, d] = 1 / kernel^2 sum_(a, b) W[(a, c), (b, d)] exp(2 pi 1j (a - b) r)``.

    S(r) is the eigenvector of G(r) with an eigenvalue near 1; where the eigenvalue is at most `crop` there is no signal
    and S is 0.

    Args:
        kspace: ``[b, h, w, coils]``; only the calibration region counts.
        size: ``(height, width)`` of that region; 24 x 24 is plenty, and more than 32 costs time for little.
        kernel: side of a patch; the image must be at least twice as large.
        threshold: of the singular values, relative to the largest.
        crop: of the eigenvalues; from 0 (keep all) to below 1.

    Returns:
        Complex64 ``[b, h, w, coils]``, normalised. The phase is free at each pixel: that combination of coils which is
        strongest in the calibration region is made real and positive.

    Raises:
        ValueError: if the region is smaller than the kernel or does not fit k-space, or the kernel the image.

    Reference:
        Uecker et al. 2014, "ESPIRiT: an eigenvalue approach to autocalibrating parallel MRI".

    Example:
        >>> maps = simulated_coils(jax.random.key(0), (16, 16), 4)
        >>> from jaxgen.imaging.fourier import centred_fft2
        >>> espirit(centred_fft2(maps[None]), (12, 12), kernel=4).shape
        (1, 16, 16, 4)
    """
    height, width, coils = kspace.shape[1:]
    if min(size) < kernel or min(height, width) < 2 * kernel:
        raise ValueError(
            f"a kernel of {kernel} does not fit a calibration region of {size} in {height} x {width} samples"
        )
    part = calibration_region(kspace, size)
    place = [np.arange(n - kernel + 1)[:, None] + np.arange(kernel) for n in size]
    within = np.arange(kernel)
    difference = within[:, None] - within + kernel - 1
    shift = (difference[:, None, :, None] * (2 * kernel - 1) + difference[None, :, None, :]).reshape(kernel**2, -1)

    def one(part: Array) -> Array:
        """Of one example, ``[height, width, coils]``."""
        patches = part[place[0][:, None, :, None], place[1][None, :, None, :]].reshape(-1, kernel**2 * coils)
        values, vectors = jnp.linalg.eigh(patches.T @ jnp.conj(patches))
        vectors = vectors * (values > threshold**2 * values[-1])
        projection = (vectors @ jnp.conj(vectors).T).reshape(kernel**2, coils, kernel**2, coils)
        # Add up the entries of one displacement a - b.
        summed = jnp.zeros(((2 * kernel - 1) ** 2, coils, coils), projection.dtype)
        summed = summed.at[shift].add(projection.transpose(0, 2, 1, 3))
        placed = summed.reshape(2 * kernel - 1, 2 * kernel - 1, coils, coils)
        relations = _zero_padded(placed[None] / kernel**2, (height, width))
        found = centred_ifft2(relations)[0] * math.sqrt(height * width)
        strength, directions = jnp.linalg.eigh(found)
        maps, strength = directions[..., -1], strength[..., -1:]
        strongest = jnp.linalg.eigh(jnp.einsum("hwc,hwd->cd", part, jnp.conj(part)))[1][:, -1]
        reference = maps @ jnp.conj(strongest)
        turn = jnp.exp(-1j * jnp.angle(reference))[..., None]
        return jnp.where(strength > crop, maps * turn, 0).astype(jnp.complex64)

    return jax.lax.map(one, part)
