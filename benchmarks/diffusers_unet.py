"""One U-Net in diffusers and here: the same random weights, through the folder that diffusers writes."""

import tempfile
from typing import Any, NamedTuple

from benchmarks import common

SIZES = {"quick": ((8, 16), 16, 2), "full": ((64, 128, 256), 64, 2)}
"""Widths, pixels along one side, batch: the full one has 18 million parameters."""


class Pair(NamedTuple):
    """The two networks.

    Attributes:
        module: ``UNet2DModel``, in evaluation mode.
        net: ours, which takes numbers of a table's entries for times.
        params: ours.
        shape: of one image here, ``(size, size, channels)``.
        batch: how many at a time.
    """

    module: Any
    net: Any
    params: Any
    shape: tuple[int, int, int]
    batch: int


def make(*, quick: bool) -> Pair:
    """Build the peer's U-Net with weights drawn at random, and read it."""
    import torch
    from diffusers import UNet2DModel

    from jaxgen.interop import diffusers

    widths, size, batch = SIZES["quick" if quick else "full"]
    deep = len(widths) - 1
    torch.manual_seed(0)
    module = UNet2DModel(
        sample_size=size,
        in_channels=3,
        out_channels=3,
        block_out_channels=widths,
        layers_per_block=1 if quick else 2,
        down_block_types=(*["DownBlock2D"] * deep, "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", *["UpBlock2D"] * deep),
        attention_head_dim=8 if quick else 32,
        norm_num_groups=4 if quick else 32,
    ).eval()
    with tempfile.TemporaryDirectory() as folder:
        module.save_pretrained(folder)
        net, params, _ = diffusers.load(folder)
    return Pair(module, net, params, (size, size, 3), batch)


def to_torch(x: Any) -> Any:
    """``[b, h, w, c]`` to ``[b, c, h, w]``."""
    import numpy as np
    import torch

    return torch.from_numpy(np.asarray(x).transpose(0, 3, 1, 2).copy())


def relative(ours: Any, theirs: Any) -> float:
    """The norm of the difference over the norm, of our ``[b, h, w, c]`` and their ``[b, c, h, w]``."""
    import numpy as np

    return common.relative(np.asarray(ours).transpose(0, 3, 1, 2), theirs.numpy())
