"""Figures of the anomaly experiments: maps and restored images in rows, and average precision in bars."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure as Canvas

from jaxgen.figures import pictures as figures
from jaxgen.figures.figure import Figure


class Gallery:
    """The maps and restored images of every method, of a few images of every set."""

    def __init__(
        self,
        lesions: Mapping[str, tuple[np.ndarray, np.ndarray]],
        twins: Mapping[str, np.ndarray] = {},
        ill: tuple[np.ndarray, np.ndarray] | None = None,
        *,
        channel: int | None = None,
    ) -> None:
        """Two images of each set with lesions, or of images that are ill or not some of both.

        Args:
            lesions: images ``[n, h, w, c]`` and masks ``[n, h, w]``, by the name of the set.
            twins: the healthy twins of the images of a set.
            ill: images ``[n, h, w, c]`` and whether each is ill ``[n]``.
            channel: the one to show, in grey; None for the first three in colour, or a single one in grey.
        """
        self._channels = slice(None) if channel is None else slice(channel, channel + 1)
        self._picked = np.arange(2) if ill is None else _some(ill[1])
        self._heads = [f"{kind} {j + 1}" for kind in lesions for j in range(2)]
        shown = [image for x, _ in lesions.values() for image in x[:2]]
        if ill is not None:
            shown = list(ill[0][self._picked])
        self._maps: dict[str, list[np.ndarray]] = {"image": shown}
        self._restored: dict[str, list[np.ndarray]] = {"image": shown}
        if lesions:
            self._maps["lesion"] = [2.0 * one[..., None] - 1 for _, mask in lesions.values() for one in mask[:2]]
        if twins:
            self._restored["healthy twin"] = [image for twin in twins.values() for image in twin[:2]]

    def add(self, name: str, score: np.ndarray, restored: np.ndarray | None = None) -> None:
        """Add what a method finds in one set: its maps ``[n, h, w]``, and healthy versions ``[n, h, w, c]``."""
        picked = self._picked[self._picked < len(score)]
        self._maps.setdefault(name, []).extend(_bright(score)[picked])
        if restored is not None:
            self._restored.setdefault(name, []).extend(restored[picked])

    def figures(self) -> dict[str, Figure]:
        """The figures ``maps`` and ``restored``."""
        maps = "The map of each method: bright where it sees an anomaly."
        restored = "What each method would have the image be."
        return {
            "maps": figures.rows(self._seen(self._maps), maps, heads=self._heads),
            "restored": figures.rows(self._seen(self._restored), restored, heads=self._heads),
        }

    def _seen(self, pictures: Mapping[str, list[np.ndarray]]) -> dict[str, list[np.ndarray]]:
        """The channel to show of images; maps have one."""
        return {
            name: [one if one.shape[-1] == 1 else one[..., self._channels] for one in row]
            for name, row in pictures.items()
        }


def _some(ill: np.ndarray) -> np.ndarray:
    """The numbers of some healthy images and of some ill ones."""
    some = np.flatnonzero(ill)
    return np.concatenate([np.flatnonzero(~ill)[:3], some[:: max(1, len(some) // 5)][:5]])


def _bright(score: np.ndarray) -> np.ndarray:
    """Maps ``[n, h, w]`` as images in [-1, 1]."""
    high = float(np.quantile(score[score > 0], 0.999)) if (score > 0).any() else 1.0
    return 2 * np.clip(score[..., None] / high, 0, 1) - 1


def bars(metrics: Mapping[str, Mapping[str, float]], kinds: tuple[str, ...]) -> Figure:
    """Average precision of each method on each set, with intervals over cases."""
    canvas = Canvas(figsize=(2.2 + 1.6 * len(kinds), 3.4), layout="constrained")
    axes = canvas.subplots()
    width = 0.85 / len(metrics)
    for i, (name, row) in enumerate(metrics.items()):
        value, low, high = (np.array([row[f"{part}_{kind}"] for kind in kinds]) for part in ("ap", "ap_low", "ap_high"))
        spread = np.maximum([value - low, high - value], 0)
        place = np.arange(len(kinds)) + (i - (len(metrics) - 1) / 2) * width
        colour = figures.COLOURS[i % len(figures.COLOURS)]
        axes.bar(place, value, width, yerr=spread, color=colour, label=name, error_kw={"linewidth": 0.8})
    axes.set_xticks(range(len(kinds)), kinds)
    axes.set_ylabel("average precision")
    axes.legend(frameon=False, fontsize=6, ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    return Figure(canvas, "Average precision of pixels, with 95 % bootstrap intervals over cases.")
