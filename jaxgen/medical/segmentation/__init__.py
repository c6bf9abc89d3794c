"""Segmentation: models of masks given images, ensembles of their samples, whole images by tiles, and scores."""
