"""To which library a network belongs, by its configuration, and how its weights are read and written there."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.errors import UserError
from jaxgen.interop import clip_text, diffusers, monai_autoencoder, monai_unet
from jaxgen.types import Params


class Form(NamedTuple):
    """A library's form of networks.

    Attributes:
        library: its name.
        folder: whether a network is a folder with ``config.json``; otherwise it is a file of weights alone.
        load: ``load(path, config, max_bytes) -> params``; a folder's own configuration is read again.
        save: ``save(path, params, config)``.
        shapes: ``shapes(config, params)``: the tree of parameters that a configuration describes; a few details of it
            that configurations leave open are taken from the parameters.
    """

    library: str
    folder: bool
    load: Callable[[Path, Mapping[str, Any], int | None], Params]
    save: Callable[[Path, Params, Mapping[str, Any]], None]
    shapes: Callable[[Mapping[str, Any], Params], Params]


def _clip_shapes(config: Mapping[str, Any], params: Params) -> Params:
    del params
    tokens = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    return jax.eval_shape(clip_text.network(config).init, jax.random.key(0), tokens)


_DIFFUSERS = Form(
    "diffusers",
    True,
    lambda path, config, most: diffusers.load(path, max_bytes=most).params,
    diffusers.save,
    diffusers.shapes,
)
_TRANSFORMERS = Form(
    "transformers",
    True,
    lambda path, config, most: clip_text.load(path, max_bytes=most).params,
    clip_text.save,
    _clip_shapes,
)
_MONAI_UNET = Form(
    "MONAI",
    False,
    lambda path, config, most: monai_unet.load(path, config, max_bytes=most).params,
    monai_unet.save,
    lambda config, params: monai_unet.shapes(config),
)
_MONAI_AUTOENCODER = Form(
    "MONAI",
    False,
    lambda path, config, most: monai_autoencoder.load(path, config, max_bytes=most).params,
    monai_autoencoder.save,
    lambda config, params: monai_autoencoder.shapes(config),
)


def form_of(config: Mapping[str, Any], file: str) -> Form:
    """The form of the network that a configuration describes.

    Args:
        config: ``config.json`` of diffusers (with ``"_class_name"``) or transformers (with ``"model_type"``), or the
            arguments of a network of MONAI with ``"_target_"``.
        file: where it is from, for messages.

    Returns:
        The form.

    Raises:
        UserError: if it says nothing of the kind.

    Example:
        >>> form_of({"_class_name": "UNet2DModel"}, "config.json").library
        'diffusers'
        >>> form_of({"_target_": "monai.networks.nets.AutoencoderKL"}, "a.json").folder
        False
    """
    if "_class_name" in config:
        return _DIFFUSERS
    target = config.get("_target_")
    if isinstance(target, str):
        return _MONAI_AUTOENCODER if _is_autoencoder(target) else _MONAI_UNET
    if "model_type" in config or "architectures" in config:
        return _TRANSFORMERS
    raise UserError(
        f"{file}: says nothing of the network; it needs '_class_name' (diffusers), 'model_type' (transformers) or "
        "'_target_' (MONAI)"
    )


def _is_autoencoder(target: str) -> bool:
    name = target.rpartition(".")[2].lower()
    return "autoencoder" in name or name.startswith("vqvae")


def check(params: Params, config: Mapping[str, Any], file: str) -> None:
    """Refuse parameters that are not those of the network that their configuration describes.

    Args:
        params: the tree.
        config: the configuration.
        file: where both are from, for messages.

    Raises:
        UserError: if the configuration is not supported, or a parameter is missing, one too many, or of another shape.
    """
    wanted = form_of(config, file).shapes(config, params)
    theirs, ours = (
        {"/".join(str(key.key) for key in where): leaf.shape for where, leaf in jax.tree.leaves_with_path(tree)}
        for tree in (wanted, params)
    )
    for name in [*theirs, *ours]:
        if theirs.get(name) != ours.get(name):
            raise UserError(
                f"{file}: parameter {name} has shape {ours.get(name, 'none')}, and its configuration describes "
                f"{theirs.get(name, 'none')}; are the two of one network?"
            )
