"""Fan-beam projection onto a flat detector, with its exact adjoint."""

from jax.typing import ArrayLike

from jaxgen.imaging.operators import LinearOperator
from jaxgen.imaging.projection import Geometry, projection_operator


def fan_beam_geometry(source_distance: float, detector_distance: float = 0.0, spacing: float | None = None) -> Geometry:
    """The rays of a fan: from a source through the image onto a flat detector.

    Args:
        source_distance: from the source to the middle of the image, in pixels.
        detector_distance: from there to the detector, in pixels.
        spacing: between two detectors, in pixels; None for one pixel where the rays pass the middle.

    Returns:
        The geometry, whose spacing is that at the middle.

    Raises:
        ValueError: if a distance is not positive.

    Example:
        >>> fan_beam_geometry(200, 100, 1.5)
        Geometry(curvature=0.005, spacing=1.0)
    """
    if not source_distance > 0 or not detector_distance >= 0 or not (spacing is None or spacing > 0):
        raise ValueError(f"distances must be positive, got {source_distance}, {detector_distance} and {spacing}")
    shrink = source_distance / (source_distance + detector_distance)
    return Geometry(1 / source_distance, 1.0 if spacing is None else spacing * shrink)


def fan_beam_operator(
    size: int,
    angles: ArrayLike,
    detectors: int | None = None,
    *,
    source_distance: float,
    detector_distance: float = 0.0,
    spacing: float | None = None,
) -> LinearOperator:
    """Integrals of an image along the rays from a source that circles it.

    At angle a the source is at ``-source_distance (sin a, cos a)``, x to the right and y down from the middle: at angle
    0 it is above the image. Far sources give the rays of `jaxgen.imaging.radon.radon_operator`.

    Args:
        size: side of the images in pixels.
        angles: ``[views]`` of the source, radians; half a circle and the angle of the fan, or more, for
            `filtered_backprojection`.
        detectors: how many; None for as many as see the whole image.
        source_distance: from the source to the middle of the image, in pixels.
        detector_distance: from there to the detector, in pixels.
        spacing: between two detectors, in pixels; None for one pixel where the rays pass the middle.

    Returns:
        ``forward(x [b, size, size, 1]) -> [b, views, detectors]``, integrals in pixels, and the adjoint.

    Raises:
        ValueError: if the source lies within the image or a distance is not positive; when called, if an array has
            another shape or is not real and floating.

    Reference:
        Kak and Slaney 1988, "Principles of computerized tomographic imaging", section 3.4.

    Example:
        >>> import jax.numpy as jnp
        >>> operator = fan_beam_operator(16, jnp.zeros(1), 15, source_distance=40.0, detector_distance=20.0)
        >>> round(float(operator.forward(jnp.ones((1, 16, 16, 1)))[0, 0, 7]), 3)
        16.0
    """
    geometry = fan_beam_geometry(source_distance, detector_distance, spacing)
    return projection_operator(geometry, size, angles, detectors)
