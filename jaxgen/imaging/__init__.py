"""Pure image operators: signed distance maps, augmentation, noise, intensities, overlapping tiles, CT, MRI."""

from jaxgen.imaging.affine import random_affine
from jaxgen.imaging.augment import random_crop, random_flip, random_quarter_turn
from jaxgen.imaging.coils import (
    calibration_region,
    calibration_size,
    combine_coils,
    espirit,
    low_resolution_coils,
    low_resolution_images,
    normalise_coils,
    root_sum_of_squares,
    simulated_coils,
)
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
from jaxgen.imaging.fourier import add_phase, centred_fft2, centred_ifft2, from_complex, smooth_phase, to_complex
from jaxgen.imaging.hounsfield import to_attenuation, to_hounsfield
from jaxgen.imaging.intensity import (
    from_unit_range,
    percentile_range,
    random_brightness,
    random_contrast,
    random_gamma,
    to_unit_range,
)
from jaxgen.imaging.metal import (
    interpolate_trace,
    metal_mask,
    metal_trace,
    random_implants,
    simulate_metal,
    without_trace,
)
from jaxgen.imaging.mri import check_kspace, check_mask, measured_columns, measured_mask, mri_operator, zero_filled
from jaxgen.imaging.noise import coarse_noise, mask_blocks, simplex_noise
from jaxgen.imaging.operators import (
    LinearOperator,
    adjoint_by_transpose,
    apply_normal,
    conjugate_gradient,
    inner_product,
    pseudo_inverse,
    squared_norm_bound,
)
from jaxgen.imaging.radon import radon_operator, slice_by_slice
from jaxgen.imaging.sampling_masks import (
    calibration_lines,
    equispaced_mask,
    gaussian_mask,
    mixed_mask,
    poisson_disc_mask,
    radial_mask,
    random_mask,
    true_acceleration,
)
from jaxgen.imaging.tiles import Tiling, blend_tiles, extract_tiles, gaussian_window, padded_shape, tile_window, tiling

__all__ = [
    "LinearOperator",
    "Tiling",
    "add_phase",
    "adjoint_by_transpose",
    "apply_normal",
    "blend_tiles",
    "calibration_lines",
    "calibration_region",
    "calibration_size",
    "centred_fft2",
    "centred_ifft2",
    "check_kspace",
    "check_mask",
    "coarse_noise",
    "combine_coils",
    "conjugate_gradient",
    "depth_to_space",
    "differentiable_augment",
    "distance_transform",
    "equispaced_mask",
    "espirit",
    "extract_tiles",
    "fan_beam_geometry",
    "fan_beam_operator",
    "filtered_backprojection",
    "from_complex",
    "from_unit_range",
    "gaussian_mask",
    "gaussian_window",
    "gradient_norm",
    "inner_boundary",
    "inner_product",
    "interpolate_trace",
    "low_resolution_coils",
    "low_resolution_images",
    "mask_blocks",
    "mask_from_distance",
    "measured_columns",
    "measured_mask",
    "metal_mask",
    "metal_trace",
    "mixed_mask",
    "mri_operator",
    "normalise_coils",
    "padded_shape",
    "percentile_range",
    "poisson_disc_mask",
    "pseudo_inverse",
    "radial_mask",
    "radon_operator",
    "random_brightness",
    "random_contrast",
    "random_crop",
    "random_affine",
    "random_flip",
    "random_gamma",
    "random_implants",
    "random_mask",
    "random_quarter_turn",
    "root_sum_of_squares",
    "signed_distance",
    "simplex_noise",
    "simulate_metal",
    "simulated_coils",
    "slice_by_slice",
    "smooth_phase",
    "space_to_depth",
    "squared_norm_bound",
    "tile_window",
    "tiling",
    "to_attenuation",
    "to_complex",
    "to_hounsfield",
    "to_unit_range",
    "true_acceleration",
    "without_trace",
    "zero_filled",
]
