"""Figures of autoencoders: reconstructions, codes in the plane, and images between two codes."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure as Canvas

from jaxgen.figures.figure import Figure
from jaxgen.figures.pictures import COLOURS, rows


def reconstructions(x: np.ndarray, reconstructed: Mapping[str, np.ndarray], caption: str, count: int = 8) -> Figure:
    """Images, and below them their reconstructions by each method.

    Args:
        x: images ``[n, h, w, c]``.
        reconstructed: their reconstructions by method.
        caption: of the figure.
        count: how many to show, evenly chosen.

    Returns:
        The figure.
    """
    chosen = np.unique(np.linspace(0, len(x) - 1, min(count, len(x))).round().astype(int))
    return rows({"image": x[chosen], **{name: y[chosen] for name, y in reconstructed.items()}}, caption)


def code_scatter(codes: Mapping[str, np.ndarray], label: np.ndarray | None, classes: Sequence[str]) -> Figure:
    """Sets of codes along the two directions in which the first varies most, that one coloured by class.

    Args:
        codes: sets of codes ``[n, d]`` by name.
        label: the classes ``[n]`` of the first set, or None.
        classes: their names.

    Returns:
        The figure.
    """
    canvas = Canvas(figsize=(3.6 * len(codes), 3.6), layout="constrained")
    (first, *_) = codes.values()
    mean, dimensions = first.mean(0), first.shape[1]
    for panel, (name, points) in zip(canvas.subplots(1, len(codes), squeeze=False)[0], codes.items(), strict=True):
        place = points
        if dimensions > 2:
            place = (points - mean) @ np.linalg.svd(first - mean, full_matrices=False)[2][:2].T
        elif dimensions == 1:
            place = np.concatenate([points, np.zeros_like(points)], 1)
        if label is not None and points is first:
            for k, class_name in enumerate(classes):
                colour = COLOURS[k % len(COLOURS)]
                panel.scatter(*place[label == k].T, s=6, color=colour, label=class_name)
            panel.legend(fontsize=6, frameon=False)
        else:
            panel.scatter(*place.T, s=6, color="0.5")
        panel.set_title(name, fontsize=8)
    return Figure(canvas, "Codes along the two directions in which those of the test images vary most.")


def interpolations(
    encode: Callable[[np.ndarray], np.ndarray], decode: Callable[[np.ndarray], np.ndarray], x: np.ndarray
) -> Figure:
    """Three pairs of images, and what lies between their codes.

    Args:
        encode: images ``[n, h, w, c]`` to codes ``[n, d]``.
        decode: codes to images.
        x: the images; the first six are shown.

    Returns:
        The figure.
    """
    share = np.linspace(0, 1, 8)[:, None]
    ends = encode(x[:6] if len(x) > 1 else np.repeat(x, 2, axis=0))
    between = {}
    for i, (first, last) in enumerate(zip(ends[::2], ends[1::2], strict=False)):
        between[f"pair {i + 1}"] = np.clip(decode((1 - share) * first + share * last), -1, 1)
    return rows(between, "On the straight line between the codes of two test images.")
