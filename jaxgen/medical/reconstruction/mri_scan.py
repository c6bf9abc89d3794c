"""MRI of slices scaled to [-1, 1]: simulated scans, k-space of a person, and the linear system that each poses.

An image x in [-1, 1] stands for the magnitude ``u = (x + 1) / 2``. Of a complex image the real part stands so, and the
second channel for twice the imaginary part: once the smooth phase of a first reconstruction is taken out (into the coil
sensitivities) little is left of it.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

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
from jaxgen.imaging.fourier import add_phase, smooth_phase, to_complex
from jaxgen.imaging.mri import mri_operator
from jaxgen.imaging.operators import LinearOperator
from jaxgen.imaging.sampling_masks import MASKS, POINTS, calibration_lines
from jaxgen.medical.reconstruction.total_variation import total_variation
from jaxgen.types import Array, Key

MOST_CALIBRATION = 32
"""Samples along one side of the calibration region that are enough for coils."""
KERNEL = 4
"""Side of ESPIRiT's patches of k-space; a smaller calibration region makes do with images of low resolution."""
PHASE_WIDTH, PHASE_WEIGHT, PHASE_STEPS = 6.0, 3e-4, 150
"""Of the smooth phase, in cycles over the image, and of the total variation that it comes from."""
POOR_FIT = 0.1
"""Of measured k-space, ``|A x - y| / |y|``, that a reconstruction may leave: noise and coils leave about 0.06."""


@functools.partial(jax.tree_util.register_dataclass, data_fields=("y", "mask", "maps"), meta_fields=("columns",))
@dataclasses.dataclass(frozen=True, eq=False)
class MRIScan:
    """Measured slices; arrays of NumPy, or of JAX in a program, which `columns` is fixed for.

    Attributes:
        y: k-space ``[n, h, w, coils]``, 0 where not measured.
        mask: ``[n, h, w]``.
        maps: sensitivities ``[n, h, w, coils]`` that carry the smooth phase of the image; None for real images seen by
            one coil.
        columns: whether whole columns of k-space were measured.
    """

    y: Any
    mask: Any
    maps: Any = None
    columns: bool = False

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.mask.shape[1], self.mask.shape[2]

    @property
    def channels(self) -> int:
        """Channels of the images: 1 of real ones, 2 of complex ones."""
        return 1 if self.maps is None else 2

    def take(self, index: np.ndarray) -> "MRIScan":
        """The slices of these numbers."""
        maps = None if self.maps is None else self.maps[index]
        return dataclasses.replace(self, y=self.y[index], mask=self.mask[index], maps=maps)


def mri_scan(y: np.ndarray, mask: np.ndarray, maps: np.ndarray | None = None) -> MRIScan:
    """A scan that knows whether whole columns of k-space were measured.

    Args:
        y: k-space ``[n, h, w, coils]``, 0 where not measured.
        mask: ``[n, h, w]``.
        maps: sensitivities ``[n, h, w, coils]``, or None.

    Returns:
        The scan.

    Example:
        >>> mri_scan(np.ones((1, 2, 2, 1), np.complex64), np.array([[[0, 1], [0, 1]]])).columns
        True
    """
    return MRIScan(y, mask, maps, bool((mask == mask[:, :1]).all()))


def magnitude(x: Array) -> Array:
    """What x in [-1, 1] stands for: of one channel u itself, of two the length.

    Args:
        x: ``[..., 1]`` or ``[..., 2]``.

    Returns:
        ``[..., 1]``.

    Example:
        >>> magnitude(jnp.array([[0.2, 1.6]])).round(4).tolist()
        [[1.0]]
    """
    u = (x[..., :1] + 1) / 2
    return u if x.shape[-1] == 1 else jnp.sqrt(u**2 + (x[..., 1:] / 2) ** 2)


