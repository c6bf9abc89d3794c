"""Methods of reconstruction compared: tuned on validation images; quality and uncertainty on test images.

Images are measured in several situations (an acceleration, a number of views), a `Case` each. A `Method` is tuned on
the validation case of a situation and evaluated on its test case; one that draws samples has its uncertainty evaluated
too.
"""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import figures
from jaxgen.config import RunConfig
from jaxgen.experiment import Evaluation, Experiment, Figure, Metric, Run, StageSpec
from jaxgen.metrics import psnr, sample_uncertainty, sample_widening, ssim
from jaxgen.metrics.best import highest
from jaxgen.tasks import generation, images, presets
from jaxgen.types import Array, Key

LEVEL = 0.9
"""Of the intervals whose coverage is reported."""
WIDENING = "{} widening"
"""Where the factor of a method's intervals is kept, along with its setting."""

SMOKE: presets.Changes = {
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
    presets: Mapping[str, presets.Changes],
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
        presets: what each preset changes (`jaxgen.tasks.presets.make`).
        stages: the stages of training.
        evaluate: ``evaluate(run)``, most of the time by `compare`.
        **others: fields of `Experiment` that differ from those of every image experiment.
    """
    fields: dict[str, Any] = {
        "load": images.load_images,
        "measure": images.measure_images,
        "facts": images.ImageFacts,
        "examples": images.example_images,
        **others,
    }
    made = make_presets(config, presets, small=generation.SMALL, smoke=SMOKE, full=generation.FULL)
    return Experiment(name=name, summary=summary, data=data, presets=made, stages=stages, evaluate=evaluate, **fields)


make_presets = presets.make  # `presets` is an argument of `experiment`


class Case(NamedTuple):
    """Images measured in one situation, and what they truly are.

    Attributes:
        scan: what was measured, as the methods take it; ``scan.take(numbers)`` are some of its images.
        truth: ``[n, h, w, 1]``.
        key: one key for the samples of every method.
        label: the situation in words.
        data_range: the largest minus the least value an image can have, for PSNR and SSIM.
        window: values that figures show as black and as white.
        ignore: bool ``[n, h, w, 1]``: where images are not compared; None for nowhere.
        foreground: uncertainty is evaluated where the truth is above it.
    """

    scan: Any
    truth: np.ndarray
    key: Key
    label: str
    data_range: float
    window: tuple[float, float]
    ignore: np.ndarray | None = None
    foreground: float = -np.inf

    @property
    def left_out(self) -> np.ndarray:
        """Where images are not compared, bool ``[n, h, w, 1]``."""
        return np.zeros(self.truth.shape, bool) if self.ignore is None else self.ignore

    @property
    def seen(self) -> np.ndarray:
        """Where uncertainty is evaluated, bool ``[n, h, w, 1]``."""
        return (self.truth > self.foreground) & ~self.left_out

    def first(self, n: int) -> "Case":
        """Its first n images."""
        ignore = None if self.ignore is None else self.ignore[:n]
        few = np.arange(min(n, len(self.truth)))
        return self._replace(scan=self.scan.take(few), truth=self.truth[:n], ignore=ignore)

    def quality(self, x: np.ndarray) -> tuple[float, float]:
        """PSNR in dB and SSIM of reconstructions ``[n, h, w, 1]``, the means over images."""
        if self.ignore is None:
            peak, like = _quality(jnp.asarray(x), jnp.asarray(self.truth), self.data_range)
        else:
            found = _quality_of_rest(jnp.asarray(x), jnp.asarray(self.truth), jnp.asarray(self.ignore), self.data_range)
            peak, like = map(jnp.mean, found)
        return float(peak), float(like)


@functools.partial(jax.jit, static_argnums=2)
def _quality(x: Array, truth: Array, data_range: float) -> tuple[Array, Array]:
    return jnp.mean(psnr(x, truth, data_range=data_range)), jnp.mean(ssim(x, truth, data_range=data_range))


@functools.partial(jax.jit, static_argnums=3)
def _quality_of_rest(x: Array, truth: Array, ignore: Array, data_range: float) -> tuple[Array, Array]:
    """Of each image; pixels that are ignored have no error, and do not count."""
    shown = jnp.where(ignore, truth, x)
    ignored = jnp.mean(ignore.astype(jnp.float32), (1, 2, 3))
    peak = psnr(shown, truth, data_range=data_range) + 10 * jnp.log10(1 - ignored)
    return peak, ssim(shown, truth, data_range=data_range)


class Samples(NamedTuple):
    """Samples of what may have been measured.

    Attributes:
        images: ``[repeats, n, h, w, 1]``.
        mean: the image of their mean, ``[n, h, w, 1]``.
        misfit: ``|A x - y| / |y|`` of each, ``[repeats, n]``; None if it is not reported.
    """

    images: np.ndarray
    mean: np.ndarray
    misfit: np.ndarray | None = None


class Method(NamedTuple):
    """A way to reconstruct.

    Attributes:
        name: its name in tables.
        run: ``run(scan, setting) -> images [n, h, w, 1]``; of a method that draws,
            ``run(scan, setting, key, repeats) -> Samples``.
        settings: to choose from by PSNR on validation images, the one of a run that is not evaluated first; empty for
            a method that has none.
        draws: whether it draws samples.
        only: the situations it is meant for; empty for all.
        tuned_on: situations whose setting is that of another one, to save time.
    """

    name: str
    run: Callable[..., Any]
    settings: Sequence[Any] = ()
    draws: bool = False
    only: Sequence[str] = ()
    tuned_on: Mapping[str, str] = {}

    def fits(self, situation: str) -> bool:
        """Whether it is meant for a situation."""
        return not self.only or situation in self.only


def choose(config: Any, methods: Sequence[Method], cases: Mapping[str, Case]) -> dict[str, dict[str, Any]]:
    """Every method's setting in every situation, by PSNR on validation images; and how much too narrow its samples are.

    Args:
        config: its ``calibration`` is the number of images that intervals are widened by, ``repeats`` that of samples.
        methods: the methods.
        cases: validation images by situation.

    Returns:
        ``{situation: {method: setting, "method widening": factor}}``, without methods that have no settings.
    """

    def best(method: Method, case: Case) -> Any:
        def score(setting: Any) -> float:
            found = method.run(case.scan, setting, case.key, 1) if method.draws else method.run(case.scan, setting)
            return case.quality(found.images[0] if method.draws else found)[0]

        return highest({setting: score(setting) for setting in method.settings})

    chosen: dict[str, dict[str, Any]] = {name: {} for name in cases}
    for method in methods:
        found: dict[str, Any] = {}
        for name in filter(method.fits, cases if method.settings else ()):
            source = method.tuned_on.get(name, name)
            if source not in found:
                found[source] = best(method, cases[source])
            chosen[name][method.name] = found[source]
            if method.draws:
                few = cases[name].first(config.calibration)
                drawn = method.run(few.scan, found[source], few.key, config.repeats)
                chosen[name][WIDENING.format(method.name)] = sample_widening(
                    drawn.images, few.truth, few.seen, level=LEVEL
                )
    return chosen


def compare(
    run: Run,
    baselines: Sequence[Method],
    methods: Sequence[Method],
    validation: Mapping[str, Case],
    test: Mapping[str, Case],
    *,
    about: str,
) -> Evaluation:
    """Tune all methods alike on validation images, and compare them on test images.

    Args:
        run: the run.
        baselines: what the methods are compared with.
        methods: the methods; the headline is about the best of them.
        validation: validation images by situation; all situations of `test` are among them.
        test: test images by situation.
        about: what PSNR and SSIM are of, for the table.

    Returns:
        The evaluation, metrics by method as ``psnr_<situation>`` and so on.
    """
    everything = (*baselines, *methods)
    chosen = choose(run.config, everything, validation)
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
                seconds.setdefault(f"{method.name}, s per slice", {})[name] = took
                facts = _of_samples(case, drawn, chosen[name][WIDENING.format(method.name)])
                spread = drawn.images.std(0, ddof=1)
                image, pictures[method.name] = drawn.mean, drawn.images[0]
                pictures[f"{method.name}, sd"] = spread / max(float(spread.max()), 1e-6)
            else:
                facts, image = {}, method.run(case.scan, setting)
                pictures[method.name] = image
            facts |= dict(zip(("psnr", "ssim"), case.quality(image), strict=True))
            metrics[method.name] |= {f"{fact}_{tag}": value for fact, value in facts.items()}
            if isinstance(setting, float):
                metrics[f"{method.name}_setting_{tag}"] = setting
        shown[tag] = _figure(case, pictures)
    metrics["slices"] = len(next(iter(test.values())).truth)
    headline = _headline(metrics, baselines, methods, test)
    return Evaluation(metrics, shown, headline, _describe(test, about), timings=seconds, chosen=chosen)


def _tag(name: str) -> str:
    return name.replace(" ", "_")


def _of_samples(case: Case, drawn: Samples, factor: float) -> dict[str, float]:
    one = float(np.mean([case.quality(sample)[0] for sample in drawn.images]))
    kept = {} if drawn.misfit is None else {"kept": float(drawn.misfit.max())}
    sure = sample_uncertainty(drawn.images, case.truth, case.seen, factor, level=LEVEL)
    return {"sample": one, **kept, **sure}


def _figure(case: Case, pictures: Mapping[str, np.ndarray]) -> Figure:
    """At most 8 of the images, spread evenly; white in the truth where images are not compared."""
    n, (black, white) = len(case.truth), case.window
    picked = np.unique(np.linspace(0, n - 1, min(8, n)).round().astype(int))
    rows = {"truth": np.where(case.left_out, white, case.truth), **pictures}
    shown = {
        label: 2 * np.clip(x[picked] if label.endswith(", sd") else (x[picked] - black) / (white - black), 0, 1) - 1
        for label, x in rows.items()
    }
    samplers = any(label.endswith(", sd") for label in rows)
    more = "; of samplers one sample, and the standard deviation of several" if samplers else ""
    return figures.rows(shown, f"Test slices, {case.label}{more}.")


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
