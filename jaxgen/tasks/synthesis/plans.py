"""Images drawn by a plan, and whether they show what they were asked for."""

from collections.abc import Mapping

import jax
import numpy as np

from jaxgen.data.phantoms import measure_tissue, measure_tools
from jaxgen.experiment import Run
from jaxgen.medical.synthesis import cells, quotas
from jaxgen.tasks.synthesis.generator import drawing
from jaxgen.tasks.synthesis.sets import Known, told


def drawn_by(run: Run, real: Known, plan: np.ndarray, number: int, guidance: float | None = None) -> Known:
    """As many images as the configuration says, by a plan over the sets of findings and the groups of real images.

    Args:
        run: the run.
        real: the labelled images, whose cells the plan is of.
        plan: shares ``[sets, groups]``.
        number: of the plan, for random numbers of its own.
        guidance: the scale; None for that of the configuration.
    """
    sets, _, counts = cells(real.findings, real.group)
    numbers = quotas(plan, run.config.drawn)
    which, group = np.repeat(np.indices(counts.shape).reshape(2, -1), numbers.reshape(-1), axis=1)
    order = np.random.default_rng(run.config.seed).permutation(len(which))
    findings, group = sets[which][order], group[order]
    image = drawing(run)(jax.random.fold_in(run.key, number), told(run, findings, group), guidance)
    return Known(image, findings, group)


def measured(
    run: Run, drawn: Mapping[str, Known], real: Known, rare: np.ndarray | None = None
) -> dict[str, dict[str, float]]:
    """Whether drawn images show what was asked for, of phantoms whose truth can be measured; nothing of other data.

    Args:
        run: the run.
        drawn: images by name.
        real: the labelled images.
        rare: the rare sets of findings ``[m, k]``.
    """
    name, (low, high) = run.config.data.split("/")[0], map(np.asarray, run.facts.value_range)
    found: dict[str, dict[str, float]] = {}
    for plan, one in drawn.items():
        image = (one.image + 1) / 2 * (high - low) + low
        if name == "tissue_phantom":
            right = measure_tissue(image)["hospital"] == one.group
            rarest = one.group == np.bincount(real.group).argmin()
            found[f"images {plan}"] = {"group_as_asked": _mean(right), "group_as_asked_rare": _mean(right[rarest])}
        if name == "cataract_phantom":
            assert rare is not None
            shown = measure_tools(image) > 0
            wanted = one.findings > 0
            is_rare = (one.findings[:, None] == rare[None]).all(-1).any(-1)
            found[f"images {plan}"] = {
                "recall": _mean(shown[wanted]),
                "recall_rare": _mean(shown[is_rare][wanted[is_rare]]),
            }
    return found


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
