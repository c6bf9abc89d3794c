"""Networks in the folders of diffusers, read and written: U-Nets, ControlNets, DiT and autoencoders.

A folder holds ``config.json`` and ``diffusion_pytorch_model.safetensors`` (or shards with an index). PyTorch is not
needed. Pickled weights (``.bin``) are never opened: unpickling runs code.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgen import paths
from jaxgen.errors import UserError
from jaxgen.interop import autoencoder_kl, controlnet2d, dit2d, json_files, tensors, unet2d, unet2d_condition
from jaxgen.interop.entries import shown
from jaxgen.interop.tensors import Entry
from jaxgen.interop.unet_entries import Inputs
from jaxgen.types import Array, Key, Net, Params

_STEM = "diffusion_pytorch_model"
_DIT = "DiTTransformer2DModel"


class _Kind(NamedTuple):
    """One kind of network, by functions of its module."""

    network: Callable[..., tuple[Net, Any]]  # of a configuration; and what names its tensors
    names: Callable[[Any, Params], Iterator[Entry]]
    inputs: Callable[[Mapping[str, Any]], Inputs]


_KINDS = {
    "UNet2DModel": _Kind(unet2d.network, unet2d.names, unet2d.inputs),
    "UNet2DConditionModel": _Kind(unet2d_condition.network, unet2d_condition.names, unet2d_condition.inputs),
    "ControlNetModel": _Kind(controlnet2d.network, controlnet2d.names, controlnet2d.inputs),
    "AutoencoderKL": _Kind(autoencoder_kl.network, autoencoder_kl.names, autoencoder_kl.inputs),
    _DIT: _Kind(dit2d.network, dit2d.names, dit2d.inputs),
}


class Loaded(NamedTuple):
    """A network with its weights.

    Attributes:
        net: ``apply(params, x, t, label=None)`` with `x` ``[b, h, w, c]``; `network` says when a label is needed, and
            what other networks take. The time `t` is the one these networks were trained with: the number of an entry
            of their table, 0 to T - 1 (or the noise level sigma where ``time_embedding_type`` is ``"fourier"``);
            `at_path_time` makes it a path's. An AutoencoderKL is ``apply(params, x)``, which reconstructs images;
            `jaxgen.interop.autoencoder_kl.nets` gives its encoder and its decoder.
        params: float32.
        config: the entries of ``config.json``.
    """

    net: Net
    params: Params
    config: dict[str, Any]


def network(config: Mapping[str, Any]) -> Net:
    """Our network of a configuration, for training one that diffusers can load.

    The options that it has no entry for are diffusers' own defaults. A UNet2DModel has ``num_class_embeds`` classes and
    must be given a label; with an entry ``"_null_label": true``, which diffusers passes over, the last of them is the
    null label of classifier-free guidance, and is meant where `label` is None. A DiT has one more row for it.

    A UNet2DConditionModel, such as Stable Diffusion's, is ``apply(params, x, t, context=c, control=None)`` with tokens
    `c` ``[b, m, cross_attention_dim]``; a ControlNetModel is ``apply(params, x, t, hint, context=c)`` and answers with
    that `control`. With a ``class_embed_type`` of ``"timestep"`` `label` is any number, with the others a `vector` is
    given instead.

    Args:
        config: entries of ``config.json``, with ``"_class_name"`` one of UNet2DModel, UNet2DConditionModel,
            ControlNetModel, DiTTransformer2DModel and AutoencoderKL.

    Returns:
        A `Net` whose time is the number of a table's entry; see `Loaded` and `at_path_time`.

    Raises:
        UserError: if an entry is not supported.

    Example:
        >>> config = {"_class_name": "DiTTransformer2DModel", "num_attention_heads": 2, "attention_head_dim": 8,
        ...           "num_layers": 2, "sample_size": 8, "num_embeds_ada_norm": 3}
        >>> shapes = jax.eval_shape(network(config).init, jax.random.key(0), jnp.zeros((1, 8, 8, 4)), jnp.array([999]))
        >>> shapes["embedding"]["LabelEmbedding_0"]["table"].shape  # three classes and the null label
        (4, 16)
    """
    return _network(config, "config")[0]


def _network(config: Mapping[str, Any], file: str, *rest: Any) -> tuple[Net, Any, _Kind]:
    """The network, what names its tensors, and its kind."""
    name = config.get("_class_name")
    if not isinstance(name, str) or name not in _KINDS:
        raise UserError(f"{file}: _class_name is {shown(name)}; supported: {', '.join(map(repr, _KINDS))}")
    kind = _KINDS[name]
    return (*kind.network(config, file, *rest), kind)


def _shapes(net: Net, kind: _Kind, config: Mapping[str, Any]) -> Params:
    places, named = kind.inputs(config)
    return jax.eval_shape(net.init, jax.random.key(0), *places, **named)


def shapes(config: Mapping[str, Any], params: Params | None = None) -> Params:
    """The shapes of the parameters of `network`.

    Args:
        config: see `network`.
        params: a tree of such parameters, which tells what a DiT's configuration leaves open: whether every block
            embeds time and label by itself. None for blocks that share the embedding.

    Returns:
        A tree of anything with a shape.

    Raises:
        UserError: if an entry is not supported.
    """
    net, _, kind = _network(config, "config", *_apart(config, params))
    return _shapes(net, kind, config)


def _apart(config: Mapping[str, Any], params: Params | None) -> list[bool]:
    """What the network of a DiT needs to know of its parameters; nothing for the others."""
    if config.get("_class_name") != _DIT:
        return []
    try:
        return [params is not None and params["embedding"]["Dense_0"]["kernel"].ndim == 3]
    except (KeyError, TypeError):
        return [False]


def load(folder: str | Path, *, max_bytes: int | None = None) -> Loaded:
    """Read a model's folder, or the ``unet`` or ``transformer`` in a pipeline's folder.

    Args:
        folder: as written by diffusers' ``save_pretrained``, or by `save`.
        max_bytes: the most that its weights may hold; None for ``JAXGEN_MAX_FILE_MIB``, or else 4 GiB.

    Returns:
        The network, its parameters and its configuration.

    Raises:
        UserError: if a file is missing, damaged or too large, weights are pickled or link out of the folder, the
            configuration has an entry that is not supported, or weights and configuration do not belong together.

    Example:
        >>> import tempfile
        >>> config = {"_class_name": "UNet2DModel", "in_channels": 1, "out_channels": 1, "block_out_channels": [8],
        ...           "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"], "norm_num_groups": 4}
        >>> x, t = jnp.zeros((1, 8, 8, 1)), jnp.array([10.0])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(folder, jax.jit(network(config).init)(jax.random.key(0), x, t), config)
        ...     net, params, _ = load(folder)
        >>> jax.eval_shape(net.apply, params, x, t).shape
        (1, 8, 8, 1)
    """
    folder = Path(folder)
    file = folder / "config.json"
    if not os.path.exists(file):  # False also where a folder may not be read, which `read_object` says
        for part in ("unet", "transformer"):
            if os.path.exists(folder / part / "config.json"):
                return load(folder / part, max_bytes=max_bytes)
    config = json_files.read_object(file, "give the folder that save_pretrained wrote")
    _network(config, str(file))  # what is not supported is said before large files are read
    weights, theirs = tensors.read(folder, _STEM, max_bytes=max_bytes)
    theirs = {unet2d.new_name(name): x for name, x in theirs.items() if name != dit2d.FIXED}
    rest = [dit2d.embeddings_differ(theirs)] if config["_class_name"] == _DIT else []
    net, made, kind = _network(config, str(file), *rest)
    shapes = _shapes(net, kind, config)
    params = tensors.to_params(list(kind.names(made, shapes)), theirs, shapes, weights)
    return Loaded(net, params, config)


def save(folder: str | Path, params: Params, config: Mapping[str, Any]) -> None:
    """Write a folder that diffusers' ``from_pretrained`` (and `load`) reads.

    Args:
        folder: made where it does not exist; files of a model that are there are replaced.
        params: of `network(config)`, or as loaded.
        config: the entries of ``config.json``, with ``"_class_name"``.

    Raises:
        UserError: if an entry is not supported.
    """
    folder = Path(folder)
    theirs = tensors.from_params(entries(config, params), params)
    folder.mkdir(parents=True, exist_ok=True)
    tensors.write(folder, _STEM, theirs)
    (folder / "config.json").write_text(json.dumps(dict(config), indent=2, sort_keys=True) + "\n", encoding="utf-8")


def entries(config: Mapping[str, Any], params: Params) -> list[Entry]:
    """Our parameters of a network and their tensors, for files that hold some of them, such as `jaxgen.interop.lora`.

    Args:
        config: the entries of ``config.json``, with ``"_class_name"``.
        params: of `network(config)`, or their shapes.

    Returns:
        One entry for each parameter.

    Raises:
        UserError: if an entry of the configuration is not supported.
    """
    _, made, kind = _network(config, "config", *_apart(config, params))
    return list(kind.names(made, params))


def at_path_time(net: Net, timesteps: int = 1000) -> Net:
    """A network of table entries as one of the path's time: it is given ``t T - 1`` where it is asked at t.

    Args:
        net: one of `load` or `network`.
        timesteps: T, the length of the table, ``num_train_timesteps`` of its scheduler.

    Returns:
        A `Net` for a path that `jaxgen.paths.discrete` made of that table: entry i stands at ``t = (i + 1) / T``.

    Example:
        >>> echo = Net(lambda key, x, t: {}, lambda params, x, t: t)
        >>> float(at_path_time(echo).apply({}, None, 0.5))
        499.0
    """

    def entry(t: Array) -> Array:
        return paths.timestep(jnp.asarray(t, jnp.float32), timesteps)

    def init(key: Key, x: Array, t: Array, *rest: Any, **named: Any) -> Params:
        return net.init(key, x, entry(t), *rest, **named)

    def apply(params: Params, x: Array, t: Array, *rest: Any, **named: Any) -> Array:
        return net.apply(params, x, entry(t), *rest, **named)

    return Net(init, apply)
