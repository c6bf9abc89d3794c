"""Synthesis that is for something: which images to draw, of which class and of which group."""

from jaxgen.medical.synthesis.plans import as_seen, cells, fair, inverse, quotas

__all__ = ["as_seen", "cells", "fair", "inverse", "quotas"]
