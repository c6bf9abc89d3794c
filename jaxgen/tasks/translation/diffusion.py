"""Translation by diffusion given the source: options, model, and how the trained network draws."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from jaxgen.config import option
from jaxgen.experiment import Run, StageSpec
from jaxgen.families.translation import conditional_diffusion
from jaxgen.paths import PATHS
from jaxgen.samplers import Sampling, grids
from jaxgen.samplers.catalogue import SAMPLERS
from jaxgen.tasks import images, networks
from jaxgen.tasks.images import Widths
from jaxgen.tasks.translation import data
from jaxgen.types import Model, Net


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiffusionTranslationConfig(data.TranslationConfig):
    """The options of diffusion, the source being clean channels of the U-Net's input."""

    diffusion_channels: Widths = option((32, 64, 96), "widths of diffusion's U-Net", ge=4, group="network")
    path: str = option("cosine", "diffusion: how noise is mixed in", choices=PATHS, group="method")
    prediction: Literal["noise", "x0", "v"] = option("x0", "diffusion: what is predicted", group="method")
    sampler: str = option("ddim", "diffusion: how images are drawn", choices=SAMPLERS, group="sampling")
    sampler_steps: int = option(25, "diffusion: steps from noise to image", ge=1, le=10_000, group="sampling")

    def __post_init__(self) -> None:
        """Check every field, and the levels of both networks."""
        super().__post_init__()
        networks.check_levels(self.size, self.patch, self.diffusion_channels, self.attention)


def sampling(run: Run) -> Sampling:
    """The path, the sampler and what the network predicts."""
    path = PATHS[run.config.path]()
    grid = grids.uniform(path, run.config.sampler_steps)
    return Sampling(path, SAMPLERS[run.config.sampler].step(path), grid, run.config.prediction)


def network(run: Run, **variant: Any) -> Net:
    """The U-Net of diffusion, which has no dropout; the variant is that of `jaxgen.tasks.networks.network`."""
    own = dataclasses.replace(run.config, channels=run.config.diffusion_channels, dropout=0.0)
    return networks.network(run._replace(config=own), **variant)


def model(run: Run) -> Model:
    """The diffusion model of targets given their sources."""
    return conditional_diffusion(network(run), images.image_shape(run), sampling(run))


def stage(wanted: Callable[[Any], bool] | None = None, name: str = "diffusion") -> StageSpec:
    """The stage that trains it, on pairs."""
    return images.stage(name, model, prepare=data.prepare, wanted=wanted)
