"""How the anomaly experiments judge: the images, settings chosen without true lesions, and the table of all methods."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure as Canvas

from jaxgen.data import Splits
from jaxgen.data.phantoms import LESIONS
from jaxgen.errors import UserError
from jaxgen.experiment import Figure, Metric
from jaxgen.medical import anomaly
from jaxgen.metrics import auroc, average_precision
from jaxgen.tasks import figures as pictures
from jaxgen.tasks.anomaly import data as shared
from jaxgen.tasks.anomaly.data import AnomalyConfig, Found, Method
from jaxgen.tasks.best import highest
from jaxgen.tasks.old.sample_quality import diverged

COMPONENTS = (32, 128)
MOST_TRAIN = 2000
"""Training images that the baselines are fitted to."""
RESAMPLES = 500
"""Draws of cases that an interval is made of."""


class Bench(NamedTuple):
    """What methods are judged on; all images ``[n, h, w, c]`` in [-1, 1].

    Attributes:
        train: healthy images for the baselines; none if the run was trained on others.
        validation: healthy images.
        chosen_on: validation images with artificial anomalies, and their masks.
        lesions: by the name of a set: images and masks of lesions.
        twins: the healthy twins of the images of a set, for phantoms.
        ill: all test images and whether each is ill, where data have labels.
    """

    train: np.ndarray
    validation: np.ndarray
    chosen_on: tuple[np.ndarray, np.ndarray]
    lesions: Mapping[str, tuple[np.ndarray, np.ndarray]]
    twins: Mapping[str, np.ndarray]
    ill: tuple[np.ndarray, np.ndarray] | None = None


def bench(config: AnomalyConfig, constants: Mapping[str, Any], splits: Splits) -> Bench:
    """The images of an evaluation."""
    validation = shared.prepared(config, constants, splits.validation, config.chosen_on)["image"]
    train = validation[:0]
    if shared.is_home(constants, splits):
        train = shared.prepared(config, constants, splits.train, MOST_TRAIN)["image"]
    artificial = _artificial(config, validation)
    if config.data == shared.PHANTOM:
        drawn = {kind: shared.phantoms(config, config.lesions, 3, lesion) for kind, lesion in LESIONS.items()}
        sets = {kind: (part["image"], part["mask"]) for kind, part in drawn.items()}
        twins = {kind: part["healthy"] for kind, part in drawn.items()}
        return Bench(train, validation, artificial, sets, twins)
    test = shared.prepared(config, constants, splits.test)
    if "mask" in test:
        if not test["mask"].any():
            raise UserError(f"--data {config.data}: none of its test images has a lesion; there is nothing to find")
        # The first images are those that are shown.
        largest_first = np.argsort(-test["mask"].reshape(len(test["mask"]), -1).sum(1, dtype=np.int64), kind="stable")
        lesions = (test["image"][largest_first], test["mask"][largest_first])
        return Bench(train, validation, artificial, {"lesions": lesions}, {})
    if config.healthy not in splits.label_names:
        known = ", ".join(splits.label_names)
        raise UserError(
            f"--data {config.data}: no image has the label {config.healthy} of the healthy (it has {known})"
        )
    ill = np.asarray(test["label"]) != splits.label_names.index(config.healthy)
    return labelled_bench(config, train, validation, test["image"], ill)


def labelled_bench(
    config: AnomalyConfig, train: np.ndarray, validation: np.ndarray, test: np.ndarray, ill: np.ndarray
) -> Bench:
    """Healthy images to learn and choose on, and test images that are ill or not."""
    validation = validation[: config.chosen_on]
    return Bench(train[:MOST_TRAIN], validation, _artificial(config, validation), {}, {}, (test, np.asarray(ill)))


def _artificial(config: AnomalyConfig, validation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    radius = (2 * config.size / 64, config.size / 8)
    return anomaly.paste_anomalies(config.seed, validation, anomaly.foreground(validation, shared.FLOOR), radius=radius)


def baselines(config: AnomalyConfig, train: np.ndarray) -> dict[str, Method]:
    """What every method must beat.

    Raises:
        UserError: without training images.
    """
    if not len(train):
        raise UserError(
            "the baselines are fitted to the images that the run was trained on, and these are others; "
            "evaluate other data with `jaxgen eval RUN --data OTHER`"
        )
    residual = shared.RESIDUALS[config.residual]
    brightness = (lambda x: -anomaly.intensity(x)) if config.residual == "darker" else anomaly.intensity
    detectors = {"intensity": brightness, "z-scores": anomaly.z_map(train, residual=residual)}
    detectors |= {f"pca-{count}": anomaly.principal_residual(train, count, residual=residual) for count in COMPONENTS}
    lowest = {"intensity": -1.0}  # residuals are 0 or more
    return {name: shared.by_map(detect, lowest=lowest.get(name, 0.0)) for name, detect in detectors.items()}


def cleaned(config: AnomalyConfig, method: Method, x: np.ndarray) -> Found:
    """A method's map, ready to be evaluated, and what it restores: of each image by itself, as in `jaxgen apply`."""
    raw, restored = method(x)
    return shared.cleaned(config, raw, x), restored


