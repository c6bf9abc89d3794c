"""Registration: fields that bring one image to another, their losses, and models that answer with them."""

from jaxgen.losses.similarity import lncc, mutual_information
from jaxgen.losses.smoothness import bending_energy, diffusion_energy
from jaxgen.medical.registration.errors import endpoint_error, landmark_error
from jaxgen.medical.registration.fields import compose, exponential, invert
from jaxgen.medical.registration.itk import to_itk_displacement
from jaxgen.medical.registration.jacobian import folded_share, jacobian_determinant
from jaxgen.medical.registration.transformer import interpolate, voxel_grid, warp

__all__ = [
    "bending_energy",
    "compose",
    "diffusion_energy",
    "endpoint_error",
    "exponential",
    "folded_share",
    "interpolate",
    "invert",
    "jacobian_determinant",
    "landmark_error",
    "lncc",
    "mutual_information",
    "to_itk_displacement",
    "voxel_grid",
    "warp",
]