def scan_operator(scan: MRIScan) -> LinearOperator:
    """The operator A of a scan: ``y = A u`` for images u, real or complex in two channels.

    Args:
        scan: the scan.

    Returns:
        A.

    Example:
        >>> scan = mri_scan(np.ones((1, 4, 4, 1), np.complex64), np.ones((1, 4, 4)))
        >>> scan_operator(scan).adjoint(scan.y).shape
        (1, 4, 4, 1)
    """
    maps = None if scan.maps is None else jnp.asarray(scan.maps)
    return mri_operator(jnp.asarray(scan.mask), maps, channels=scan.channels, columns=scan.columns)


def mri_system(scan: MRIScan) -> tuple[LinearOperator, Array]:
    """What a scan says of images x in [-1, 1]: ``A x = 2 y - A 1``.

    Args:
        scan: the scan.

    Returns:
        A, and the right-hand side ``[n, h, w, coils]``.

    Example:
        >>> x = np.zeros((1, 8, 8, 1), np.float32)
        >>> operator, y = mri_system(simulate_real(jax.random.split(jax.random.key(0), 1), x, "random", 2))
        >>> bool(jnp.allclose(operator.forward(jnp.asarray(x)), y, atol=1e-5))
        True
    """
    operator = scan_operator(scan)
    one = jnp.zeros((*scan.mask.shape, scan.channels)).at[..., 0].set(1.0)
    return operator, 2 * scan.y - operator.forward(one)


def simulate_real(keys: Array, x: np.ndarray, kind: str, acceleration: float) -> MRIScan:
    """One coil and a real image, without noise.

    Args:
        keys: one per slice, ``[n]``.
        x: slices ``[n, h, w, 1]`` in [-1, 1].
        kind: the family of the masks, one of `jaxgen.imaging.sampling_masks.MASKS`.
        acceleration: how many times fewer samples.

    Returns:
        The scan.

    Reference:
        Song et al. 2022, "Solving inverse problems in medical imaging with score-based generative models".

    Example:
        >>> x = np.zeros((2, 8, 8, 1), np.float32)
        >>> simulate_real(jax.random.split(jax.random.key(0), 2), x, "random", 2).y.shape
        (2, 8, 8, 1)
    """
    return mri_scan(*_one_by_one(functools.partial(_real, kind, acceleration), keys, x))


