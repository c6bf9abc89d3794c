"""What patches of volumes are for: the same network at half the resolution, and what whole volumes need in memory."""

import dataclasses

import jax
import jax.numpy as jnp

from jaxgen.experiment import Run
from jaxgen.tasks import images
from jaxgen.tasks.segmentation import diffusion
from jaxgen.tasks.segmentation.data import example_tiles, grid, prepare_tiles
from jaxgen.train.memory import step_memory

MIB = 2**20


def at_half(run: Run) -> Run:
    """The run as if voxels were twice as large along each axis; maps come back on the grid of the files."""
    spacing = tuple(2 * side for side in run.facts.spacing)
    return run._replace(facts=dataclasses.replace(run.facts, spacing=spacing))


HALF = images.stage(
    "half", diffusion.model, prepare=prepare_tiles, wanted=lambda config: config.half_resolution
)._replace(examples=lambda run: example_tiles(at_half(run)), suits=lambda facts: bool(facts.spacing))
"""Mask diffusion of volumes at half the resolution: as many voxels in a patch, of eight times the volume."""


def memory_of_steps(run: Run) -> dict[str, float]:
    """The memory of a training step of patches, and of whole volumes of the size of the first one, as many together.

    Args:
        run: the run, of volumes.

    Returns:
        ``patch_step_mib``, ``whole_step_mib`` and ``memory_ratio``, the first over the second; see
        `jaxgen.train.memory.step_memory`.
    """
    stage, config = diffusion.STAGE.build(run), run.config
    image, _ = grid(run).image(run.splits.train[0], str(run.splits.train.names[0]))
    whole = [-(-n // config.multiple) * config.multiple for n in image.shape[:-1]]

    def of(sides: list[int]) -> float:
        channels = {"image": image.shape[-1], "distance": run.facts.class_count}
        shapes = {name: (config.batch_size, *sides, n) for name, n in channels.items()}
        batch = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
        return step_memory(stage, batch, precision=config.precision) / MIB

    patch, volume = of(list(run.facts.tile)), of(whole)
    return {"patch_step_mib": patch, "whole_step_mib": volume, "memory_ratio": patch / volume}
