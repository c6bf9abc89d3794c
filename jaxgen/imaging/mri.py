"""Accelerated MRI as a linear operator, its simplest reconstruction, and checks of k-space that a person brings.

k-space is complex64 ``[b, h, w, coils]``, centred (`jaxgen.imaging.fourier`); a single coil is ``coils = 1``. A mask is
1 where k-space was measured, ``[h, w]`` or ``[b, h, w]``.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.errors import UserError
from jaxgen.imaging.coils import combine_coils, root_sum_of_squares
from jaxgen.imaging.fourier import centred_fft2, centred_ifft2, from_complex, to_complex
from jaxgen.imaging.operators import LinearOperator
from jaxgen.types import Array


def mri_operator(
    mask: Array, sensitivities: Array | None = None, *, channels: int, columns: bool = False
) -> LinearOperator:
    """Cartesian MRI: ``A x = M F (S_c x)`` and ``A' y = sum_c conj(S_c) F' (M y_c)``.

    F is `centred_fft2`, M the mask, S_c the sensitivity of coil c. ``|A| <= 1`` for normalised sensitivities. ``A' A``
    moves the mask's centre to the corner instead of images and k-space, and with `columns` it transforms along rows
    alone: along columns F and F' cancel.

    Args:
        mask: ``[h, w]`` or ``[b, h, w]``, 1 where measured and 0 elsewhere.
        sensitivities: complex ``[h, w, coils]`` or ``[b, h, w, coils]``; none is a single coil that is 1 everywhere.
        channels: of the image: 1 for a real one, whose adjoint is the real part, 2 for real and imaginary part.
        columns: the mask keeps whole columns, its rows all the same, as sampling line by line does: ``A' A`` is then
            twice as fast. A mask that JAX traces is not looked at, and ``A' A`` is wrong if it does not.

    Returns:
        ``forward: [b, h, w, channels] -> [b, h, w, coils]``, its adjoint, and ``A' A``.

    Raises:
        ValueError: if mask or sensitivities do not have these shapes, `channels` is neither 1 nor 2, or the mask does
            not keep whole columns where it should; when it is called, if an image or k-space does not fit, or k-space
            is not complex.

    Reference:
        Pruessmann et al. 1999, "SENSE: sensitivity encoding for fast MRI".

    Example:
        >>> operator = mri_operator(jnp.zeros((4, 6)).at[:, 2:4].set(1), channels=1)
        >>> operator.forward(jnp.ones((2, 4, 6, 1))).shape
        (2, 4, 6, 1)
    """
    if channels not in (1, 2):
        raise ValueError(f"an image of MRI has 1 channel (real) or 2 (real and imaginary), not {channels}")
    if mask.ndim not in (2, 3) or jnp.iscomplexobj(mask):
        raise ValueError(f"a real mask [h, w] or [b, h, w] is needed, not {mask.dtype} of shape {mask.shape}")
    size, coils = mask.shape[-2:], 1
    if sensitivities is not None:
        if sensitivities.ndim not in (3, 4) or sensitivities.shape[-3:-1] != size:
            raise ValueError(f"sensitivities [h, w, coils] for a mask of {size} are needed, not {sensitivities.shape}")
        coils = sensitivities.shape[-1]
    if columns and not isinstance(mask, jax.core.Tracer) and not bool(jnp.all(mask == mask[..., :1, :])):
        raise ValueError("the mask does not keep whole columns; leave columns out")
    kept = jnp.asarray(mask, jnp.float32)[..., None]

    def coil_images(x: Array) -> Array:
        if x.ndim != 4 or x.shape[1:] != (*size, channels) or jnp.iscomplexobj(x):
            raise ValueError(
                f"a real image [b, {size[0]}, {size[1]}, {channels}] is needed, not {x.dtype} of {x.shape}"
            )
        image = to_complex(x)[..., None] if channels == 2 else x
        return image if sensitivities is None else sensitivities * image

    def combined(images: Array) -> Array:
        image = images[..., 0] if sensitivities is None else combine_coils(images, sensitivities)
        return from_complex(image) if channels == 2 else jnp.real(image)[..., None]

    def forward(x: Array) -> Array:
        return kept * centred_fft2(coil_images(x))

    def adjoint(y: Array) -> Array:
        if y.ndim != 4 or y.shape[1:] != (*size, coils) or not jnp.iscomplexobj(y):
            raise ValueError(
                f"complex k-space [b, {size[0]}, {size[1]}, {coils}] is needed, not {y.dtype} of {y.shape}"
            )
        return combined(centred_ifft2(kept * y))

    cornered, axes = jnp.fft.ifftshift(kept**2, (-3, -2)), (2,) if columns else (1, 2)

    def normal(x: Array) -> Array:
        kspace = cornered * jnp.fft.fftn(coil_images(x), axes=axes, norm="ortho")
        return combined(jnp.fft.ifftn(kspace, axes=axes, norm="ortho"))

    return LinearOperator(forward, adjoint, normal)


def zero_filled(kspace: Array, sensitivities: Array | None = None) -> Array:
    """The magnitude image of k-space whose missing samples are taken as 0.

    ``|sum_c conj(S_c) F' y_c|`` with sensitivities, the root sum of squares of the coils without.

    Args:
        kspace: ``[b, h, w, coils]``, 0 where not measured.
        sensitivities: ``[h, w, coils]`` or ``[b, h, w, coils]``.

    Returns:
        Real ``[b, h, w, 1]``.

    Example:
        >>> zero_filled(centred_fft2(jnp.full((1, 2, 2, 1), -3.0))).ravel().tolist()
        [3.0, 3.0, 3.0, 3.0]
    """
    images = centred_ifft2(kspace)
    if sensitivities is None:
        return root_sum_of_squares(images)[..., None]
    return jnp.abs(combine_coils(images, sensitivities))[..., None]


def measured_mask(kspace: np.ndarray) -> np.ndarray:
    """Where k-space is not exactly 0 in all coils: the mask of data that came without one.

    Args:
        kspace: concrete, ``[b, h, w, coils]``.

    Returns:
        float32 ``[b, h, w]``.

    Example:
        >>> measured_mask(np.array([[[[1j], [0]]]])).tolist()
        [[[1.0, 0.0]]]
    """
    return (np.abs(kspace) > 0).any(-1).astype(np.float32)


def check_kspace(kspace: np.ndarray, where: str = "kspace") -> np.ndarray:
    """k-space as the rest of jaxgen takes it, or an error that says what to put right.

    Args:
        kspace: a concrete complex array ``[h, w]``, ``[h, w, coils]`` or ``[b, h, w, coils]``, centred.
        where: what errors call it.

    Returns:
        complex64 ``[b, h, w, coils]``.

    Raises:
        UserError: if it is real, has other axes or coils that are not last, is not finite, is 0, out of the range of
            float32, or does not have its energy in the middle (not centred, or an image).

    Example:
        >>> check_kspace(np.asarray(centred_fft2(jnp.ones((1, 16, 16, 1))))[0]).shape
        (1, 16, 16, 1)
    """
    kspace = np.asarray(kspace)
    if not np.iscomplexobj(kspace):
        hint = (
            "join its parts by kspace[..., 0] + 1j * kspace[..., 1]" if kspace.shape[-1:] == (2,) else "do not take abs"
        )
        raise UserError(f"{where}: {kspace.dtype} where complex k-space is needed; {hint}")
    if kspace.ndim not in (2, 3, 4) or 0 in kspace.shape:
        raise UserError(f"{where}: shape {kspace.shape}; k-space is [h, w], [h, w, coils] or [b, h, w, coils]")
    if kspace.ndim == 2:
        kspace = kspace[..., None]
    height, width, coils = kspace.shape[-3:]
    if coils > min(height, width):
        axis = -3 if height < width else -2
        raise UserError(
            f"{where}: shape {kspace.shape} has a last axis of {coils}, longer than others: coils go last, as "
            f"np.moveaxis(kspace, {axis}, -1), and slices of a single coil are kspace[..., None]"
        )
    if kspace.ndim == 3:
        kspace = kspace[None]
    finite = np.isfinite(kspace)
    if not finite.all():
        bad = np.flatnonzero(~finite.all((0, 1, 3)))
        some = ", ".join(map(str, bad[:8])) + (", ..." if len(bad) > 8 else "")
        raise UserError(f"{where}: NaN or infinite in columns {some}; set them to 0 and leave them out of the mask")
    size = np.abs(kspace)
    if not (size.max((1, 2, 3)) > 0).all():
        raise UserError(f"{where}: a slice holds nothing but 0; leave it out")
    if not 1e-12 < size.max() < 1e12:
        raise UserError(f"{where}: values up to {size.max():.3g}; multiply them all by {1 / size.max():.0e}")
    energy = np.sum(size.astype(np.float64) ** 2, (0, 3))
    if _central_share(energy) < 0.25:
        if _central_share(np.fft.ifftshift(energy)) > 0.25:
            raise UserError(f"{where}: zero frequency is in the corner; centre it by np.fft.fftshift over h and w")
        raise UserError(f"{where}: its energy is not in the middle; is it an image, or are its axes out of order?")
    return kspace.astype(np.complex64)


def _central_share(energy: np.ndarray) -> float:
    """The part of the energy ``[h, w]`` that lies within an eighth of each side of the centre."""
    parts = (slice(n // 2 - -(-n // 8), n // 2 + -(-n // 8) + 1) for n in energy.shape)
    return float(energy[tuple(parts)].sum() / energy.sum())


def measured_columns(kspace: np.ndarray) -> np.ndarray:
    """Which columns were measured, of k-space that is sampled line by line.

    Args:
        kspace: concrete, ``[h, w, coils]``, 0 where not measured.

    Returns:
        bool ``[w]``.

    Raises:
        UserError: if samples were measured that do not make up whole columns, or all columns were.

    Example:
        >>> measured_columns(np.array([[[1j], [0]], [[2j], [0]]])).tolist()
        [True, False]
    """
    there = (np.abs(kspace) > 0).any(-1)
    columns = there.any(0)
    if there[:, columns].mean() < 0.9:
        whole_rows = there[there.any(1)].mean() > 0.9
        hint = "transpose it" if whole_rows else "give another run one of its own kind"
        raise UserError(f"k-space is not measured in whole columns [:, j], as this method needs; {hint}")
    if columns.all():
        raise UserError("k-space has all its columns: there is nothing to restore; give a mask of what to use")
    return columns


def check_mask(mask: np.ndarray, kspace: np.ndarray, where: str = "mask") -> np.ndarray:
    """A mask that fits its k-space, or an error that says what to put right.

    Args:
        mask: a concrete array of 0 and 1, ``[h, w]`` or ``[b, h, w]``.
        kspace: that `check_kspace` has returned, ``[b, h, w, coils]``.
        where: what errors call it.

    Returns:
        float32 of the same shape.

    Raises:
        UserError: if its shape is another, it holds other values, keeps nothing, or keeps samples that k-space does not
            hold.

    Example:
        >>> check_mask(np.ones((1, 2), bool), np.ones((1, 1, 2, 1), np.complex64)).tolist()
        [[1.0, 1.0]]
    """
    mask = np.asarray(mask)
    b, height, width, _ = kspace.shape
    if mask.shape not in ((height, width), (b, height, width)):
        hint = "; transpose it" if mask.shape == (width, height) else ""
        hint = f"; np.broadcast_to(mask, ({height}, {width})) repeats one line" if mask.shape == (width,) else hint
        raise UserError(f"{where}: shape {mask.shape} does not fit k-space of {height} x {width}{hint}")
    if not np.isin(mask, (0, 1)).all():
        raise UserError(f"{where}: values other than 0 and 1; 1 is a measured sample")
    if not mask.any((-2, -1)).all():
        raise UserError(f"{where}: it keeps nothing; 1 is a measured sample and 0 a missing one")
    mask = mask.astype(np.float32)
    absent = float(np.sum(mask * (1 - measured_mask(kspace))) / np.sum(np.broadcast_to(mask, kspace.shape[:-1])))
    if absent > 0.01:
        raise UserError(
            f"{where}: {100 * absent:.0f} % of the samples it keeps are exactly 0 in k-space, as if never measured; "
            "is it transposed or of another scan? Without a mask, what is not 0 counts as measured"
        )
    return mask
