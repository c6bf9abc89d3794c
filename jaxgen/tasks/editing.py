"""Editing of images ``[n, h, w, c]`` with a trained diffusion model."""

import jax
import numpy as np

from jaxgen.experiment import Metric, Run
from jaxgen.samplers.edits import Edit
from jaxgen.tasks import diffusion, images
from jaxgen.types import Array, Key, Params


def edited(run: Run, stage: str, edit: Edit, key: Key, x: np.ndarray) -> np.ndarray:
    """Images edited (`jaxgen.samplers.edits`) by the diffusion model of a stage, in chunks of one compiled program."""

    @jax.jit
    def program(params: Params, keys: Key, x: Array) -> Array:
        return edit(diffusion.denoise_with(run, params), keys, x)

    params = run.params[stage]["net"]
    return images.draw_in_chunks(run, lambda keys, x: program(params, keys, x), key, len(x), x)


DESCRIBE = {
    "psnr": Metric("PSNR", "higher", "dB to the true image; of inpainting in the hole alone"),
    "realism": Metric("Distance to real", "lower", "to the nearest training image, in features; held-out: 1"),
    "faithfulness": Metric("Faithfulness", "higher", "PSNR of the coarse result to the coarse guide, dB"),
    "latent_norm": Metric("Norm of the noise", "", "root mean square; 1 for Gaussian noise"),
}
