"""The noise of images: how much there is at each frequency, how it varies from place to place, what it hides."""

import numpy as np
from scipy import ndimage


def noise_power(noise: np.ndarray) -> np.ndarray:
    """The noise power spectrum averaged over directions: ``mean |DFT(w n)|^2 / mean w^2 / pixels`` by frequency.

    Args:
        noise: images of noise ``[n, h, h]``, in pixels of width 1; they are weighed by a von Hann window.

    Returns:
        ``[h // 2]``, at frequencies 0.5 k / (h // 2) periods a pixel; its mean over the plane is the variance.

    Reference:
        Boedeker et al. 2007, "Application of the noise power spectrum in modern diagnostic MDCT", eq. 3.

    Example:
        >>> white = np.random.default_rng(0).standard_normal((50, 32, 32))
        >>> bool(np.abs(noise_power(white)[2:] - 1).max() < 0.2)
        True
    """
    h = noise.shape[1]
    window = np.outer(*(np.hanning(h + 2)[1:-1],) * 2)
    power = np.mean(np.abs(np.fft.fft2(noise * window)) ** 2, 0) / np.mean(window**2) / h**2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(h), np.fft.fftfreq(h)))
    ring = np.round(frequency * h).astype(int)
    total, count = (np.bincount(ring.ravel(), weights) for weights in (power.ravel(), np.ones(h * h)))
    return (total / np.maximum(count, 1))[: h // 2]


def noise_power_distance(noise: np.ndarray, reference: np.ndarray) -> float:
    """How far the noise power spectrum is from another: ``sum f |N - N_ref| / sum f N_ref``.

    Weighed with the frequency f, for as many waves of a frequency there are. 0 for equal spectra; 1 where there is no
    noise at all.

    Args:
        noise: images of noise ``[n, h, h]``.
        reference: the noise that it should be, of the same size.

    Example:
        >>> white = np.random.default_rng(0).standard_normal((2, 16, 16))
        >>> noise_power_distance(white, white), noise_power_distance(0 * white, white)
        (0.0, 1.0)
    """
    found, wanted = noise_power(noise), noise_power(reference)
    frequency = np.arange(len(found))
    return float((frequency * np.abs(found - wanted)).sum() / (frequency * wanted).sum())


def local_std_error(x: np.ndarray, reference: np.ndarray, *, side: int = 5) -> float:
    """How far the standard deviation in windows is from that of a reference: ``mean |s - s_ref| / mean s_ref``.

    Args:
        x: images ``[n, h, w]``.
        reference: of the same shape.
        side: of a window in pixels.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((1, 16, 16))
        >>> local_std_error(x, x), round(local_std_error(2 * x, x), 6)
        (0.0, 1.0)
    """
    found, wanted = (_local_std(np.asarray(image, np.float64), side) for image in (x, reference))
    return float(np.abs(found - wanted).mean() / wanted.mean())


def contrast_to_noise(x: np.ndarray, masks: np.ndarray, *, ring: int = 3) -> float:
    """Contrast of lesions to a ring around them over the standard deviation in that ring, the mean over lesions.

    Args:
        x: images ``[n, h, w]``.
        masks: of lesions ``[n, h, w]``, one an image; images without are left out.
        ring: its width in pixels; it begins one pixel away from the lesion.

    Returns:
        The mean, NaN without any lesion.

    Example:
        >>> x = np.zeros((1, 16, 16))
        >>> x[0, ::2] = 1.0
        >>> mask = np.zeros((1, 16, 16), bool)
        >>> mask[0, 6:10, 6:10] = True
        >>> round(contrast_to_noise(x + 2 * mask, mask), 1)
        4.0
    """
    found = []
    for image, mask in zip(x, masks > 0, strict=True):
        if mask.any():
            around = ndimage.binary_dilation(mask, iterations=1 + ring) & ~ndimage.binary_dilation(mask)
            found.append((image[mask].mean() - image[around].mean()) / max(image[around].std(), 1e-6))
    return float(np.mean(found)) if found else float("nan")


def false_structures(
    errors: np.ndarray, noise: np.ndarray, masks: np.ndarray | None = None, *, sigma: float = 1.5
) -> float:
    """Energy of errors at the size of small lesions over that of noise: ``sum (D * e)^2 / sum (D * n)^2``.

    D is the difference of two Gaussians, of standard deviations `sigma` and twice that. Above 1 is more that could be
    taken for a lesion than that noise holds.

    Args:
        errors: images without the true, noiseless ones ``[n, h, w]``.
        noise: what is to be held against, ``[n, h, w]``.
        masks: of lesions ``[n, h, w]``; images with one are left out.
        sigma: in pixels, half of the radius of what is looked for.

    Returns:
        The ratio, NaN if all images have a lesion.

    Example:
        >>> noise = np.random.default_rng(0).standard_normal((2, 32, 32))
        >>> false_structures(noise, noise), false_structures(2 * noise, noise), false_structures(0 * noise + 1, noise)
        (1.0, 4.0, 0.0)
    """
    chosen = np.ones(len(errors), bool) if masks is None else ~(masks > 0).any((1, 2))
    found, held = (
        ndimage.gaussian_filter(x, (0, sigma, sigma)) - ndimage.gaussian_filter(x, (0, 2 * sigma, 2 * sigma))
        for x in (np.asarray(errors, np.float64)[chosen], np.asarray(noise, np.float64)[chosen])
    )
    return float((found**2).sum() / (held**2).sum()) if chosen.any() else float("nan")


def _local_std(x: np.ndarray, side: int) -> np.ndarray:
    size = (1, side, side)
    mean = ndimage.uniform_filter(x, size)
    return np.sqrt(np.maximum(ndimage.uniform_filter(x**2, size) - mean**2, 0))
