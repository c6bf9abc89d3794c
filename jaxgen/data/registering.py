"""Two images of a person, each on a grid of its own, registered: the affines first, then a field."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from jaxgen.data.image import Image
from jaxgen.data.images import fit_shape
from jaxgen.data.square import to_square
from jaxgen.errors import UserError
from jaxgen.medical.registration.itk import to_itk_displacement
from jaxgen.medical.registration.jacobian import jacobian_determinant

LEAST_OVERLAP = 0.1
"""Share of the fixed image's voxels that must lie within the moving image."""
Find = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Registered(NamedTuple):
    """A registered pair.

    Attributes:
        flow: ``[*spatial, r]`` on the fixed image's grid and in its voxels, after the affines have been followed.
        place: where each voxel lies in the moving image, ``[r, *spatial]`` in voxels of that.
        outside: share of the fixed image's voxels whose place is outside of the moving image.
    """

    flow: np.ndarray
    place: np.ndarray
    outside: float

    def warped(self, array: np.ndarray, *, order: int = 1) -> np.ndarray:
        """An array ``[*spatial]`` on the moving image's grid, brought to the fixed image's.

        Args:
            array: of the moving image.
            order: 1 interpolates linearly, 0 takes the nearest voxel, for labels.
        """
        outside = array.min() if order else 0
        return ndimage.map_coordinates(array, self.place, order=order, mode="grid-constant", cval=outside)


def register_images(moving: Image, fixed: Image, find: Find) -> Registered:
    """Bring the moving image to the fixed one: ``moving(M^-1 A (p + u(p)))`` at voxel p of the fixed image.

    A and M are the affines of the fixed and the moving image, voxel to millimetres; u is what `find` says of the fixed
    image and of the moving one resampled on its grid. Images without affines, such as pictures, must have one shape.

    Args:
        moving: ``[*spatial, c]``.
        fixed: ``[*spatial, c]``, of another size, spacing or orientation where there are affines.
        find: ``find(moving, fixed) -> u [*spatial, r]`` in voxels, both images ``[*spatial, c]`` on the fixed grid.

    Returns:
        What was found.

    Raises:
        UserError: if they have other axes, other shapes without affines, or hardly overlap.

    Example:
        >>> image = Image(np.eye(4)[..., None], None, {})
        >>> found = register_images(image, image, lambda moving, fixed: np.zeros((4, 4, 2)))
        >>> bool((found.warped(image.array[..., 0]) == np.eye(4)).all()), found.outside
        (True, 0.0)
    """
    shape = fixed.array.shape[:-1]
    change = _change(moving, fixed)
    place = _moved(np.indices(shape, np.float32), change)
    start = Registered(np.zeros((*shape, len(shape)), np.float32), place, _outside(place, moving))
    if 1 - start.outside < LEAST_OVERLAP:
        raise UserError(
            f"moving and fixed image share {1 - start.outside:.0%} of the voxels of the fixed one; bring them to one "
            "place first, by their centres or a rigid registration"
        )
    channels = [start.warped(np.asarray(moving.array[..., c], np.float32)) for c in range(moving.array.shape[-1])]
    flow = np.asarray(find(np.stack(channels, -1), fixed.array), np.float32)
    place = _moved(np.indices(shape, np.float32) + np.moveaxis(flow, -1, 0), change)
    return Registered(flow, place, _outside(place, moving))


