"""Fine-tuning of text to image: a generic model learns radiographs, in its U-Net, its text encoder, both, or by LoRA.

    jaxgen run roentgen                       # shapes first, then chest radiographs with reports, all computed
    jaxgen run roentgen --modes both          # one way alone
    jaxgen sample RUN --prompt "large left pleural effusion" --guidance 4

The generic model has read many words for a size or a place, the reports use one of them: prompts in the other words
show what fine-tuning keeps. Chambon et al. 2022, "RoentGen", arXiv 2211.12737; Hu et al. 2021, arXiv 2106.09685.
"""

import dataclasses
import functools

import numpy as np

from jaxgen.app.cli import run_module
from jaxgen.data.agreement import agreement, reports_of
from jaxgen.data.captions import Report, reworded
from jaxgen.experiment import Evaluation, Metric, Run
from jaxgen.families.lora import trained_share
from jaxgen.tasks import features, generation, text
from jaxgen.tasks.text import augmentation, tuning
from jaxgen.tasks.text.evaluation import DESCRIBE, asked, findings_in, prompted


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoentgenConfig(augmentation.ClassifierConfig):
    pass


def reports(run: Run, n: int) -> tuple[list[Report], list[Report]]:
    known = reports_of((run.splits.test, run.splits.validation))
    assert known is not None  # the data are computed
    rng = np.random.default_rng(run.config.seed)
    return known[:n], [reworded(report, rng) for report in known[:n]]


def evaluate(run: Run) -> Evaluation:
    real = generation.RealImages(run, features.Features(run))
    usual, other = reports(run, real.count)
    draws = {name: tuning.drawing(run, name, exactly=True) for name in ("generic", *run.config.modes)}
    sets = {name: asked(run, draw, usual) for name, draw in draws.items()}
    metrics = {name: agreement(usual, findings_in(run, drawn)) for name, drawn in sets.items()}
    metrics["held-out images"] = agreement(usual, findings_in(run, real.held_out))
    for name in run.config.modes:
        found = agreement(other, findings_in(run, asked(run, draws[name], other)))
        metrics[name] |= {f"other_{kind}": found[kind] for kind in ("agreement", "size", "zone") if kind in found}
        metrics[name]["trained"] = trained_share(run.params[name], tuning.MODES[name])
    compared = generation.Comparison(run, lambda n: sets, gaussian=False, real=real)
    shown = run.config.modes[-1]
    if run.config.classifier_steps:
        best = functools.partial(asked, run, draws["both" if "both" in draws else shown])
        metrics |= augmentation.classifiers(run, best, real.held_out, usual)
    shares = ", ".join(f"{name} {metrics[name].get('agreement', 0):.0%}" for name in sets)
    return compared.evaluation(
        shown=shown,
        caption=f"Images of reports, {shown}.",
        metrics=metrics,
        figures={"prompts": prompted(run, draws[shown], [report.text for report in usual[:6]])},
        headline=f"Findings asked for that are measured in the images: {shares}.",
        describe=DESCRIBE
        | augmentation.DESCRIBE
        | {
            "other_agreement": Metric(
                "Agreement, other words", "higher", "the same, of sizes and places in other words"
            ),
            "other_size": Metric("Size, other words", "higher", "of effusions, of the size asked for in other words"),
            "other_zone": Metric("Zone, other words", "higher", "of nodules and opacities, in the zone asked for"),
            "trained": Metric("Trained", "", "parameters that are trained, as a share of both networks'"),
        },
    )


def sample(run: Run, n: int, prompt: tuple[str, ...] = ("",)) -> Evaluation:
    return text.sample(run, n, prompt, tuning.drawing(run, run.config.modes[-1]))


EXPERIMENT = generation.experiment(
    name="roentgen",
    summary="Fine-tuning of text to image for radiographs: the U-Net, the text encoder, both, or LoRA",
    data="shapes with captions, then chest radiographs with reports, computed",
    config=RoentgenConfig,
    presets={
        "small": text.SMALL | {"tuning_rate": 2e-3},
        "smoke": text.SMOKE
        | {"tuning_steps": 4, "modes": ("both", "lora"), "rank": 2}
        | {"classifier_steps": 2, "classifier_images": 8, "classifier_drawn": 8},
        "full": text.FULL | {"data": "cxr_phantom/512", "tuning_steps": 60_000, "tuning_rate": 5e-5},
    },
    load=text.load_reports,
    measure=tuning.measure,
    stages=tuning.STAGES,
    evaluate=evaluate,
    sample=sample,
    **text.OF_TEXT | {"baseline": "generic"},
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
