"""The network of a run in the form of diffusers: the configuration of a UNet2DModel, its parameters, its scheduler."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.interop import diffusers
from jaxgen.nets.layers import group_count
from jaxgen.paths import TABLE_STEPS
from jaxgen.tasks.diffusion import DiffusionConfig
from jaxgen.types import Params

_TABLES: dict[str, dict[str, Any]] = {
    "linear": {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
    "scaled_linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "sigmoid": {"beta_schedule": "sigmoid", "beta_start": 1e-4, "beta_end": 0.02},
}
_PREDICTIONS = {"noise": "epsilon", "x0": "sample", "v": "v_prediction"}


class Exported(NamedTuple):
    """A run's network as diffusers has it.

    Attributes:
        params: for `jaxgen.interop.diffusers.network`, which is told the number of a table's entry.
        config: the entries of its ``config.json``.
        scheduler: the entries of a ``scheduler_config.json`` that samples as the run does.
    """

    params: Params
    config: dict[str, Any]
    scheduler: dict[str, Any]


def exported(run: Run, stage: str) -> Exported:
    """The U-Net of a run of diffusion, as a UNet2DModel.

    Our network is told a time t in [0, 1], and diffusers' the number ``n = 1000 t - 1`` of a table's entry. Time enters
    by cosines and sines; the first layer behind them takes up the shift by one, so that both say the same.

    Args:
        run: a trained run.
        stage: the stage whose network is meant.

    Returns:
        Parameters, configuration and scheduler.

    Raises:
        UserError: if the stage is no U-Net of diffusion on a table, or one that diffusers cannot build.
    """
    config, params = run.config, run.params[stage].get("net")
    diffuses = isinstance(config, DiffusionConfig) and isinstance(params, Mapping)
    if not diffuses or not {"Conv_0", "Conv_1", "Dense_1"} <= params.keys():
        raise UserError(f"stage {stage!r} is no U-Net of diffusion on images, which alone has a form in diffusers")
    if config.path not in _TABLES:
        raise UserError(
            f"--path {config.path} has no table of noise levels, which networks of diffusers are told entries of; "
            f"train with one of {', '.join(_TABLES)}"
        )
    if config.patch != 1:
        raise UserError(f"--patch {config.patch} folds pixels, which no UNet2DModel does; train with --patch 1")
    if not config.attention:
        raise UserError("--attention names no level, and a UNet2DModel has more blocks in its middle; train with some")
    theirs = _config(config, params)
    wanted, found = ({_path(p): x.shape for p, x in _leaves(tree)} for tree in (diffusers.shapes(theirs), params))
    if wanted != found:
        name = min(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise UserError(f"stage {stage!r} is no network that diffusers can build: its parameter {name} is not the same")
    scheduler = {
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": TABLE_STEPS,
        "prediction_type": _PREDICTIONS[config.prediction],
        "clip_sample": True,
        "timestep_spacing": "trailing",
        **_TABLES[config.path],
    }
    return Exported(_told_entries(params, TABLE_STEPS), theirs, scheduler)


def _leaves(tree: Params) -> list[tuple[Any, Any]]:
    return jax.tree.leaves_with_path(tree)


def _path(keys: Any) -> str:
    return "/".join(str(key.key) for key in keys)


def _config(config: DiffusionConfig, params: Params) -> dict[str, Any]:
    widths = {leaf.shape[0] for keys, leaf in _leaves(params) if keys[-1].key == "scale"}
    groups = {group_count(width, 32) for width in widths}
    if len(groups) != 1:
        raise UserError(
            f"--channels {','.join(map(str, config.channels))} are normed in {min(groups)} to {max(groups)} groups, "
            "and a UNet2DModel has one number for all its layers; train with multiples of 128"
        )
    # Blocks with attention change resolution as downsample_type says; those without have two names.
    plain = "ResnetDownsampleBlock2D" if config.residual_resampling else "DownBlock2D"
    attention = config.attention or ()
    down = ["AttnDownBlock2D" if level in attention else plain for level in range(len(config.channels))]
    resampling = "resnet" if config.residual_resampling else "conv"
    made = {
        "_class_name": "UNet2DModel",
        "sample_size": config.size,
        "in_channels": params["Conv_0"]["kernel"].shape[-2],
        "out_channels": params["Conv_1"]["kernel"].shape[-1],
        "block_out_channels": list(config.channels),
        "layers_per_block": config.blocks,
        "down_block_types": down,
        "up_block_types": [kind.replace("Down", "Up") for kind in reversed(down)],
        "downsample_type": resampling,
        "upsample_type": resampling,
        "attention_head_dim": config.head_width,
        "norm_num_groups": groups.pop(),
        "resnet_time_scale_shift": "scale_shift" if config.adaptive else "default",
        "dropout": config.dropout,
    }
    made["attn_norm_num_groups"] = made["norm_num_groups"]
    if "LabelEmbedding_0" in params:
        made |= {"num_class_embeds": params["LabelEmbedding_0"]["table"].shape[0], "_null_label": True}
    return made


def _told_entries(params: Params, timesteps: int) -> Params:
    """Parameters for a network that is told n where ours was told ``t = (n + 1) / timesteps``.

    With w the rate of a cosine and a sine, ``cos(w (n + 1))`` and ``sin(w (n + 1))`` are a rotation of ``cos(w n)`` and
    ``sin(w n)`` by w: the layer behind them is turned back.
    """
    kernel = np.asarray(params["Dense_1"]["kernel"], np.float64)
    half = len(kernel) // 2
    rate = (1000 / timesteps * 10_000.0 ** (-np.arange(half) / half))[:, None]
    cosine, sine = kernel[:half], kernel[half:]
    turned = [np.cos(rate) * cosine + np.sin(rate) * sine, np.cos(rate) * sine - np.sin(rate) * cosine]
    return {**params, "Dense_1": {**params["Dense_1"], "kernel": np.concatenate(turned).astype(np.float32)}}
