"""Model families, one a file: each builds a `jaxgen.types.Model`."""

from jaxgen.families.diffusion import diffusion_model
from jaxgen.families.flow_matching import flow_matching_model

__all__ = ["diffusion_model", "flow_matching_model"]
