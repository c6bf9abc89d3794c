"""What the MRI experiment measures with: masks, coils, and the operator of images in [-1, 1].

An image x in [-1, 1] stands for the magnitude ``u = (x + 1) / 2``. Of a complex image the real part stands so, and the
second channel for twice the imaginary part: once the smooth phase of a first reconstruction is taken out (into the coil
sensitivities) little is left of it.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.errors import UserError
from jaxgen.imaging.coils import (
    calibration_size,
    combine_coils,
    espirit,
    low_resolution_images,
    normalise_coils,
    root_sum_of_squares,
    simulated_coils,
)
from jaxgen.imaging.fourier import smooth_phase, to_complex
from jaxgen.imaging.mri import mri_operator
from jaxgen.imaging.operators import LinearOperator
from jaxgen.imaging.sampling_masks import (
    calibration_lines,
    equispaced_mask,
    gaussian_mask,
    poisson_disc_mask,
    radial_mask,
    random_mask,
)
from jaxgen.medical.reconstruction.total_variation import total_variation
from jaxgen.types import Array, Key

MASKS = {
    "random": random_mask,
    "equispaced": equispaced_mask,
    "gaussian": gaussian_mask,
    "poisson": poisson_disc_mask,
    "radial": radial_mask,
}
POINTS = ("poisson", "radial")
"""Masks that measure a square in the middle, and not whole lines."""
MOST_CALIBRATION = 32
"""Samples along one side of the calibration region that are enough for coils."""
KERNEL = 4
"""Side of ESPIRiT's patches of k-space; a smaller calibration region makes do with images of low resolution."""
PHASE_WIDTH, PHASE_WEIGHT, PHASE_STEPS = 6.0, 3e-4, 150
"""Of the smooth phase, in cycles over the image, and of the total variation that it comes from."""


POOR_FIT = 0.1
"""Of measured k-space, ``|A x - y| / |y|``, that a reconstruction may leave: noise and coils leave about 0.06."""


class Scan(NamedTuple):
    """Measured slices.

    Attributes:
        y: k-space ``[n, h, w, coils]``, 0 where not measured.
        mask: ``[n, h, w]``.
        maps: sensitivities ``[n, h, w, coils]`` that carry the smooth phase of the image; None for real images seen by
            one coil.
    """

    y: np.ndarray
    mask: np.ndarray
    maps: np.ndarray | None

    @property
    def columns(self) -> bool:
        """Whether whole columns of k-space were measured."""
        return bool((self.mask == self.mask[:, :1]).all())

    def first(self, n: int) -> "Scan":
        """Its first n slices."""
        return Scan(self.y[:n], self.mask[:n], None if self.maps is None else self.maps[:n])


def magnitude(x: Array) -> Array:
    """What x in [-1, 1] stands for, ``[b, h, w, 1]``: of one channel u itself, of two the length."""
    u = (x[..., :1] + 1) / 2
    return u if x.shape[-1] == 1 else jnp.sqrt(u**2 + (x[..., 1:] / 2) ** 2)


def system(y: Array, mask: Array, maps: Array | None, *, columns: bool = False) -> tuple[LinearOperator, Array]:
    """The operator of x in [-1, 1], and what it should give: ``A x = 2 y - A 1``."""
    channels = 1 if maps is None else 2
    operator = mri_operator(mask, maps, channels=channels, columns=columns)
    one = jnp.zeros((*mask.shape, channels)).at[..., 0].set(1.0)
    return operator, 2 * y - operator.forward(one)


def add_phase(key: Key, magnitude: Array, deviation: float | Array) -> Array:
    """Complex images ``[b, h, w, 2]`` from magnitudes ``[b, h, w, 1]``, with a phase smooth over half the image."""
    b, h, w, _ = magnitude.shape
    nodes = draws.normal(key, (b, 3, 3, 1))
    angle = deviation * jax.image.resize(nodes, (b, h, w, 1), "cubic")
    return magnitude * jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], -1)


def measure_real(keys: Array, x: np.ndarray, kind: str, acceleration: float) -> Scan:
    """One coil and a real image, as in Song et al.: slices ``[n, h, w, 1]`` in [-1, 1], without noise."""
    y, mask = _one_by_one(functools.partial(_real, kind, acceleration), keys, x)
    return Scan(y, mask, None)


def measure_coils(
    keys: Array, x: np.ndarray, kind: str, acceleration: float, coils: int, phase: float, noise: float | None = None
) -> Scan:
    """Several coils and a complex image with a smooth phase of deviation `phase`, which is not known.

    The coils are known and there is no noise; unless `noise` is given, the deviation of the real and of the imaginary
    part of what is measured: then the coils are estimated, too, as in `receive`.
    """
    measure = functools.partial(_coils, kind, acceleration, coils, noise is not None, phase, noise or 0.0)
    scan, _ = _with_phase(*_one_by_one(measure, keys, x))
    return scan


@functools.partial(jax.jit, static_argnums=(0, 1))
def _real(kind: str, acceleration: float, key: Key, x: Array) -> tuple[Array, Array]:
    mask = MASKS[kind](key, (x.shape[0], x.shape[1]), acceleration)
    return mri_operator(mask, channels=1).forward((x[None] + 1) / 2)[0], mask


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _coils(
    kind: str, acceleration: float, coils: int, estimated: bool, phase: Array, noise: Array, key: Key, x: Array
) -> tuple[Array, ...]:
    mask_key, coil_key, phase_key, noise_key = jax.random.split(key, 4)
    h, w, _ = x.shape
    mask = MASKS[kind](mask_key, (h, w), acceleration)
    maps = simulated_coils(coil_key, (h, w), coils)
    y = mri_operator(mask, maps, channels=2).forward(add_phase(phase_key[None], (x[None] + 1) / 2, phase))
    real, imaginary = noise * jax.random.normal(noise_key, (2, *y.shape))
    y = y + mask[..., None] * (real + 1j * imaginary)
    lines = calibration_lines(min(h, w), acceleration)
    region = (lines if kind in POINTS else h, lines)
    if estimated:
        maps, _ = _calibrated(y, _few(region))
    else:
        maps = _with_low_phase(maps[None], low_resolution_images(y, region))
    return y[0], mask, maps[0]


