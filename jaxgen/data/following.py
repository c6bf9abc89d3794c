"""Whether images follow their hints, and shapes in flat colours their prompts, by measurement."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from jaxgen.data.generated import DrawnSource
from jaxgen.data.hints import edges
from jaxgen.data.phantoms import Coloured, Seen, measure_coloured, outline
from jaxgen.data.source import Source
from jaxgen.metrics import nearest_neighbours
from jaxgen.metrics.overlap import iou


def coloured_in(parts: Sequence[Source]) -> list[Coloured] | None:
    """What computed shapes in flat colours show, one source after the other; None of other data."""
    drawn = [part for part in parts if isinstance(part, DrawnSource) and part.has_colours]
    return [part.coloured(i) for part in drawn for i in range(len(part))] if len(drawn) == len(parts) else None


def contour_agreement(images: np.ndarray, hints: np.ndarray) -> dict[str, float]:
    """How far the edges of images are those that their hints are.

    Args:
        images: ``[n, h, w, c]``, 0 to 1.
        hints: bytes ``[n, h, w, 3]``, edges (`jaxgen.data.hints.edges`).

    Returns:
        ``contour_iou``, the mean over the images.

    Example:
        >>> image = np.zeros((1, 8, 8, 1))
        >>> image[:, 4:] = 1
        >>> contour_agreement(image, 255 * edges(image[0])[None, ..., None].repeat(3, -1))
        {'contour_iou': 1.0}
    """
    return {"contour_iou": _mean_iou([edges(image) for image in images], hints[..., 0] > 127)}


def coloured_agreement(
    images: np.ndarray, hints: np.ndarray, real: np.ndarray, asked: Sequence[Coloured]
) -> dict[str, float]:
    """How far images of shapes in flat colours follow their hints and prompts.

    Args:
        images: ``[n, h, w, 3]``, 0 to 1.
        hints: bytes ``[n, h, w, 3]``, the outlines.
        real: the images that the hints are of, ``[n, h, w, 3]``.
        asked: what the prompts ask for.

    Returns:
        ``contour_iou`` with the hints and ``shape_iou`` with the real shapes, means over the images; ``colours``, the
        share of images in which both colours are those asked for.

    Example:
        >>> from jaxgen.data.phantoms import coloured2d, coloured_of
        >>> shown = coloured2d(0, 0, 32)
        >>> coloured_agreement(shown["image"][None], shown["control"][None], shown["image"][None], [coloured_of(0, 0)])
        {'contour_iou': 1.0, 'shape_iou': 1.0, 'colours': 1.0}
    """
    seen, truth = ([measure_coloured(image) for image in x] for x in (images, real))
    return {
        "contour_iou": _mean_iou([outline(one.mask) for one in seen], hints[..., 0] > 127),
        "shape_iou": _mean_iou([one.mask for one in seen], np.stack([one.mask for one in truth])),
        "colours": float(np.mean([_as_asked(one, wanted) for one, wanted in zip(seen, asked, strict=True)])),
    }


def nearest_hints(hints: np.ndarray, known: np.ndarray) -> np.ndarray:
    """For each hint the number of the nearest of other hints, in pixels.

    Args:
        hints: bytes ``[n, h, w, 3]``.
        known: bytes ``[k, h, w, 3]``.

    Returns:
        Indices ``[n]``.

    Example:
        >>> known = np.array([0, 90, 255], np.uint8).reshape(3, 1, 1, 1)
        >>> nearest_hints(known[[1]] + 9, known).tolist()
        [1]
    """
    asked, others = (x.reshape(len(x), -1).astype(np.float32) / 255 for x in (hints, known))
    return nearest_neighbours(asked, others)[1]


_SAID = {
    "contour_iou": "contours agree with the hint by an IoU of {:.3f}, without control {:.3f}, of real images {:.3f}",
    "colours": "colours are as asked in {:.1%} of images, without control {:.1%}, in real images {:.1%}",
    "agreement": "{:.1%} of findings asked for are there, without control {:.1%}, in real images {:.1%}",
}


def said(ours: Mapping[str, float], base: Mapping[str, float], real: Mapping[str, float]) -> str:
    """A sentence on the metrics of images under control, of those without, and of real images; empty without any.

    Example:
        >>> said({"colours": 0.9}, {"colours": 0.95}, {"colours": 1.0})
        'Colours are as asked in 90.0% of images, without control 95.0%, in real images 100.0%.'
    """
    parts = [form.format(ours[name], base[name], real[name]) for name, form in _SAID.items() if name in ours]
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _as_asked(seen: Seen, asked: Coloured) -> bool:
    return (seen.colour, seen.ground) == (asked.colour, asked.ground)


def _mean_iou(found: Sequence[np.ndarray], wanted: np.ndarray) -> float:
    return float(jnp.mean(iou(jnp.asarray(np.stack(found)), jnp.asarray(wanted))))
