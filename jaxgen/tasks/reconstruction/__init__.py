"""Reconstruction: images from what a scanner measured, by methods that are tuned and compared in the same situations.

`comparison` is the evaluation of any reconstruction, `posterior` reconstruction by sampling with a diffusion prior, and
`mri` and `ct` are the measurements.
"""