def _with_low_phase(maps: Array, low: Array) -> Array:
    """Sensitivities that carry the phase of the image, as coil images of low resolution show it."""
    return maps * jnp.exp(1j * jnp.angle(combine_coils(low, maps)))[..., None]


def _one_by_one(function, keys: Array, x: np.ndarray) -> tuple[np.ndarray, ...]:
    """Each slice is a function of its own key alone, and one program serves any number of them."""
    found = [function(key, image) for key, image in zip(keys, x, strict=True)]
    return tuple(np.stack([np.asarray(part[i]) for part in found]) for i in range(len(found[0])))


def _with_phase(y: np.ndarray, mask: np.ndarray, maps: np.ndarray) -> tuple[Scan, np.ndarray]:
    """A scan whose sensitivities take over the smooth phase of a reconstruction by total variation, and that one.

    Slice by slice; magnitudes ``[n, h, w]``.
    """
    found = [_rephased(*(part[None] for part in parts)) for parts in zip(y, mask, maps, strict=True)]
    changed, first = (np.concatenate([np.asarray(pair[k]) for pair in found]) for k in (0, 1))
    return Scan(y, mask, changed), first


@jax.jit
def _rephased(y: Array, mask: Array, maps: Array) -> tuple[Array, Array]:
    operator = mri_operator(mask, maps, channels=2)
    z = to_complex(total_variation(operator, y, PHASE_WEIGHT, iterations=PHASE_STEPS, squared_norm=1.0))
    return maps * jnp.exp(1j * smooth_phase(z, PHASE_WIDTH))[..., None], jnp.abs(z)


class Received(NamedTuple):
    """k-space of a person, brought to the range of the prior.

    Attributes:
        scan: of one slice.
        scale: what a magnitude of 1 stands for.
        noise: deviation of the real and of the imaginary part of ``scan.y``.
    """

    scan: Scan
    scale: float
    noise: float


def poor_fit(left: float) -> str:
    """What to warn of where a reconstruction leaves so much of measured k-space; empty where it fits.

    Example:
        >>> poor_fit(0.06)
        ''
        >>> poor_fit(0.3)[:50]
        'the reconstruction leaves 30% of the measured k-spa'
    """
    if left <= POOR_FIT:
        return ""
    share = f"{left:.0%}" if np.isfinite(left) else "an unknown part"
    return (
        f"the reconstruction leaves {share} of the measured k-space unexplained (left_of_kspace; up to "
        f"{POOR_FIT:.0%} is usual): do not rely on it; see that k-space is centred, that coils go last, that what was "
        "not measured is 0, and that images of this kind were trained on"
    )


def coil_maps(kspace: np.ndarray) -> tuple[Array, Array]:
    """Sensitivities of k-space ``[h, w, coils]``, from its calibration region alone, and coil images of it.

    Both ``[1, h, w, coils]``; the images are of low resolution, and the sensitivities carry their phase.
    """
    size = calibration_size((np.abs(kspace) > 0).any(-1))
    if not min(size):
        raise UserError("k-space is not measured in its centre, where coil sensitivities and phase come from")
    return _calibrated(jnp.asarray(kspace)[None], _few(size))


def receive(kspace: np.ndarray) -> Received:
    """Sensitivities and range of k-space ``[h, w, coils]``, from its calibration region alone."""
    mask = (np.abs(kspace) > 0).any(-1)
    maps, images = coil_maps(kspace)
    scale = float(np.quantile(np.asarray(root_sum_of_squares(images)), 0.999))
    y = (kspace / scale)[None].astype(np.complex64)
    scan, first = _with_phase(y, mask[None].astype(np.float32), np.asarray(maps))
    # Images of low resolution are darker than what they blur: the range is that of the first reconstruction.
    higher = float(np.quantile(first, 0.999))
    scan = scan._replace(y=(y / higher).astype(np.complex64))
    return Received(scan, scale * higher, _noise(scan))


def _noise(scan: Scan) -> float:
    """From the outermost samples, where there is little else: the median of |k|^2 is 2 log(2) noise^2."""
    h, w = scan.mask.shape[1:]
    rows, columns = np.abs(np.arange(h) - h // 2) / h, np.abs(np.arange(w) - w // 2) / w
    outer = np.maximum(rows[:, None], columns) > 0.45
    power = np.abs(scan.y[0][outer & (scan.mask[0] > 0)]) ** 2
    return float(np.sqrt(np.median(power) / (2 * np.log(2)))) if power.size else 0.0


def _few(size: tuple[int, int]) -> tuple[int, int]:
    """What of a calibration region is enough for coils."""
    return min(size[0], MOST_CALIBRATION), min(size[1], MOST_CALIBRATION)


@functools.partial(jax.jit, static_argnums=1)
def _calibrated(kspace: Array, size: tuple[int, int]) -> tuple[Array, Array]:
    """Sensitivities with the phase of the image, and coil images of low resolution."""
    low = low_resolution_images(kspace, size)
    if min(size) < KERNEL or min(kspace.shape[1:3]) < 2 * KERNEL:
        return normalise_coils(low), low
    # From few calibration lines the quotients of blurred images are far off; ESPIRiT's are nearer.
    return _with_low_phase(espirit(kspace, size, kernel=KERNEL, crop=0.0), low), low