def registered_maps(find: Find, moving: Image, fixed: Image, labels: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All that is kept of a registered pair, on the grid of the fixed image.

    Args:
        find: see `register_images`.
        moving: ``[*spatial, c]``.
        fixed: ``[*spatial, c]``.
        labels: whole numbers ``[*spatial]`` on the grid of the moving image, or None.

    Returns:
        ``warped``, the moving image, one array for each channel; ``jacobian``, the determinant of the field's map;
        ``labels`` by the nearest voxel; of volumes ``field [x, y, z, 3]`` as ITK keeps it
        (`jaxgen.medical.registration.to_itk_displacement`), of pictures ``displacement_0`` and ``displacement_1`` in
        pixels; and ``outside`` and ``folded``, shares of the voxels.

    Raises:
        UserError: see `register_images`.

    Example:
        >>> image = Image(np.eye(4)[..., None], None, {})
        >>> sorted(registered_maps(lambda moving, fixed: np.zeros((4, 4, 2)), image, image))
        ['displacement_0', 'displacement_1', 'folded', 'jacobian', 'outside', 'warped']
    """
    found = register_images(moving, fixed, find)
    warped = [found.warped(np.asarray(x, np.float32)) for x in np.moveaxis(moving.array, -1, 0)]
    maps = {f"warped-{k}" if len(warped) > 1 else "warped": x for k, x in enumerate(warped)}
    maps["jacobian"] = np.asarray(jacobian_determinant(jnp.asarray(found.flow[None])))[0]
    if labels is not None:
        maps["labels"] = found.warped(labels, order=0)
    if found.flow.shape[-1] == 3:
        affines = (np.eye(4) if x.affine is None else x.affine for x in (moving, fixed))
        here = np.moveaxis(found.place - np.indices(found.place.shape[1:], np.float32), 0, -1)
        maps["field"] = to_itk_displacement(here, *affines)
    else:
        maps |= {f"displacement_{k}": found.flow[..., k] for k in range(2)}
    folded = np.asarray((maps["jacobian"] <= 0).mean())
    return maps | {"outside": np.asarray(found.outside), "folded": folded}


def in_network(
    images: Sequence[np.ndarray], sides: Sequence[int], value_range: tuple[float, float]
) -> tuple[list[np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    """Images of one grid as a network of a fixed size sees them, and what brings its field back.

    Args:
        images: ``[*spatial, 1]``, raw values.
        sides: of the network's grid; images are padded to its proportions.
        value_range: raw values of -1 and 1; what lies outside is cut off.

    Returns:
        The images ``[*sides, 1]`` in [-1, 1], and ``back(flow [*sides, r]) -> [*spatial, r]``, each in voxels of its
        own grid.

    Example:
        >>> seen, back = in_network([np.zeros((4, 8, 1))], (4, 4), (0, 1))
        >>> seen[0].shape, back(np.ones((4, 4, 2)))[0, 0].tolist()
        ((4, 4, 1), [2.0, 2.0])
    """
    low, high = (np.asarray(bound, np.float32).reshape(-1)[:1] for bound in value_range)
    squares = [to_square(image, sides, low, high) for image in images]
    padded = fit_shape(images[0], sides, "pad", low).shape
    scale = [p / n for p, n in zip(padded, sides, strict=False)]

    def back(flow: np.ndarray) -> np.ndarray:
        return np.stack([squares[0][1](flow[..., k]) * factor for k, factor in enumerate(scale)], -1)

    return [np.clip(x, -1, 1) for x, _ in squares], back


def _change(moving: Image, fixed: Image) -> np.ndarray | None:
    """From voxels of the fixed image to those of the moving one, ``[4, 4]``; None where they are alike."""
    shapes = moving.array.shape[:-1], fixed.array.shape[:-1]
    if len(shapes[0]) != len(shapes[1]):
        raise UserError(f"the moving image has {len(shapes[0])} axes, the fixed one {len(shapes[1])}; give two alike")
    if len(shapes[0]) == 3 and moving.affine is not None and fixed.affine is not None:
        return np.linalg.inv(moving.affine) @ fixed.affine
    if shapes[0] != shapes[1] or (len(shapes[0]) == 3 and (moving.affine is None) != (fixed.affine is None)):
        sizes = " and ".join(" x ".join(map(str, shape)) for shape in shapes)
        raise UserError(
            f"moving and fixed image have {sizes} voxels, and not both say where these lie; bring them to one grid, or "
            "save both as NIfTI"
        )
    return None


def _moved(place: np.ndarray, change: np.ndarray | None) -> np.ndarray:
    if change is None:
        return place
    turned = np.tensordot(change[:3, :3].astype(np.float32), place, 1)
    return turned + change[:3, 3].astype(np.float32)[:, None, None, None]


def _outside(place: np.ndarray, moving: Image) -> float:
    """By more than half a voxel, the border of a voxel."""
    last = np.asarray(moving.array.shape[:-1]).reshape(-1, *[1] * (place.ndim - 1)) - 1
    return float(((place < -0.5) | (place > last + 0.5)).any(0).mean())
