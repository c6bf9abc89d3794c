"""Synthetic images for use in place of real ones, or with them."""
