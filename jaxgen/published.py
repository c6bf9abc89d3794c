"""Networks of papers and how they were trained, as options of the experiments on images."""

from typing import Any

HO_256: dict[str, Any] = {
    "size": 256,
    "channels": (128, 128, 256, 256, 512, 512),
    "blocks": 2,
    "attention": (4,),
    "head_width": 512,
    "adaptive": False,
    "patch": 1,
}
"""The network for 256 pixels of Ho et al. 2020, "Denoising diffusion probabilistic models", appendix B."""
HO_TRAINING: dict[str, Any] = {
    "path": "linear",
    "prediction": "noise",
    "steps": 1_200_000,
    "batch_size": 64,
    "learning_rate": 2e-5,
    "warmup_steps": 5000,
    "schedule": "constant",
    "optimizer": "adam",
}
"""How they train it."""
DHARIWAL_64: dict[str, Any] = {
    "size": 64,
    "channels": (192, 384, 576, 768),
    "blocks": 3,
    "attention": (1, 2, 3),
    "head_width": 64,
    "residual_resampling": True,
    "patch": 1,
}
"""The network for 64 pixels of Dhariwal & Nichol 2021, "Diffusion models beat GANs on image synthesis", table 4."""

SONG_32: dict[str, Any] = {
    "size": 32,
    "channels": (128, 256, 256, 256),
    "blocks": 4,
    "attention": (1,),
    "head_width": 256,
    "dropout": 0.1,
    "residual_resampling": True,
    "adaptive": False,
    "patch": 1,
}
"""DDPM++ for 32 pixels of Song et al. 2021, "Score-based generative modeling through SDEs"."""
SONG_TRAINING: dict[str, Any] = {
    "steps": 1_300_000,
    "batch_size": 128,
    "learning_rate": 2e-4,
    "warmup_steps": 5000,
}
"""How they train it."""