def simulate_coils(
    keys: Array, x: np.ndarray, kind: str, acceleration: float, coils: int, phase: float, noise: float | None = None
) -> MRIScan:
    """Several coils and a complex image with a smooth phase, which is not known.

    The coils are known and there is no noise; unless `noise` is given: then the coils are estimated, too, as in
    `receive`.

    Args:
        keys: one per slice, ``[n]``.
        x: slices ``[n, h, w, 1]`` in [-1, 1].
        kind: the family of the masks, one of `jaxgen.imaging.sampling_masks.MASKS`.
        acceleration: how many times fewer samples.
        coils: the number of coils.
        phase: standard deviation of the phase, radians.
        noise: standard deviation of the noise of the real and of the imaginary part of what is measured.

    Returns:
        The scan.

    Example:
        >>> x = np.zeros((1, 16, 16, 1), np.float32)
        >>> simulate_coils(jax.random.split(jax.random.key(0), 1), x, "random", 2, 3, 1.0).maps.shape
        (1, 16, 16, 3)
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


def _one_by_one(function: Callable[..., tuple[Array, ...]], keys: Array, x: np.ndarray) -> tuple[np.ndarray, ...]:
    """Each slice is a function of its own key alone, and one program serves any number of them."""
    found = [function(key, image) for key, image in zip(keys, x, strict=True)]
    return tuple(np.stack([np.asarray(part[i]) for part in found]) for i in range(len(found[0])))


def _with_phase(y: np.ndarray, mask: np.ndarray, maps: np.ndarray) -> tuple[MRIScan, np.ndarray]:
    """A scan whose sensitivities take over the smooth phase of a reconstruction by total variation, and that one.

    Slice by slice; magnitudes ``[n, h, w]``.
    """
    found = [_rephased(*(part[None] for part in parts)) for parts in zip(y, mask, maps, strict=True)]
    changed, first = (np.concatenate([np.asarray(pair[k]) for pair in found]) for k in (0, 1))
    return mri_scan(y, mask, changed), first


@jax.jit
def _rephased(y: Array, mask: Array, maps: Array) -> tuple[Array, Array]:
    operator = mri_operator(mask, maps, channels=2)
    z = to_complex(total_variation(operator, y, PHASE_WEIGHT, iterations=PHASE_STEPS, squared_norm=1.0))
    return maps * jnp.exp(1j * smooth_phase(z, PHASE_WIDTH))[..., None], jnp.abs(z)


class Received(NamedTuple):
    """k-space of a person, brought to the range of images in [-1, 1].

    Attributes:
        scan: of one slice.
        scale: what a magnitude of 1 stands for.
        noise: standard deviation of the real and of the imaginary part of ``scan.y``.
    """

    scan: MRIScan
    scale: float
    noise: float


def coil_maps(kspace: np.ndarray) -> tuple[Array, Array]:
    """Sensitivities from the calibration region alone, and coil images of it.

    The images are of low resolution, and the sensitivities carry their phase.

    Args:
        kspace: concrete, ``[h, w, coils]``, 0 where not measured.

    Returns:
        Sensitivities and images, both ``[1, h, w, coils]``.

    Raises:
        UserError: if the centre of k-space was not measured.

    Example:
        >>> maps, low = coil_maps(np.ones((8, 8, 2), np.complex64))
        >>> maps.shape
        (1, 8, 8, 2)
    """
    size = calibration_size((np.abs(kspace) > 0).any(-1))
    if not min(size):
        raise UserError("k-space is not measured in its centre, where coil sensitivities and phase come from")
    return _calibrated(jnp.asarray(kspace)[None], _few(size))


def receive(kspace: np.ndarray) -> Received:
    """Sensitivities, range and noise of k-space, from its calibration region and its edge alone.

    Args:
        kspace: concrete, ``[h, w, coils]``, 0 where not measured.

    Returns:
        The scan of one slice, with its range and its noise.

    Raises:
        UserError: if the centre of k-space was not measured.

    Example:
        >>> receive(np.ones((8, 8, 2), np.complex64)).scan.y.shape
        (1, 8, 8, 2)
    """
    mask = (np.abs(kspace) > 0).any(-1)
    maps, images = coil_maps(kspace)
    scale = float(np.quantile(np.asarray(root_sum_of_squares(images)), 0.999))
    y = (kspace / scale)[None].astype(np.complex64)
    scan, first = _with_phase(y, mask[None].astype(np.float32), np.asarray(maps))
    # Images of low resolution are darker than what they blur: the range is that of the first reconstruction.
    higher = float(np.quantile(first, 0.999))
    scan = dataclasses.replace(scan, y=(y / higher).astype(np.complex64))
    return Received(scan, scale * higher, _noise(scan))


def _noise(scan: MRIScan) -> float:
    """From the outermost samples, where there is little else: the median of |k|^2 is 2 log(2) noise^2."""
    h, w = scan.shape
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


def poor_fit(left: float) -> str:
    """What to warn of where a reconstruction leaves this share of measured k-space; empty where it fits.

    Args:
        left: ``|A x - y| / |y|``.

    Returns:
        A sentence for the user, or an empty text.

    Example:
        >>> poor_fit(0.06)
        ''
        >>> poor_fit(0.3)[:45]
        'the reconstruction leaves 30% of the measured'
    """
    if left <= POOR_FIT:
        return ""
    share = f"{left:.0%}" if np.isfinite(left) else "an unknown part"
    return (
        f"the reconstruction leaves {share} of the measured k-space unexplained (left_of_kspace; up to "
        f"{POOR_FIT:.0%} is usual): do not rely on it; see that k-space is centred, that coils go last, that what was "
        "not measured is 0, and that images of this kind were trained on"
    )
