"""Model families, one a file: each builds a `jaxgen.types.Model`."""

from jaxgen.families.classifier import classifier_model
from jaxgen.families.diffusion import LearnedVariance, diffusion_model
from jaxgen.families.flow_matching import flow_matching_model

__all__ = ["LearnedVariance", "classifier_model", "diffusion_model", "flow_matching_model"]