class Tuned(NamedTuple):
    """A method with a setting that was chosen.

    Attributes:
        method: the method.
        setting: the chosen one.
        found: the average precision of artificial anomalies, by setting.
    """

    method: Method
    setting: Any
    found: Mapping[Any, float]


def tuned(
    config: AnomalyConfig,
    restore: Callable[[np.ndarray, Any], np.ndarray],
    settings: Sequence[Any],
    chosen_on: tuple[np.ndarray, np.ndarray],
) -> Tuned:
    """``restore(x, setting)`` at the setting that finds artificial anomalies best."""
    x, mask = chosen_on
    methods = {setting: shared.by_residual(config, functools.partial(_at, restore, setting)) for setting in settings}
    found = {}
    for setting, method in methods.items():
        score, _ = cleaned(config, method, x)
        found[setting] = float(average_precision(score, mask))
    best = highest(found)
    return Tuned(methods[best], best, found)


def _at(restore: Callable[[np.ndarray, Any], np.ndarray], setting: Any, x: np.ndarray) -> np.ndarray:
    return restore(x, setting)


def of_image(score: np.ndarray) -> np.ndarray:
    """One number an image: the mean of the highest hundredth of its map."""
    flat = np.sort(score.reshape(len(score), -1), axis=1)
    return flat[:, -max(1, flat.shape[1] // 100) :].mean(1)


def table(
    config: AnomalyConfig, bench: Bench, methods: Mapping[str, Method], simple: tuple[str, ...]
) -> tuple[dict[str, dict[str, float]], dict[str, Figure]]:
    """Every method on every set: metrics, and figures that show maps and restored images.

    `simple` names the baselines, which come first; gains are over the best of them.
    """
    metrics: dict[str, dict[str, float]] = {}
    maps: dict[str, list[np.ndarray]] = {"image": [x for x, _ in _shown(bench)]}
    if bench.lesions:
        maps["lesion"] = [2.0 * mask[..., None] - 1 for _, mask in _shown(bench)]
    images_: dict[str, list[np.ndarray]] = {"image": maps["image"]}
    if bench.twins:
        images_["healthy twin"] = [x for twins in bench.twins.values() for x in twins[:2]]
    best: dict[str, tuple[float, anomaly.CaseCounts]] = {}
    for name, method in methods.items():
        row = metrics.setdefault(name, {})
        lost: list[float] = []
        score, _ = cleaned(config, method, bench.chosen_on[0])
        threshold, _ = anomaly.dice_threshold(score, bench.chosen_on[1])
        for kind, (x, mask) in bench.lesions.items():
            score, restored = cleaned(config, method, x)
            lost.append(diverged(score))
            counts = anomaly.case_counts(score, mask)
            row |= _judged(kind, score, mask, threshold, counts)
            if name in simple and row[f"ap_{kind}"] > best.get(kind, (-1.0,))[0]:
                best[kind] = row[f"ap_{kind}"], counts
            if name not in simple and kind in best:
                gain = anomaly.average_precision_gain(counts, best[kind][1], resamples=RESAMPLES)
                row |= {f"gain_{kind}": gain.value, f"gain_low_{kind}": gain.low, f"gain_high_{kind}": gain.high}
            sick = np.asarray(mask.reshape(len(mask), -1).any(1))
            if not bench.twins and sick.any() and not sick.all():
                row |= _of_images(score, sick)
            maps.setdefault(name, []).extend(_bright(score)[:2])
            if restored is not None:
                images_.setdefault(name, []).extend(restored[:2])
                if kind in bench.twins:
                    row[f"twin_psnr_{kind}"] = twin_psnr(restored, bench.twins[kind], mask)
        if bench.ill is not None:
            x, ill = bench.ill
            score, restored = cleaned(config, method, x)
            lost.append(diverged(score))
            row |= _of_images(score, ill)
            maps[name] = list(_bright(score)[_picked(ill)])
            if restored is not None:
                images_[name] = list(restored[_picked(ill)])
        if any(lost):
            row["diverged"] = max(lost)
    for kind, twins in bench.twins.items():
        found = twin_psnr(bench.lesions[kind][0], twins, bench.lesions[kind][1])
        metrics.setdefault("image itself", {})[f"twin_psnr_{kind}"] = found
    heads = [f"{kind} {j + 1}" for kind in bench.lesions for j in range(2)]
    figures = {
        "maps": pictures.rows(maps, "The map of each method: bright where it sees an anomaly.", heads=heads),
        "restored": pictures.rows(images_, "What each method would have the image be.", heads=heads),
    }
    if bench.lesions:
        figures["bars"] = _bars({name: metrics[name] for name in methods}, tuple(bench.lesions))
    return metrics, figures


def _bars(metrics: Mapping[str, Mapping[str, float]], kinds: tuple[str, ...]) -> Figure:
    """Average precision of each method on each set, with intervals over cases."""
    canvas = Canvas(figsize=(2.2 + 1.6 * len(kinds), 3.4), layout="constrained")
    axes = canvas.subplots()
    width = 0.85 / len(metrics)
    for i, (name, row) in enumerate(metrics.items()):
        value, low, high = (np.array([row[f"{part}_{kind}"] for kind in kinds]) for part in ("ap", "ap_low", "ap_high"))
        spread = np.maximum([value - low, high - value], 0)
        place = np.arange(len(kinds)) + (i - (len(metrics) - 1) / 2) * width
        colour = pictures.COLOURS[i % len(pictures.COLOURS)]
        axes.bar(place, value, width, yerr=spread, color=colour, label=name, error_kw={"linewidth": 0.8})
    axes.set_xticks(range(len(kinds)), kinds)
    axes.set_ylabel("average precision")
    axes.legend(frameon=False, fontsize=6, ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    return Figure(canvas, "Average precision of pixels, with 95 % bootstrap intervals over cases.")


def _judged(kind: str, score, mask, threshold: float, counts: anomaly.CaseCounts) -> dict[str, float]:
    judged = anomaly.evaluate_detection(score, mask, threshold=threshold)
    interval = anomaly.average_precision_interval(counts, resamples=RESAMPLES)
    return {
        f"ap_{kind}": judged.average_precision,
        f"ap_low_{kind}": interval.low,
        f"ap_high_{kind}": interval.high,
        f"ap_case_{kind}": judged.average_precision_case,
        f"best_dice_{kind}": judged.best_dice,
        f"dice_{kind}": judged.dice,
        f"auroc_{kind}": judged.auroc,
    }


def _of_images(score: np.ndarray, ill: np.ndarray) -> dict[str, float]:
    whole = of_image(score)
    return {"auroc_image": float(auroc(whole, ill)), "ap_image": float(average_precision(whole, ill))}


def _picked(ill: np.ndarray) -> np.ndarray:
    """Some healthy images and some ill ones."""
    some = np.flatnonzero(ill)
    return np.concatenate([np.flatnonzero(~ill)[:3], some[:: max(1, len(some) // 5)][:5]])


def _shown(bench: Bench) -> list[tuple[np.ndarray, np.ndarray]]:
    if bench.ill is not None:
        x, ill = bench.ill
        return [(x[i], np.zeros(x.shape[1:-1])) for i in _picked(ill)]
    return [(x[i], mask[i]) for x, mask in bench.lesions.values() for i in range(min(2, len(x)))]


def _bright(score: np.ndarray) -> np.ndarray:
    """A map as images in [-1, 1]."""
    high = float(np.quantile(score[score > 0], 0.999)) if (score > 0).any() else 1.0
    return 2 * np.clip(score[..., None] / high, 0, 1) - 1


def twin_psnr(restored: np.ndarray, twin: np.ndarray, mask: np.ndarray) -> float:
    """How near the healthy twin a restored image is where the lesion was, dB; the mean over images."""
    inside = (np.asarray(mask) != 0)[..., None]
    error = (np.square(restored - twin) * inside).sum((1, 2, 3)) / np.maximum(inside.sum((1, 2, 3)), 1)
    return float(np.mean(10 * np.log10(4 / np.maximum(error, 1e-10))))


def describe(bench_names: tuple[str, ...] = tuple(LESIONS)) -> dict[str, Metric]:
    """How metrics are shown."""
    found = {
        "auroc_image": Metric("AUROC, images", "higher", "ill images above healthy ones"),
        "ap_image": Metric("AP, images", "higher", "average precision of ill images"),
        "diverged": Metric("Diverged", "lower", "share of the maps that hold NaN or infinity, if any"),
    }
    for kind in (*bench_names, "lesions"):
        found |= {
            f"ap_{kind}": Metric(f"AP, {kind}", "higher", "average precision of pixels, all cases together"),
            f"ap_low_{kind}": Metric(f"AP low, {kind}", "", "lower end of the 95 % bootstrap interval over cases"),
            f"ap_high_{kind}": Metric(f"AP high, {kind}", "", "upper end of it"),
            f"ap_case_{kind}": Metric(f"AP a case, {kind}", "higher", "the mean over cases"),
            f"best_dice_{kind}": Metric(
                f"Best Dice, {kind}", "higher", "at the best threshold of the test set: a bound"
            ),
            f"dice_{kind}": Metric(f"Dice, {kind}", "higher", "at the threshold chosen on artificial anomalies"),
            f"auroc_{kind}": Metric(f"AUROC, {kind}", "higher", "of pixels"),
            f"gain_{kind}": Metric(f"AP gain, {kind}", "higher", "over the best simple baseline, on the same cases"),
            f"gain_low_{kind}": Metric(f"Gain low, {kind}", "", "lower end of its 95 % interval over cases"),
            f"gain_high_{kind}": Metric(f"Gain high, {kind}", "", "upper end of it"),
            f"twin_psnr_{kind}": Metric(f"Twin PSNR, {kind}", "higher", "restored to healthy twin in the lesion, dB"),
        }
    return found


def headline(metrics: Mapping[str, Mapping[str, float]], ours: str, simple: tuple[str, ...]) -> str:
    """The chosen method beside the best baseline, in one sentence."""
    row = metrics[ours]
    kinds = [name.removeprefix("ap_case_") for name in row if name.startswith("ap_case_")]
    if not kinds:
        best = highest({name: metrics[name]["auroc_image"] for name in simple})
        return f"Ill images: AUROC {row['auroc_image']:.3f} by {ours}, {metrics[best]['auroc_image']:.3f} by {best}."
    best_of = {k: highest({n: metrics[n][f"ap_{k}"] for n in simple}) for k in kinds}
    parts = (f"{k} {row[f'ap_{k}']:.3f} ({metrics[best_of[k]][f'ap_{k}']:.3f})" for k in kinds)
    return f"Lesions by {ours}, average precision (best of the baselines): {', '.join(parts)}."
