"""Fairness by sampling: a generator fills the groups of which there are few images, for a classifier of all groups.

    jaxgen run fair_sampling                                         # computed tissue, a rare hospital and a new one
    jaxgen run fair_sampling --data chests.npz --attribute sex       # an npz with labels, covariates, covariate_names

Compared with training on real images alone, as they are, with colours varied, and with each group drawn as often, and
with images drawn in the proportions of the real ones. Ktena et al. 2024, "Generative models improve fairness of medical
classifiers under distribution shifts", Nature Medicine, arXiv 2304.09218.
"""

from collections.abc import Mapping

import numpy as np

from jaxgen import headings
from jaxgen.app.cli import run_module
from jaxgen.data import Subset
from jaxgen.experiment import Evaluation, Metric, Run
from jaxgen.figures import rows
from jaxgen.imaging.variations import coloured
from jaxgen.medical.synthesis import as_seen, cells, fair
from jaxgen.metrics import auroc, by_group, expected_calibration_error, worst_and_gap
from jaxgen.tasks import synthesis

DESCRIBE = {
    "auroc": Metric("AUROC", "higher", "test images of the groups that are in the training data"),
    "worst": Metric("Worst group", "higher", "the lowest AUROC of a group of test images, new groups too"),
    "gap": Metric("Gap", "lower", "the best AUROC of a group less the worst"),
    "calibration": Metric("Worst ECE", "lower", "the highest expected calibration error of a group"),
}


def area(probability: np.ndarray, truth: np.ndarray) -> float:
    """The AUROC of the last class; NaN where all images or none show it."""
    return float(auroc(probability, truth)) if 0 < truth.sum() < len(truth) else float("nan")


def evaluate(run: Run) -> Evaluation:
    parts = (Subset(run.splits.train, synthesis.labelled(run)), run.splits.test, run.splits.validation)
    real, test, held_out = (synthesis.known(run, part) for part in parts)
    seen, even = (plan(cells(real.findings, real.group)[2]) for plan in (as_seen, fair))
    drawn = {"as seen": synthesis.drawn_by(run, real, seen, 0), "fair": synthesis.drawn_by(run, real, even, 1)}
    vary, ours, balanced = synthesis.usual(run), synthesis.labelled_as(real), synthesis.labelled_as(real, even)
    # Where the drawn images are fair the real ones are too: being drawn must not tell the group.
    arms = {
        "real images": synthesis.Arm(ours, None, vary),
        "colours varied": synthesis.Arm(ours, None, coloured),
        "reweighted": synthesis.Arm(balanced, None, vary),
        "drawn as seen": synthesis.Arm(ours, synthesis.labelled_as(drawn["as seen"]), vary),
        "drawn fairly": synthesis.Arm(balanced, synthesis.labelled_as(drawn["fair"]), vary),
    }
    within = test.group < len(run.facts.groups)

    def scores(probability: np.ndarray) -> Mapping[str, float]:
        one = probability[:, -1], test.findings[:, -1]
        known = area(probability[within, -1], test.findings[within, -1])
        of_group = by_group(area, test.group, *one)
        errors = by_group(lambda p, y: float(expected_calibration_error(p, y)), test.group, *one)
        worst, gap = worst_and_gap(of_group)
        named = {f"auroc_{group}": value for group, value in of_group.items()}
        return {"auroc": known, "worst": worst, "gap": gap, "calibration": max(errors.values()), **named}

    def on_validation(probability: np.ndarray) -> float:
        return area(probability[:, -1], held_out.findings[:, -1])

    how = synthesis.chosen_share(run, arms["drawn fairly"], held_out.image, on_validation)
    metrics = synthesis.compared(run, how, arms, test.image, scores, "real images")
    worst = {name: metrics[name]["worst"] for name in arms}
    describe = dict(DESCRIBE)
    for group in np.unique(test.group):
        describe[f"auroc_{group}"] = Metric(f"Group {group}", "higher", "AUROC of the test images of this group")
    shown = {name: one.image[:10] for name, one in drawn.items()}
    return Evaluation(
        {**metrics, **synthesis.measured(run, drawn, real), "labelled": len(real.image), "share": how.share},
        {"samples": rows({"real": real.image[:10], **shown}, "Real images, and those drawn by each plan.")},
        "AUROC of the worst group: " + ", ".join(f"{name} {value:.3f}" for name, value in worst.items()) + ".",
        describe=headings.with_gains(describe) | headings.AS_ASKED,
    )


EXPERIMENT = synthesis.experiment(
    name="fair_sampling",
    summary="Images drawn for the groups that have few, for a classifier that serves all: worst group and gap",
    data="computed tissue with tumour or not, from three hospitals, one of them rare, and a new one in the test data",
    config=synthesis.SynthesisConfig,
    presets={
        "small": {"data": "tissue_phantom/32", "attribute": "hospital"},
        "smoke": {"data": "tissue_phantom/16", "labelled": 300},
        "full": {"attribute": "hospital", "size": 64, "patch": 1, "channels": (192, 384, 576, 768), "blocks": 3}
        | {"attention": (1, 2, 3), "steps": 200_000, "batch_size": 256, "learning_rate": 1e-4, "sampler_steps": 50},
    },
    stages=synthesis.STAGES,
    examples=synthesis.with_pool,
    evaluate=evaluate,
    sample=synthesis.sample,
    sample_flags=synthesis.SAMPLE_FLAGS,
    baseline="real images",
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
