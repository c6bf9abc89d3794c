"""Pure image operators: signed distance maps, augmentation, noise, intensities, overlapping tiles."""

from jaxgen.imaging.augment import random_crop, random_flip, random_quarter_turn
from jaxgen.imaging.differentiable_augment import differentiable_augment
from jaxgen.imaging.distance import (
    distance_transform,
    gradient_norm,
    inner_boundary,
    mask_from_distance,
    signed_distance,
)
from jaxgen.imaging.folding import depth_to_space, space_to_depth
from jaxgen.imaging.intensity import (
    from_unit_range,
    percentile_range,
    random_brightness,
    random_contrast,
    random_gamma,
    to_unit_range,
)
from jaxgen.imaging.noise import coarse_noise, mask_blocks, simplex_noise
from jaxgen.imaging.tiles import Tiling, blend_tiles, extract_tiles, tile_window, tiling

__all__ = [
    "Tiling",
    "blend_tiles",
    "coarse_noise",
    "depth_to_space",
    "differentiable_augment",
    "distance_transform",
    "extract_tiles",
    "from_unit_range",
    "gradient_norm",
    "inner_boundary",
    "mask_blocks",
    "mask_from_distance",
    "percentile_range",
    "random_brightness",
    "random_contrast",
    "random_crop",
    "random_flip",
    "random_gamma",
    "random_quarter_turn",
    "signed_distance",
    "simplex_noise",
    "space_to_depth",
    "tile_window",
    "tiling",
    "to_unit_range",
]
