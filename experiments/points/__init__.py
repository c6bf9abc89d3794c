"""Densities of points in the plane, whose truth is known."""
