"""Networks in the folders of diffusers: ``UNet2DModel``, ``DiTTransformer2DModel``, ``AutoencoderKL``.

A folder holds ``config.json`` and ``diffusion_pytorch_model.safetensors`` (or shards with an index). PyTorch is not
needed. Pickled weights (``.bin``) are never opened: unpickling runs code.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgen import paths
from jaxgen.errors import UserError
from jaxgen.interop import autoencoder_kl, dit2d, json_files, tensors, unet2d
from jaxgen.interop.entries import shown
from jaxgen.types import Array, Key, Net, Params

_STEM = "diffusion_pytorch_model"
_UNET, _DIT, _KL = "UNet2DModel", "DiTTransformer2DModel", "AutoencoderKL"


class Loaded(NamedTuple):
    """A network with its weights.

    Attributes:
        net: ``apply(params, x, t, label=None)`` with `x` ``[b, h, w, c]``; `network` says when a label is needed. The
            time `t` is the one these networks were trained with: the number of an entry of their table, 0 to T - 1 (or
            the noise level sigma where ``time_embedding_type`` is ``"fourier"``); `at_path_time` makes it a path's. An
            AutoencoderKL is ``apply(params, x)``, which reconstructs images; `jaxgen.interop.autoencoder_kl.nets` gives
            its encoder and its decoder.
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

    Args:
        config: entries of ``config.json``, with ``"_class_name"`` one of the models.

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
    return _network(config, "config", False)[0]


def _network(config: Mapping[str, Any], file: str, block_embeddings: bool) -> tuple[Net, dict[str, Any], Any]:
    """The network, its options, and the function that names its tensors."""
    name = config.get("_class_name")
    if name == _UNET:
        return (*unet2d.network(config, file), unet2d.names)
    if name == _DIT:
        return (*dit2d.network(config, file, block_embeddings), dit2d.names)
    if name == _KL:
        return (*autoencoder_kl.network(config, file), autoencoder_kl.names)
    raise UserError(f"{file}: _class_name is {shown(name)}; supported: {_UNET!r}, {_DIT!r} or {_KL!r}")


def _shapes(net: Net, config: Mapping[str, Any]) -> Params:
    if config["_class_name"] == _DIT:
        size, channels = config.get("sample_size", 32), config.get("in_channels", 4)
    else:
        size, channels = 2 ** len(config.get("block_out_channels", range(4))), config.get("in_channels", 3)
    x, t = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, size, size, channels), (1,)))
    inputs = (x,) if config["_class_name"] == _KL else (x, t)
    return jax.eval_shape(net.init, jax.random.key(0), *inputs)


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
    try:
        if not file.exists():
            for part in ("unet", "transformer"):
                if (folder / part / "config.json").exists():
                    return load(folder / part, max_bytes=max_bytes)
        config = json_files.read(file)
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file; give the folder that save_pretrained wrote") from error
    except OSError as error:
        raise UserError(
            f"{file}: cannot be read ({error.strerror}); give the folder that save_pretrained wrote"
        ) from error
    except ValueError as error:
        raise UserError(f"{file}: not JSON ({error}); copy it again from where it came") from error
    if not isinstance(config, dict):
        raise UserError(f"{file}: must hold one JSON object; copy it again from where it came")
    _network(config, str(file), False)  # what is not supported is said before large files are read
    weights, theirs = tensors.read(folder, _STEM, max_bytes=max_bytes)
    theirs = {unet2d.new_name(name): x for name, x in theirs.items() if name != dit2d.FIXED}
    net, options, names = _network(config, str(file), dit2d.embeddings_differ(theirs))
    shapes = _shapes(net, config)
    params = tensors.to_params(list(names(options, shapes)), theirs, shapes, weights)
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
    apart = config.get("_class_name") == _DIT and params["embedding"]["Dense_0"]["kernel"].ndim == 3
    _, options, names = _network(config, "config", apart)
    theirs = tensors.from_params(list(names(options, params)), params)
    folder.mkdir(parents=True, exist_ok=True)
    tensors.write(folder, _STEM, theirs)
    (folder / "config.json").write_text(json.dumps(dict(config), indent=2, sort_keys=True) + "\n", encoding="utf-8")


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
