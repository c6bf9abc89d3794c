"""Lesions of phantoms found by methods that choose nothing: average precision and the best Dice alone."""

from collections.abc import Callable, Mapping

import numpy as np

from jaxgen.data.phantoms import LESIONS
from jaxgen.experiment import Figure, Metric
from jaxgen.figures.anomaly import Gallery
from jaxgen.medical.anomaly import Method, by_residual, cleaned, evaluate_detection
from jaxgen.tasks.anomaly.data import PhantomConfig, phantoms
from jaxgen.tasks.anomaly.evaluation import headline
from jaxgen.tasks.anomaly.references import baselines


def find(
    config: PhantomConfig, train: np.ndarray, restorers: Mapping[str, Callable[[np.ndarray], np.ndarray]]
) -> tuple[dict[str, dict[str, float]], Figure, str]:
    """Networks that restore images, and the baselines, on phantoms with each kind of lesion.

    Args:
        config: the configuration.
        train: healthy images ``[n, h, w, c]`` that the baselines are fitted to.
        restorers: ``images -> healthy versions`` by name; the headline is of the last.

    Returns:
        ``ap_...`` and ``dice_...`` of each kind of lesion by method, the figure of maps, and the headline.
    """
    simple = baselines(train)
    ours = [Method(name, by_residual("absolute", lambda key, x, f=f: f(x))) for name, f in restorers.items()]
    methods = (*simple, *ours)
    drawn = {kind: phantoms(config, config.lesions, 3, lesion) for kind, lesion in LESIONS.items()}
    gallery = Gallery({kind: (part["image"], part["mask"]) for kind, part in drawn.items()})
    metrics: dict[str, dict[str, float]] = {method.name: {} for method in methods}
    for kind, part in drawn.items():
        for method in methods:
            score = cleaned(method.run(None, part["image"]).score, part["image"])
            gallery.add(method.name, score)
            found = evaluate_detection(score, part["mask"])
            metrics[method.name] |= {f"ap_{kind}": found.average_precision, f"dice_{kind}": found.best_dice}
    return metrics, gallery.figures()["maps"], headline(metrics, ours[-1].name, [method.name for method in simple])


DESCRIBE = {
    **{f"ap_{kind}": Metric(f"AP, {kind}", "higher", "average precision of lesion pixels") for kind in LESIONS},
    **{
        f"dice_{kind}": Metric(f"Best Dice, {kind}", "higher", "at the best threshold of the test set")
        for kind in LESIONS
    },
}
