"""``--pretrained FOLDER``: a Stable Diffusion pipeline in place of generic stages; it is read again to sample."""

from typing import Any

from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.interop import fine_tuning
from jaxgen.interop.stable_diffusion import Pipeline
from jaxgen.losses.weights import WEIGHTS
from jaxgen.types import Model


def pipeline_of(config: Any) -> Pipeline:
    """The pipeline of the folder, read once."""
    try:
        return fine_tuning.opened(config.pretrained)[0]
    except UserError as error:
        raise UserError(f"--pretrained: {error}") from error


def check(config: Any, channels: int) -> str:
    """The checksum of the folder's weights; refused are images that its networks do not take."""
    try:
        fine_tuning.check(pipeline_of(config), (config.size, config.size), channels)
    except UserError as error:
        raise UserError(f"{'' if '--pre' in str(error) else f'--pretrained, --size {config.size}: '}{error}") from error
    return fine_tuning.opened(config.pretrained)[1]


def complete(run: Run) -> Run:
    """A run whose parameters hold the folder's as the stages that it leaves out, ``autoencoder`` and ``generic``."""
    if not run.config.pretrained:
        return run
    pipeline = pipeline_of(run.config)
    if run.facts.pretrained != fine_tuning.opened(run.config.pretrained)[1]:
        raise UserError(f"--pretrained {pipeline.folder}: holds other weights than when this run began; put those back")
    return run._replace(params={**fine_tuning.parameters(pipeline), **run.params})


def make_model(run: Run, trains: tuple[str, ...], drop: float) -> Model:
    """The diffusion model of codes with the folder's networks (`jaxgen.interop.fine_tuning.codes_model`)."""
    config = run.config
    asked = {"sampler": config.sampler, "steps": config.sampler_steps, "weight": WEIGHTS[config.weight]}
    return fine_tuning.codes_model(pipeline_of(config), (config.size, config.size), drop=drop, trains=trains, **asked)
