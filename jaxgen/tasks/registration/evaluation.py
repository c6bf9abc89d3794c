"""How registrations are evaluated: on known warps, on pairs of subjects, along the way, and by the clock."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgen.chunks import in_chunks
from jaxgen.data import ArraySource, most_of
from jaxgen.experiment import Evaluation, Metric, Run
from jaxgen.figures import registration as figures
from jaxgen.medical.registration.cases import pair_metrics, trajectory_metrics
from jaxgen.medical.registration.models import Registration
from jaxgen.medical.registration.optical_flow import NEEDED, has_optical_flow, optical_flow
from jaxgen.metrics.bootstrap import bootstrap_interval
from jaxgen.tasks.registration import pairs_of
from jaxgen.types import Array, Params

TIMED = 5
"""Pairs that each method is timed on, one at a time."""
DESCRIBED = {
    "dice_warped": Metric("Dice, known warps", "higher", "mean of the structures and pairs"),
    "dice_warped_low": Metric("from", "higher", "lower end of its 95 % bootstrap interval over pairs"),
    "dice_warped_high": Metric("to", "higher", "upper end"),
    "epe_warped": Metric("Endpoint error", "lower", "of known warps, in the foreground, pixels"),
    "folds_warped": Metric(
        "Folds, known warps", "lower", "% of the foreground with a Jacobian determinant of 0 or less"
    ),
    "dice_subjects": Metric("Dice, two subjects", "higher", "mean of the structures and pairs"),
    "dice_subjects_low": Metric("from, two subjects", "higher", "lower end of its 95 % bootstrap interval over pairs"),
    "dice_subjects_high": Metric("to, two subjects", "higher", "upper end"),
    "folds_subjects": Metric("Folds, two subjects", "lower", "% of the foreground"),
    "monotone": Metric("Rising", "higher", "share of pairs whose correlation never falls along the way"),
    "rest": Metric("Left at 0", "lower", "size of the field at a share of 0, relative to that at 1"),
    "cosine": Metric("Straight", "higher", "mean cosine between fields along the way and the last"),
}


class Method(NamedTuple):
    """One row of the table.

    Attributes:
        name: of the row.
        flow: ``flow(moving, fixed, share) -> [n, *spatial, r]``.
        shares: whether a share of the way is more than a share of the field.
    """

    name: str
    flow: Callable[[np.ndarray, np.ndarray, float], np.ndarray]
    shares: bool = False


def learned(run: Run, name: str, registration: Registration, *, shares: bool = False) -> Method:
    """A trained stage as a method."""

    @jax.jit
    def some(params: Params, share: float, moving: Array, fixed: Array) -> Array:
        return registration.flow(params, moving, fixed, share)

    def flow(moving: np.ndarray, fixed: np.ndarray, share: float) -> np.ndarray:
        part = lambda *pair: some(run.params[name], share, *pair)  # noqa: E731
        return in_chunks(part, len(moving), run.config.chunk, moving, fixed)

    return Method(name, flow, shares)


def references() -> tuple[Method, ...]:
    """No registration, and TV-L1 optical flow where scikit-image is installed."""
    identity = Method(
        "identity", lambda moving, fixed, share: np.zeros((*moving.shape[:-1], moving.ndim - 2), np.float32)
    )
    if not has_optical_flow():
        warnings.warn(f"{NEEDED}; it is left out", stacklevel=2)
        return (identity,)
    return identity, Method("optical flow", lambda moving, fixed, share: share * optical_flow(moving, fixed))


def compare(run: Run, methods: Sequence[Method]) -> Evaluation:
    """All methods on the pairs of the test images, and the references.

    Args:
        run: the run.
        methods: the trained ones.
    """
    pairs = pairs_of(run, run.splits.test, 2, most_of(run.config.data, run.config.test_images))
    arrays, known = ArraySource.from_source(pairs).arrays, pairs.warped
    moving, fixed = (arrays[name].astype(np.float32) / 127.5 - 1 for name in ("moving", "fixed"))
    table: dict[str, Any] = {}
    rows: list[dict[str, Any]] = [{"pair": name} for name in pairs.names]
    fields, ways, seconds = {}, {}, {}
    for method in (*references(), *methods):
        flow = fields[method.name] = method.flow(moving, fixed, 1.0)
        table[method.name] = {}
        for kind, part in {"warped": slice(0, known), "subjects": slice(known, None)}.items():
            truth = arrays["flow"][part] if kind == "warped" else None
            masks = arrays["moving_mask"][part], arrays["fixed_mask"][part]
            found = pair_metrics(flow[part], *masks, len(run.facts.structures), truth)
            table[method.name] |= {f"{name}_{kind}": float(np.nanmean(value)) for name, value in found.items()}
            interval = bootstrap_interval(np.nanmean, found["dice"])
            table[method.name] |= {f"dice_{kind}_low": interval.low, f"dice_{kind}_high": interval.high}
            for name, value in found.items():
                for row, one in zip(rows[part], value.tolist(), strict=True):
                    row[f"{method.name}: {name}"] = one
        if method.shares:
            shares = np.linspace(0, 1, run.config.shares)
            ways[method.name] = np.stack([method.flow(moving, fixed, float(share)) for share in shares])
            along = trajectory_metrics(ways[method.name], moving, fixed)
            table[method.name] |= {name: float(value.mean()) for name, value in along.items()}
        seconds[method.name] = {"s per pair, one at a time": _seconds(method, moving, fixed)}
    shown = [0, 1, known, known + 1]
    drawn = {
        "registered": figures.registered_pairs(moving[shown], fixed[shown], {k: x[shown] for k, x in fields.items()})
    }
    for name, way in ways.items():
        drawn[f"way_{name}"] = figures.trajectory(moving[shown], fixed[shown], way[:, shown])
    metrics = {**table, "pairs": len(pairs)}
    return Evaluation(metrics, drawn, _headline(table), DESCRIBED, timings=seconds, cases=rows)


def _seconds(method: Method, moving: np.ndarray, fixed: np.ndarray) -> float:
    took = []
    for i in range(min(TIMED + 1, len(moving))):  # the first compiles
        began = time.perf_counter()
        method.flow(moving[i : i + 1], fixed[i : i + 1], 1.0)
        took.append(time.perf_counter() - began)
    return float(np.median(took[1:]))


def _headline(table: Mapping[str, Mapping[str, float]]) -> str:
    parts = (f"{name} {row['dice_subjects']:.3f} ({row['dice_warped']:.3f})" for name, row in table.items())
    return f"Dice of pairs of subjects (of known warps): {', '.join(parts)}."
