"""Lesions of phantoms found by methods that choose nothing: average precision and the best Dice alone."""

from collections.abc import Sequence

from jaxgen.data.phantoms import LESIONS
from jaxgen.experiment import Figure, Metric
from jaxgen.medical.anomaly import evaluate_detection
from jaxgen.tasks.anomaly.data import PhantomConfig, phantoms
from jaxgen.tasks.anomaly.figures import Gallery
from jaxgen.tasks.anomaly.methods import Found, Method, cleaned


def lesions_alone(config: PhantomConfig, methods: Sequence[Method]) -> tuple[dict[str, dict[str, float]], Figure]:
    """Each method on phantoms with each kind of lesion.

    Args:
        config: the configuration.
        methods: without settings, and without random numbers.

    Returns:
        ``ap_...`` and ``dice_...`` of each kind of lesion by method, and the figure of maps.
    """
    drawn = {kind: phantoms(config, config.lesions, 3, lesion) for kind, lesion in LESIONS.items()}
    gallery = Gallery({kind: (part["image"], part["mask"]) for kind, part in drawn.items()})
    metrics: dict[str, dict[str, float]] = {method.name: {} for method in methods}
    for kind, part in drawn.items():
        for method in methods:
            score = cleaned(method.run(None, part["image"]).score, part["image"])
            gallery.add(method.name, Found(score))
            found = evaluate_detection(score, part["mask"])
            metrics[method.name] |= {f"ap_{kind}": found.average_precision, f"dice_{kind}": found.best_dice}
    return metrics, gallery.figures()["maps"]


DESCRIBE = {
    **{f"ap_{kind}": Metric(f"AP, {kind}", "higher", "average precision of lesion pixels") for kind in LESIONS},
    **{
        f"dice_{kind}": Metric(f"Best Dice, {kind}", "higher", "at the best threshold of the test set")
        for kind in LESIONS
    },
}
