"""Evaluation while training: every ``--evaluate-every`` steps a few samples and the headline metric of the run so far.

What is shown is that of the averaged parameters, from the same random numbers every time, so that pictures of two steps
can be compared. Nothing that is trained depends on it.
"""

import io
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import figures
from jaxgen.app import runs
from jaxgen.app.opening import at_home
from jaxgen.experiment import EVALUATE, Evaluation, Experiment, Figure, Preview, Run, key_of, stages_of
from jaxgen.train import Evaluator, Shown
from jaxgen.types import Params

MOST_IMAGES = 16
"""Images shown of those that a `Preview` holds."""


def evaluator(experiment: Experiment, run: Run, stage: str, folder: runs.RunFolder) -> Evaluator | None:
    """What is evaluated while a stage trains.

    An experiment's own `preview` is asked in every stage. Without one, its whole evaluation is made with the parameters
    so far while the last stage trains, for only then there are parameters of all stages; of it the metrics of the first
    method and the first figure are shown.

    Args:
        experiment: the experiment.
        run: the run, with the parameters of the stages before this one.
        stage: the name of the stage that trains.
        folder: where the figures go, ``progress/<stage>-<step>.png``.

    Returns:
        What `jaxgen.train.train_stage` takes; None where nothing is to be shown.
    """
    config = run.config
    if not config.evaluate_every:
        return None
    if experiment.preview is None and stages_of(experiment, config, run.facts)[-1].name != stage:
        return None
    run = at_home(run._replace(key=key_of(config, EVALUATE)))

    def show(params: Params, step: int) -> Shown | None:
        now = run._replace(params={**run.params, stage: _copied(params)})
        if experiment.preview is not None:
            found = experiment.preview(now)
            numbers, figure, headline = ({}, None, "") if found is None else _of_preview(found)
        else:
            numbers, figure, headline = _of_evaluation(experiment.evaluate(now), experiment.baseline)
        if not numbers and figure is None:
            return None
        name = f"{stage}-{step:08d}"
        if figure is None:
            return Shown(numbers, headline)
        image = _png(figure)
        place = folder.path / "progress"
        place.mkdir(exist_ok=True)
        runs.write_bytes(place / f"{name}.png", image)
        return Shown(numbers, headline, name, figure.caption, image)

    return Evaluator(config.evaluate_every, show, at_end=experiment.preview is not None)


def _copied(params: Params) -> Params:
    """Parameters on this process's first device, in memory of their own."""
    device = jax.local_devices()[0]
    return jax.tree.map(lambda x: jax.device_put(jnp.array(np.asarray(x)), device), params)


def _of_preview(found: Preview) -> tuple[dict[str, float], Figure | None, str]:
    images = found.images
    if images is None or isinstance(images, Figure):
        return _finite(found.metrics), images, ""
    shown = [_middle(np.asarray(image)) for image in images[:MOST_IMAGES]]
    return _finite(found.metrics), figures.grid(shown, "Samples of the averaged parameters."), ""


def _middle(image: np.ndarray) -> np.ndarray:
    """An image ``[h, w, c]``; of a volume ``[z, h, w, c]`` its middle slice."""
    return image[len(image) // 2] if image.ndim == 4 else image


def _of_evaluation(found: Evaluation, baseline: str) -> tuple[dict[str, float], Figure | None, str]:
    methods = {name: entry for name, entry in found.metrics.items() if isinstance(entry, Mapping)}
    first = next((name for name in methods if name != baseline), None)
    numbers = found.metrics if first is None else {f"{first}/{key}": value for key, value in methods[first].items()}
    return _finite(numbers), next(iter(found.figures.values()), None), found.headline


def _finite(numbers: Mapping[str, Any]) -> dict[str, float]:
    """Those entries that a curve can show."""
    return {
        name: float(value)
        for name, value in numbers.items()
        if isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)
    }


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.figure.savefig(buffer, format="png", dpi=90, bbox_inches="tight", metadata={"Software": None})
    return buffer.getvalue()
