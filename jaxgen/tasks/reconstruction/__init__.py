"""Reconstruction: images from incomplete measurements."""
