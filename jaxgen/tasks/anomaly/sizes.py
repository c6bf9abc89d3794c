"""The study of sizes: which noise finds lesions of which size best."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxgen import figures
from jaxgen.config import option
from jaxgen.data.phantoms import LESIONS
from jaxgen.experiment import Figure, Run
from jaxgen.medical.anomaly import FLOOR, Method, find, foreground, paste_anomalies
from jaxgen.medical.anomaly.tuning import tune
from jaxgen.metrics import average_precision
from jaxgen.metrics.best import highest
from jaxgen.tasks.anomaly.data import PHANTOM, AnomalyConfig, phantoms
from jaxgen.tasks.anomaly.evaluation import cleaning

WAVELENGTHS = {"white": 1.0, "coarse32": 2.0, "coarse16": 4.0, "coarse8": 8.0, "coarse4": 16.0}
"""Pixels between the nodes of a noise, of an image of 64; simplex noise has many scales."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SizesConfig(AnomalyConfig):
    """The options of the study of sizes."""

    radii: tuple[float, ...] = option(
        (2.0, 4.0, 8.0, 12.0), "radii of the study of sizes, pixels of 64", gt=0, group="evaluation"
    )
    radius_images: int = option(40, "phantoms of each radius; 0 leaves the study out", ge=0, group="evaluation")


def by_size(run: Run, methods: Sequence[Method], healthy: np.ndarray) -> tuple[dict[str, Any], dict[str, Figure]]:
    """Average precision of bright lesions of one radius, each method at the setting that suits that size.

    Args:
        run: the run.
        methods: named as their noise in short, with settings, which are chosen on artificial anomalies of that radius.
        healthy: validation images ``[n, h, w, c]``.

    Returns:
        Metrics by method; ``best_wavelength_r...`` and ``size_correlation``, the rank correlation of the radius with
        the scale of the noise that finds it best, where there are several scales; and the curves. Nothing where the
        study is not wanted, or there are no phantoms.
    """
    if run.config.data != PHANTOM or not run.config.radius_images:
        return {}, {}
    config = run.config
    healthy = healthy[: config.radius_images]
    within = foreground(healthy, FLOOR)
    curves: dict[str, tuple[list[float], list[float]]] = {method.short_name: ([], []) for method in methods}
    for radius in config.radii:
        pixels = radius * config.size / 64
        artificial = paste_anomalies(config.seed, healthy, within, radius=(pixels, pixels))
        drawn = phantoms(config, config.radius_images, 3, LESIONS["L1"].of_radius(radius))
        for method in methods:
            tuned = tune(cleaning(config), run.key, method, *artificial)
            score = find(cleaning(config), run.key, tuned.method, drawn["image"]).score
            curves[method.short_name][0].append(radius)
            curves[method.short_name][1].append(float(average_precision(score, drawn["mask"])))
    metrics: dict[str, Any] = {
        f"radius {name}": {f"ap_r{r:g}": ap for r, ap in zip(*curve, strict=True)} for name, curve in curves.items()
    }
    scales = {name: WAVELENGTHS[name] for name in curves if name in WAVELENGTHS}
    if len(scales) > 1:
        best = [highest({name: curves[name][1][i] for name in scales}) for i in range(len(config.radii))]
        waves = [scales[name] for name in best]
        metrics |= {f"best_wavelength_r{r:g}": wave for r, wave in zip(config.radii, waves, strict=True)}
        from scipy.stats import spearmanr  # takes a second to load

        order = spearmanr(config.radii, waves).statistic if len(set(waves)) > 1 else 0.0
        metrics["size_correlation"] = float(order)
    caption = (
        "Average precision of bright lesions of one radius; each noise at the level that suits artificial anomalies."
    )
    return metrics, {
        "sizes": figures.curves(curves, caption, x="radius of the lesion, pixels of 64", y="average precision")
    }
