"""Whether radiographs drawn from reports help a classifier that has few real ones."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from jaxgen.config import option
from jaxgen.data.agreement import reports_of
from jaxgen.data.captions import Report, stated_findings
from jaxgen.data.phantoms import FINDINGS
from jaxgen.experiment import Metric, Run
from jaxgen.metrics import mean_auroc
from jaxgen.tasks import images
from jaxgen.tasks.text import tuning
from jaxgen.train.finding_classifiers import Labelled, Training, compared, small_classifier

DESCRIBE = {
    "auroc": Metric("AUROC", "higher", "of a classifier of the findings on held-out images, mean over the findings"),
    "auroc_spread": Metric("AUROC, spread", "", "standard deviation over classifiers of other seeds"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierConfig(tuning.TuningConfig):
    """The options of classifiers that are trained on drawn images."""

    classifier_steps: int = option(600, "training steps of each classifier (0: none)", ge=0, group="evaluation")
    classifier_images: int = option(100, "real images that classifiers have", ge=1, group="evaluation")
    classifier_drawn: int = option(1000, "images that are drawn for them", ge=1, group="evaluation")


def classifiers(
    run: Run, draw: Callable[[Sequence[Report]], np.ndarray], test: np.ndarray, reports: Sequence[Report]
) -> dict[str, dict[str, float]]:
    """The AUROC of classifiers on test images, by the images that they were trained on (`compared`).

    Args:
        run: the run; the reports of its training images are drawn.
        draw: images ``[n, h, w, c]`` of reports.
        test: held-out images.
        reports: theirs.
    """
    config, train = run.config, run.splits.train
    known = reports_of((train,))
    assert known is not None  # the data are computed
    few = images.real_images(run, images.Subset(train, range(min(config.classifier_images, len(train)))))["image"]
    asked = [known[i % len(known)] for i in range(config.classifier_drawn)]
    synthetic = Labelled(np.nan_to_num(draw(asked)), stated_findings(asked))
    training = Training(small_classifier(len(FINDINGS)), config.classifier_steps)

    def score(probability: np.ndarray, findings: np.ndarray) -> float:
        return float(mean_auroc(probability, findings))

    real = Labelled(few, stated_findings(known[: len(few)]))
    found = compared(training, real, synthetic, Labelled(test, stated_findings(reports)), score)
    return {
        f"classifier, {name}": {"auroc": row["score"], "auroc_spread": row["spread"]} for name, row in found.items()
    }
