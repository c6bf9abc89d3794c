"""Segmentation with uncertainty."""
