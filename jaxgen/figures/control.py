"""Figures of images drawn under hints."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np

from jaxgen.figures.figure import Figure
from jaxgen.figures.pictures import rows


def controlled(
    hints: np.ndarray, captions: Sequence[str], sets: Mapping[str, np.ndarray], caption: str, columns: int = 8
) -> Figure:
    """Hints, and under each the images that were drawn of it.

    Args:
        hints: bytes ``[n, h, w, 3]``.
        captions: one per hint, the heads of the columns.
        sets: images ``[n, h, w, c]`` in [-1, 1] by the name of their row.
        caption: of the figure.
        columns: how many hints are shown at most.
    """
    shown = {"hint": as_images(hints[:columns]), **{name: images[:columns] for name, images in sets.items()}}
    return rows(shown, caption, heads=[textwrap.fill(text, 20) for text in captions[:columns]])


def prompted(hint: np.ndarray, by_prompt: Mapping[str, np.ndarray], caption: str) -> Figure:
    """One hint ``[h, w, 3]``, the first of each row, and its images under one prompt per row."""
    first = as_images(hint)
    return rows({prompt: [first, *images] for prompt, images in by_prompt.items()}, caption)


def as_images(hints: np.ndarray) -> np.ndarray:
    """Hints as images in [-1, 1]: bytes from 0 to 255."""
    return hints.astype(np.float32) / 127.5 - 1
