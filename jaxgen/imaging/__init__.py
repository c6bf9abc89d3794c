"""Pure image operators: signed distance maps, augmentation, noise, intensities, overlapping tiles, CT."""

from jaxgen.imaging.augment import random_crop, random_flip, random_quarter_turn
from jaxgen.imaging.differentiable_augment import differentiable_augment
from jaxgen.imaging.distance import (
    distance_transform,
    gradient_norm,
    inner_boundary,
    mask_from_distance,
    signed_distance,
)
from jaxgen.imaging.fan_beam import fan_beam_geometry, fan_beam_operator
from jaxgen.imaging.filtered_backprojection import filtered_backprojection
from jaxgen.imaging.folding import depth_to_space, space_to_depth
from jaxgen.imaging.hounsfield import to_attenuation, to_hounsfield
from jaxgen.imaging.intensity import (
    from_unit_range,
    percentile_range,
    random_brightness,
    random_contrast,
    random_gamma,
    to_unit_range,
)
from jaxgen.imaging.metal import interpolate_trace, metal_mask, metal_trace, simulate_metal, without_trace
from jaxgen.imaging.noise import coarse_noise, mask_blocks, simplex_noise
from jaxgen.imaging.radon import radon_operator, slice_by_slice
from jaxgen.imaging.tiles import Tiling, blend_tiles, extract_tiles, tile_window, tiling

__all__ = [
    "Tiling",
    "blend_tiles",
    "coarse_noise",
    "depth_to_space",
    "differentiable_augment",
    "distance_transform",
    "extract_tiles",
    "fan_beam_geometry",
    "fan_beam_operator",
    "filtered_backprojection",
    "from_unit_range",
    "gradient_norm",
    "inner_boundary",
    "interpolate_trace",
    "mask_blocks",
    "mask_from_distance",
    "metal_mask",
    "metal_trace",
    "percentile_range",
    "radon_operator",
    "random_brightness",
    "random_contrast",
    "random_crop",
    "random_flip",
    "random_gamma",
    "random_quarter_turn",
    "signed_distance",
    "simplex_noise",
    "simulate_metal",
    "slice_by_slice",
    "space_to_depth",
    "tile_window",
    "tiling",
    "to_attenuation",
    "to_hounsfield",
    "to_unit_range",
    "without_trace",
]
