"""Figures of edited images: what lies between two images, and realism against faithfulness."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxgen.figures.figure import Figure
from jaxgen.figures.pictures import curves, rows


def interpolations(ways: Mapping[str, Sequence[np.ndarray]], fractions: Sequence[float]) -> Figure:
    """The first two pairs of images, and what each method puts between them.

    Args:
        ways: sets of images ``[n, h, w, c]``, one for each fraction, by method.
        fractions: how far each set lies from the first image to the second.

    Returns:
        The figure.
    """
    return rows(
        {name: [x[0] for x in way] + [x[1] for x in way] for name, way in ways.items()},
        "From one held-out image to another, two pairs.",
        heads=[f"{fraction:g}" for fraction in fractions] * 2,
    )


def realism_against_faithfulness(begins: Sequence[float], edits: Sequence[Mapping[str, float]]) -> Figure:
    """The metrics of SDEdit by where it begins.

    Args:
        begins: where it begins, from the data at 0 to the noise at 1.
        edits: ``faithfulness`` and ``realism`` for each.

    Returns:
        The figure.
    """
    return curves(
        {
            "faithfulness: PSNR to the guide, dB / 10": (begins, [found["faithfulness"] / 10 for found in edits]),
            "distance to the training images": (begins, [found["realism"] for found in edits]),
        },
        "SDEdit: what is gained in realism is lost in faithfulness.",
        x="where SDEdit begins",
        y="",
        levels={"a held-out image": 1.0},
    )


def first_rows(sets: Mapping[str, np.ndarray], caption: str, count: int = 6) -> Figure:
    """The first images of each set, a row per set.

    Args:
        sets: images ``[n, h, w, c]`` by name.
        caption: of the figure.
        count: how many of each.

    Returns:
        The figure.
    """
    return rows({name: x[:count] for name, x in sets.items()}, caption)
