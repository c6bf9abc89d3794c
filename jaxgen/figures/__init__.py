"""Figures of reports, from arrays: images in rows, curves, and those of single tasks in modules of their own."""

from jaxgen.figures.figure import Figure
from jaxgen.figures.pictures import COLOURS, curves, grid, rows

__all__ = ["COLOURS", "Figure", "curves", "grid", "rows"]
