"""Fluorescence nuclei with instances, shipped with the package (CC0): see SOURCE.md."""
