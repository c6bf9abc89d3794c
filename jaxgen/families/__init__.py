"""Model families, one a file: each builds a `jaxgen.types.Model`."""

from jaxgen.families.flow_matching import flow_matching_model

__all__ = ["flow_matching_model"]
