"""What is trained, and what comes out."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import optax

from jaxgen.train.state import TrainState
from jaxgen.train.step import Prepare
from jaxgen.train.watch import Watch
from jaxgen.types import Model, Params


class Stage(NamedTuple):
    """One model to train; an experiment trains one stage after the other.

    Attributes:
        name: the stage's name, and that of its folder of checkpoints.
        model: the model.
        optimizers: one for each group of parameters that an objective trains.
        steps: how many steps to train.
        prepare: ``prepare(key [b], batch) -> batch``, scaling and augmentation on the device; None for neither.
        formerly: its name in runs of before, if that was another: it keeps that folder if it is there, and its random
            numbers.
        watch: what to measure and look out for at lines of the log; None for nothing.
    """

    name: str
    model: Model
    optimizers: dict[str, optax.GradientTransformation]
    steps: int
    prepare: Prepare | None = None
    watch: Watch | None = None
    formerly: str = ""

    @property
    def stream(self) -> str:
        """The name that its random numbers come from."""
        return self.formerly or self.name


class Shown(NamedTuple):
    """What an evaluation while training found.

    Attributes:
        numbers: metrics by name.
        headline: the result in one sentence, or an empty text.
        figure: the name of the file of its figure, without its ending; an empty text for none.
        caption: what to see in it.
        image: the figure, as the content of a PNG file.
    """

    numbers: Mapping[str, float]
    headline: str = ""
    figure: str = ""
    caption: str = ""
    image: bytes = b""


class Evaluator(NamedTuple):
    """An evaluation every some steps of a stage. It changes nothing that is trained; if it fails, training goes on.

    Attributes:
        every: steps between two.
        show: ``show(params, step)``, with the running average of the parameters; None where there is nothing to show.
            The parameters' memory is training's own: they must be copied to be kept.
        at_end: evaluate after the last step too; False where an evaluation follows anyway.
    """

    every: int
    show: Callable[[Params, int], Shown | None]
    at_end: bool = True


class Trained(NamedTuple):
    """A trained stage.

    Attributes:
        params: the running average of the parameters, to sample and evaluate with.
        state: the whole state after the last step.
        timings: what this process did: ``compile_seconds``, ``train_seconds`` (compilation and evaluation left out),
            ``evaluate_seconds`` where there was an `Evaluator`, and ``steps``.
    """

    params: Params
    state: TrainState
    timings: dict[str, Any]
