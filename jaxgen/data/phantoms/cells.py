"""Phantom `cells2d`: a few bright elliptic cells that may touch, under a bias field and noise."""

import numpy as np
from scipy import ndimage

from jaxgen.data.phantoms.ellipse import Ellipse, disjoint, ellipse_distance
from jaxgen.data.phantoms.texture import generator, pixel_grid, smooth_field

MOST_CELLS = 8


def _touching(cell: Ellipse, partner: Ellipse, direction: float) -> Ellipse:
    """Move a cell along a ray from its partner's centre to where the two just touch."""
    near, far = 0.0, cell.axes[0] + partner.axes[0]
    ray = np.array([np.cos(direction), np.sin(direction)])

    def at(distance: float) -> Ellipse:
        row, column = np.asarray(partner.centre) + distance * ray
        return cell._replace(centre=(float(row), float(column)))

    for _ in range(30):
        middle = (near + far) / 2
        near, far = (near, middle) if disjoint(at(middle), partner) else (middle, far)
    return at(far)


def place_cells(rng: np.random.Generator, size: int) -> list[Ellipse]:
    """Draw 1 to 8 ellipses whose interiors do not meet; about half of the later ones touch an earlier one.

    A cell that finds no room in 20 trials is left out, so crowded pictures have fewer cells than were drawn.

    Args:
        rng: the random numbers.
        size: side of the image in pixels.

    Returns:
        The ellipses: centres at least a tenth of the side from the frame, semi-axes 4 to 15 % of the side.

    Example:
        >>> 1 <= len(place_cells(generator("cells2d", 0, 0), 64)) <= 8
        True
    """
    cells: list[Ellipse] = []
    for _ in range(rng.integers(1, MOST_CELLS + 1)):
        long = size * rng.uniform(0.07, 0.15)
        axes = (long, long * rng.uniform(0.6, 1.0))
        for _ in range(20):
            row, column = size * rng.uniform(0.1, 0.9, 2)
            cell = Ellipse((float(row), float(column)), axes, float(rng.uniform(0, np.pi)))
            if cells and rng.random() < 0.5:
                cell = _touching(cell, cells[rng.integers(len(cells))], rng.uniform(0, 2 * np.pi))
            framed = all(0.1 * size <= x <= 0.9 * size for x in cell.centre)
            if framed and all(disjoint(cell, other) for other in cells):
                cells.append(cell)
                break
    return cells


def cells2d(seed: int, index: int, size: int = 64) -> dict[str, np.ndarray]:
    """One picture of 1 to 8 cells with its truth.

    Each cell is a rotated ellipse of contrast U[0.5, 1.5] above a background of 0.2; the picture is blurred with 0.8
    pixels, multiplied by ``exp(0.2 f)`` with f a smooth field of unit variance, and gets white noise of standard
    deviation 0.1.

    The signed distance is exact: the least of the distances to the ellipses, each solved for on the continuous outline.
    As the interiors do not meet, that is the distance to the outline of their union, inside and outside. It is taken
    in the plane: outlines beyond the frame count. A distance transform of the mask, which knows pixels only, differs
    by up to about a pixel, and by more between cells that touch, where the gap is narrower than a pixel.

    Args:
        seed: of the set.
        index: of the example.
        size: side of the image in pixels, 16 or more.

    Returns:
        ``image [size, size, 1]`` float32; ``mask [size, size]`` uint8, equal to ``sdf <= 0``; ``sdf`` float32 in
        pixels, negative inside; ``ids`` int32, 0 for background and k for cell k; ``contrast [8]`` float32, entry
        k - 1 for cell k and 0 after the last.

    Raises:
        ValueError: if `size` is below 16.

    Example:
        >>> example = cells2d(0, 0, size=32)
        >>> example["image"].shape, bool(((example["sdf"] <= 0) == example["mask"]).all())
        ((32, 32, 1), True)
    """
    if size < 16:
        raise ValueError(f"cells2d needs a size of 16 pixels or more, got {size}")
    rng = generator("cells2d", seed, index)
    cells = place_cells(rng, size)
    contrast = rng.uniform(0.5, 1.5, len(cells))
    distances = np.stack([ellipse_distance(cell, pixel_grid(size)) for cell in cells])
    sdf = distances.min(0).astype(np.float32)
    mask = sdf <= 0
    coverage = np.clip(0.5 - distances, 0, 1)  # of a pixel by a straight edge
    clean = 0.2 + np.tensordot(contrast, coverage, axes=1)
    image = ndimage.gaussian_filter(clean, 0.8) * np.exp(0.2 * smooth_field(rng, size, size / 4))
    image += 0.1 * rng.normal(size=image.shape)
    return {
        "image": image[..., None].astype(np.float32),
        "mask": mask.astype(np.uint8),
        "sdf": sdf,
        "ids": np.where(mask, distances.argmin(0) + 1, 0).astype(np.int32),
        "contrast": np.pad(contrast, (0, MOST_CELLS - len(cells))).astype(np.float32),
    }
