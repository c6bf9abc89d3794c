"""Rare sets of instruments in an operation: images of them are drawn, for a classifier that has seen few.

    jaxgen run rare_cases                                            # computed eyes, six phases and eight instruments
    jaxgen run rare_cases --data frames.npz --attribute phase        # labels [n, tools] of 0 and 1, covariates

The phase is drawn in inverse proportion to its images, then one of its sets of instruments likewise. Frisch et al.
2023, "Synthesising rare cataract surgery samples with guided diffusion models", MICCAI, arXiv 2308.02587.
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from jaxgen import headings
from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.data import Subset
from jaxgen.experiment import Evaluation, Metric, Run
from jaxgen.figures import rows
from jaxgen.medical.synthesis import cells, inverse
from jaxgen.metrics import f1_scores
from jaxgen.tasks import synthesis


@dataclasses.dataclass(frozen=True, kw_only=True)
class RareConfig(synthesis.SynthesisConfig):
    """No more than what counts as rare."""

    rare: float = option(
        0.1, "sets of findings with fewer images of their group than this share are rare", gt=0, lt=1, group="data"
    )


DESCRIBE = {
    "rare_f1": Metric("F1, rare", "higher", "mean over the findings there, on test images that show a rare set"),
    "common_f1": Metric("F1, common", "higher", "mean over the findings there, on all other test images"),
}


def evaluate(run: Run) -> Evaluation:
    parts = (Subset(run.splits.train, synthesis.labelled(run)), run.splits.test, run.splits.validation)
    real, test, held_out = (synthesis.known(run, part) for part in parts)
    sets, _, counts = cells(real.findings, real.group)
    plan = inverse(counts)
    rare = sets[((counts > 0) & (counts < run.config.rare * counts.sum(0))).any(1)]
    vary, ours, balanced = synthesis.usual(run), synthesis.labelled_as(real), synthesis.labelled_as(real, plan)
    drawn = {"drawn": synthesis.drawn_by(run, real, plan, 0), "unguided": synthesis.drawn_by(run, real, plan, 1, 1.0)}
    arms = {
        "real images": synthesis.Arm(ours, None, vary),
        "rare ones oftener": synthesis.Arm(balanced, None, vary),
        "with drawn images": synthesis.Arm(ours, synthesis.labelled_as(drawn["drawn"]), vary),
        "drawn, rare ones oftener": synthesis.Arm(balanced, synthesis.labelled_as(drawn["drawn"]), vary),
    }

    def f1(probability: np.ndarray, known: synthesis.Known) -> Mapping[str, float]:
        is_rare = (known.findings[:, None] == rare[None]).all(-1).any(-1)

        def score(part: np.ndarray) -> float:
            there = known.findings[part].any(0)
            return (
                float(np.mean(f1_scores(probability[part] > 0.5, known.findings[part])[there]))
                if there.any()
                else math.nan
            )

        return {"rare_f1": score(is_rare), "common_f1": score(~is_rare)}

    def on_validation(probability: np.ndarray) -> float:
        return float(np.nanmean(list(f1(probability, held_out).values())))

    how = synthesis.chosen_share(run, arms["with drawn images"], held_out.image, on_validation)
    metrics = synthesis.compared(run, how, arms, test.image, lambda p: f1(p, test), "rare ones oftener")
    found = synthesis.measured(run, drawn, real, rare)
    shown = {name: one.image[:10] for name, one in drawn.items()}
    said = ", ".join(f"{name} {metrics[name]['rare_f1']:.3f}" for name in arms)
    return Evaluation(
        {**metrics, **found, "rare_sets": len(rare), "labelled": len(real.image), "share": how.share},
        {"samples": rows({"real": real.image[:10], **shown}, "Real images, and those drawn.")},
        f"F1 of findings in rare sets: {said}.",
        describe=headings.with_gains(DESCRIBE) | headings.AS_ASKED,
    )


EXPERIMENT = synthesis.experiment(
    name="rare_cases",
    summary="Images of rare sets of findings, drawn for a classifier that has seen few of them",
    data="computed eyes in six phases of an operation with eight instruments, three sets of which are rare",
    config=RareConfig,
    presets={
        "small": {"data": "cataract_phantom/32", "attribute": "phase", "mirror": False},
        "smoke": {"data": "cataract_phantom/16", "labelled": 0},
        # The code's configuration for 128 pixels.
        "full": {"attribute": "phase", "mirror": False, "size": 128, "patch": 1, "channels": (128, 256, 256, 256, 512)}
        | {"blocks": 2, "attention": (3,), "dropout": 0.1, "path": "linear", "prediction": "noise"}
        | {"steps": 500_000, "batch_size": 32, "learning_rate": 2e-4, "sampler": "ddim", "sampler_steps": 200}
        | {"ema_decay": 0.999, "guidance": 3.0, "drawn": 30_000},
    },
    stages=synthesis.STAGES,
    examples=synthesis.with_pool,
    evaluate=evaluate,
    sample=synthesis.sample,
    sample_flags=synthesis.SAMPLE_FLAGS,
    baseline="rare ones oftener",
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
