"""Pairs of images to register, made of single ones with label maps: by warps that are known, and of two subjects."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from jaxgen.data.source import Example, Source

NOISE = 0.02
"""Standard deviation of the noise added to a warped image in [-1, 1], so that no texture is in both."""


def smooth_field(
    rng: np.random.Generator, shape: Sequence[int], largest: float, smoothness: float = 1 / 8
) -> np.ndarray:
    """A smooth random displacement field: white noise under a Gaussian, scaled to a largest component.

    Where a difference between neighbours would be more than 0.6 the field is made smaller, as it might fold.

    Args:
        rng: the random numbers.
        shape: of the grid.
        largest: the largest component of a displacement, in voxels.
        smoothness: standard deviation of the Gaussian as a share of each axis.

    Returns:
        float32 ``[*shape, r]``.

    Example:
        >>> field = smooth_field(np.random.default_rng(0), (32, 32), 2.0)
        >>> field.shape, float(np.abs(field).max())
        ((32, 32, 2), 2.0)
    """
    drawn = rng.standard_normal((len(shape), *shape))
    widths = [smoothness * n for n in shape]
    field = np.stack([ndimage.gaussian_filter(component, widths, mode="reflect") for component in drawn], axis=-1)
    steepest = max(np.abs(np.diff(field, axis=axis)).max() for axis in range(len(shape)))
    return (field * min(largest / np.abs(field).max(), 0.6 / steepest)).astype(np.float32)


def warp_array(image: np.ndarray, field: np.ndarray, *, order: int = 1) -> np.ndarray:
    """`jaxgen.medical.registration.warp` of one image on the host, where examples are made.

    Args:
        image: ``[*spatial]`` or ``[*spatial, c]``.
        field: ``[*spatial, r]`` in voxels.
        order: 1 interpolates linearly, 0 takes the nearest voxel.

    Returns:
        An array as `image`.

    Example:
        >>> warp_array(np.arange(4.0), np.full((4, 1), 0.5)).tolist()
        [0.5, 1.5, 2.5, 3.0]
    """
    place = np.indices(field.shape[:-1]) + np.moveaxis(field, -1, 0)
    if image.ndim == field.ndim:
        return np.stack([warp_array(image[..., c], field, order=order) for c in range(image.shape[-1])], -1)
    return ndimage.map_coordinates(image, place, order=order, mode="nearest")


class PairSource:
    """Pairs of the images of a source: first each with itself under a known warp, then each with another subject.

    An example holds ``moving`` and ``fixed`` ``[*spatial, 1]`` uint8, ``moving_mask`` and ``fixed_mask`` ``[*spatial]``
    uint8, and ``flow [*spatial, r]`` float32, the field that brings moving to fixed where it is known, else zeros.

    Args:
        source: images of one size as bytes ``[*spatial, 1]``, with ``mask`` (`jaxgen.data.resized`).
        displacement: the largest component of known warps, in voxels.
        seed: of the warps and of who is paired with whom.
        images_only: leave out the masks and the flow, as training needs neither.

    Example:
        >>> from jaxgen.data.source import ArraySource
        >>> images = {"image": np.zeros((3, 8, 8, 1), np.uint8), "mask": np.zeros((3, 8, 8), np.uint8)}
        >>> pairs = PairSource(ArraySource(images), 2.0, seed=0)
        >>> len(pairs), pairs.names[0], sorted(pairs[5])
        (6, '0 warped', ['fixed', 'fixed_mask', 'flow', 'moving', 'moving_mask'])
    """

    def __init__(self, source: Source, displacement: float, *, seed: int, images_only: bool = False) -> None:
        self._source, self._displacement, self._seed, self._images_only = source, displacement, seed, images_only
        rng = np.random.default_rng(seed)
        # Two rounds of one order: nobody is paired with himself.
        order = rng.permutation(len(source))
        self._partner = np.empty(len(source), int)
        self._partner[order] = np.roll(order, 1)

    @property
    def names(self) -> Sequence[str]:
        """The names of both images of each pair."""
        names = self._source.names
        pairs = [f"{names[i]} to {names[j]}" for i, j in enumerate(self._partner)]
        return [*(f"{name} warped" for name in names), *pairs]

    @property
    def warped(self) -> int:
        """The number of pairs whose warp is known; they come first."""
        return len(self._source)

    def __len__(self) -> int:
        return 2 * len(self._source)

    def __getitem__(self, i: int) -> Example:
        i = range(len(self))[i]
        example = (self._warped if i < self.warped else self._subjects)(i % self.warped)
        return {name: example[name] for name in ("moving", "fixed")} if self._images_only else example

    def _warped(self, i: int) -> Example:
        one, rng = self._source[i], np.random.default_rng((self._seed, i))
        moving = one["image"].astype(np.float32)
        flow = smooth_field(rng, moving.shape[:-1], self._displacement)
        noise = NOISE * 127.5 * rng.standard_normal(moving.shape, np.float32)
        fixed = np.clip(np.round(warp_array(moving, flow) + noise), 0, 255).astype(np.uint8)
        masks = {"moving_mask": one["mask"], "fixed_mask": warp_array(one["mask"], flow, order=0)}
        return {"moving": one["image"], "fixed": fixed, "flow": flow, **masks}

    def _subjects(self, i: int) -> Example:
        one, other = self._source[i], self._source[int(self._partner[i])]
        flow = np.zeros((*one["mask"].shape, one["mask"].ndim), np.float32)
        masks = {"moving_mask": one["mask"], "fixed_mask": other["mask"]}
        return {"moving": one["image"], "fixed": other["image"], "flow": flow, **masks}
