"""jaxgen: deep generative models for medical imaging as pure JAX functions."""

__version__ = "0.1.0"
