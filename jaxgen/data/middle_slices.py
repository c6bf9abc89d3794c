"""The middle slice of volumes, next to the shape that it is a slice of."""

import numpy as np

from jaxgen.data.images import Range, resized
from jaxgen.data.source import ArraySource, Source
from jaxgen.errors import UserError


def middle_slices(source: Source, size: int, value_range: Range) -> ArraySource:
    """Middle slices along the last axis with the volumes that they are from, as cubes, a byte per value.

    Args:
        source: volumes ``image [x, y, z, c]`` with ``mask [x, y, z]``.
        size: voxels along each axis of the results.
        value_range: raw values that become 0 and 255 (`jaxgen.data.resized`).

    Returns:
        ``source [n, size, size, 2]``, the mean of the channels inside of the mask, and the mask; and the masks of the
        volumes ``image [n, size, size, size, 1]``, 0 and 255.

    Raises:
        UserError: if the middle slice of a volume shows nothing of what is marked.

    Example:
        >>> volumes = ArraySource({"image": np.ones((1, 8, 8, 8, 1)), "mask": np.ones((1, 8, 8, 8), np.uint8)})
        >>> {name: x.shape for name, x in middle_slices(volumes, 4, ((0,), (1,))).arrays.items()}
        {'source': (1, 4, 4, 2), 'image': (1, 4, 4, 4, 1)}
    """
    arrays = resized(source, (size,) * 3, value_range, dtype=np.uint8).arrays
    mask = (arrays["mask"] > 0).astype(np.uint8)
    seen = mask[..., size // 2]
    for i in np.flatnonzero(~seen.reshape(len(seen), -1).any(1))[:1]:
        raise UserError(f"{source.names[i]}: its middle slice shows nothing of the mask; crop volumes about it")
    light = np.round(arrays["image"][..., size // 2, :].mean(-1)).astype(np.uint8)
    return ArraySource({"source": np.stack([light * seen, 255 * seen], -1), "image": 255 * mask[..., None]})
