"""Methods of reconstruction compared: tuned on validation images; quality and uncertainty on test images.

Images are measured in several situations (an acceleration, a number of views), a `Case` each. A `Method` is tuned on
the validation case of a situation and evaluated on its test case; one that draws samples has its uncertainty evaluated
too.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxgen.config import RunConfig
from jaxgen.experiment import Evaluation, Experiment, Figure, Metric, Run, StageSpec
from jaxgen.figures.reconstruction import compared_images
from jaxgen.medical.reconstruction.cases import LEVEL, WIDENING, Case, Method, choose, sample_metrics
from jaxgen.metrics.best import highest
from jaxgen.presets import Changes, make
from jaxgen.tasks import generation, images

SMOKE: Changes = {
    **generation.SMOKE,
    "steps": 4,
    "checkpoint_every": 2,
    "channels": (8,),
    "attention": None,
    "accelerations": (4,),
    "coils": 2,
    "sampler_steps": 4,
    "inner_steps": 2,
    "cases": 2,
    "tuning": 1,
    "calibration": 1,
    "repeats": 2,
    "tv_steps": 5,
    "tv_iterations": 5,
    "test_images": 4,
    "chunk": 4,
}


def experiment(
    *,
    name: str,
    summary: str,
    data: str,
    config: type[RunConfig],
    presets: Mapping[str, Changes],
    stages: Sequence[StageSpec],
    evaluate: Callable[[Run], Evaluation],
    **others: Any,
) -> Experiment:
    """An experiment that reconstructs images.

    Args:
        name: the name of the file.
        summary: one line for ``jaxgen list``.
        data: one line on the data it trains on by default.
        config: the class of the configuration, a `jaxgen.tasks.images.ImageConfig`.
        presets: what each preset changes (`jaxgen.presets.make`).
        stages: the stages of training.
        evaluate: ``evaluate(run)``, most of the time by `compare`.
        **others: fields of `Experiment` that differ from those of every image experiment.
    """
    fields: dict[str, Any] = {
        **images.OF_IMAGES,
        **others,
    }
    made = make(config, presets, small=generation.SMALL, smoke=SMOKE, full=generation.FULL)
    return Experiment(name=name, summary=summary, data=data, presets=made, stages=stages, evaluate=evaluate, **fields)


def compare(
    run: Run,
    baselines: Sequence[Method],
    methods: Sequence[Method],
    validation: Mapping[str, Case],
    test: Mapping[str, Case],
    *,
    about: str,
    unit: str = "slice",
    show: Callable[[Case, Mapping[str, np.ndarray]], Figure] = compared_images,
    more: Callable[[Case, np.ndarray], Mapping[str, float]] = lambda case, image: {},
) -> Evaluation:
    """Tune all methods alike on validation images, and compare them on test images.

    Args:
        run: the run.
        baselines: what the methods are compared with.
        methods: the methods; the headline is about the best of them.
        validation: validation images by situation; all situations of `test` are among them.
        test: test images by situation.
        about: what PSNR and SSIM are of, for the table.
        unit: what a case holds.
        show: ``show(case, pictures)``, the figure of a case.
        more: ``more(case, image)``, further metrics by name; of samplers those of one sample.

    Returns:
        The evaluation, metrics by method as ``psnr_<situation>`` and so on.
    """
    everything = (*baselines, *methods)
    drawing = {name: getattr(run.config, name, 1) for name in ("calibration", "repeats")}  # where samples are drawn
    chosen = choose(everything, validation, **drawing)
    metrics: dict[str, Any] = {method.name: {} for method in everything}
    shown: dict[str, Figure] = {}
    seconds: dict[str, dict[str, float]] = {}
    for name, case in test.items():
        tag, pictures = _tag(name), {}
        for method in everything:
            if not method.fits(name):
                continue
            setting = chosen[name].get(method.name)
            if method.draws:
                began = time.perf_counter()
                drawn = method.run(case.scan, setting, case.key, run.config.repeats)
                took = (time.perf_counter() - began) / (run.config.repeats * len(case.truth))
                seconds.setdefault(f"{method.name}, s per {unit}", {})[name] = took
                facts = sample_metrics(case, drawn, chosen[name][WIDENING.format(method.name)])
                spread = drawn.images.std(0, ddof=1)
                image, pictures[method.name] = drawn.mean, drawn.images[0]
                pictures[f"{method.name}, sd"] = spread / max(float(spread.max()), 1e-6)
            else:
                facts, image = {}, method.run(case.scan, setting)
                pictures[method.name] = image
            facts |= dict(zip(("psnr", "ssim"), case.quality(image), strict=True))
            facts |= more(case, pictures[method.name])
            metrics[method.name] |= {f"{fact}_{tag}": value for fact, value in facts.items()}
            if isinstance(setting, float):
                metrics[f"{method.name}_setting_{tag}"] = setting
        shown[tag] = show(case, pictures)
    metrics[f"{unit}s"] = len(next(iter(test.values())).truth)
    headline = _headline(metrics, baselines, methods, test)
    return Evaluation(metrics, shown, headline, _describe(test, about), timings=seconds, chosen=chosen)


def _tag(name: str) -> str:
    return name.replace(" ", "_")


def _headline(
    metrics: Mapping[str, Any], baselines: Sequence[Method], methods: Sequence[Method], cases: Mapping[str, Case]
) -> str:
    parts = []
    for name, case in cases.items():
        reached = {label: row[f"psnr_{_tag(name)}"] for label, row in metrics.items() if _has_psnr(row, name)}
        best = highest({method.name: reached[method.name] for method in methods})
        simple = ", ".join(f"{b.name} {reached[b.name]:.1f}" for b in baselines if b.name in reached)
        parts.append(f"{case.label} {best} {reached[best]:.1f} ({simple})")
    return f"PSNR in dB: {'; '.join(parts)}."


def _has_psnr(row: Any, name: str) -> bool:
    return isinstance(row, Mapping) and f"psnr_{_tag(name)}" in row


def _describe(cases: Mapping[str, Case], about: str) -> dict[str, Metric]:
    inside = f"pixels whose truth lies in the samples' interval of {LEVEL:.0%}"
    rank = "rank correlation of the samples' standard deviation with the error"
    known: dict[str, Metric] = {}
    for name, case in cases.items():
        tag, label = _tag(name), case.label
        known |= {
            f"psnr_{tag}": Metric(f"PSNR, {label}", "higher", f"{about}, dB; of samplers: of the mean of samples"),
            f"ssim_{tag}": Metric(f"SSIM, {label}", "higher", about),
            f"sample_{tag}": Metric(f"PSNR of one sample, {label}", "higher", "dB"),
            f"kept_{tag}": Metric(f"Left of measurements, {label}", "lower", "|A x - y| / |y| of the worst sample"),
            f"rank_{tag}": Metric(f"Spread and error, {label}", "higher", rank),
            f"coverage_{tag}": Metric(f"Coverage, {label}", "", inside),
            f"calibrated_{tag}": Metric(
                f"Coverage, calibrated, {label}", "", f"{inside}, as wide as validation images ask for"
            ),
            f"widening_{tag}": Metric(f"Widening, {label}", "", "factor of the width of the calibrated interval"),
        }
    return known
