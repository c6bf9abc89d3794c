"""Errors of samplers by the number of evaluations."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxgen.figures.figure import Figure
from jaxgen.figures.pictures import curves
from jaxgen.metrics.sampler_error import Found
from jaxgen.samplers.catalogue import SAMPLERS


def finite_curves(errors: Mapping[str, Mapping[int, float]], names: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Curves of what is finite."""
    kept = {name: [(b, e) for b, e in errors[name].items() if 0 < e < 1e3] for name in names}
    return {name: tuple(zip(*points, strict=True)) for name, points in kept.items() if points}


def error_figures(found: Found) -> dict[str, Figure]:
    """Errors by the number of evaluations: to the flow, and of the distribution by kind of sampler."""
    axes: dict[str, Any] = {"x": "evaluations of the denoiser", "logarithmic": "xy"}
    by_kind = [[name for name in found.law if SAMPLERS[name].random is random] for random in (False, True)]
    floor = {"draws of the mixture": found.law_floor}
    return {
        "error_to_the_flow": curves(
            finite_curves(found.flow, list(found.flow)),
            "Deterministic samplers on the mixture with its exact denoiser: distance to the exact "
            "probability-flow endpoint from the same noise, of a typical point.",
            y="median distance (RMS over coordinates)",
            **axes,
        ),
        **{
            f"error_of_the_distribution_{kind}": curves(
                finite_curves(found.law, names),
                f"The {kind} samplers on the mixture: distance of the distribution of their samples to the mixture.",
                y="sliced Wasserstein distance",
                levels=floor,
                **axes,
            )
            for kind, names in zip(("deterministic", "stochastic"), by_kind, strict=True)
            if names
        },
    }
