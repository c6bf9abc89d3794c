"""MONAI's autoencoders without PyTorch, read and written.

``AutoencoderKL``, ``AutoencoderKlMaisi``, ``SPADEAutoencoderKL`` and ``VQVAE``. Their weights are a state dict, a
PyTorch file or a safetensors file; what the network looks like is in the keyword arguments that made it, as a bundle's
configuration lists them. Names of monai-generative, of MONAI and of MAISI are read. What is not supported is refused by
name: dilation and activations other than ReLU in the VQVAE.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgen.errors import UserError
from jaxgen.interop import autoencoders, monai_kl, monai_spade_kl, monai_vqvae, tensors, torch_files, weight_files
from jaxgen.interop.autoencoders import Autoencoder, LoadedAutoencoder
from jaxgen.interop.entries import shown
from jaxgen.interop.tensors import Entry
from jaxgen.types import Params

_KL, _VQ = "AutoencoderKL", "VQVAE"


class _Kind(NamedTuple):
    """One of their networks.

    Attributes:
        nets: ours.
        shapes: of the parameters of both.
        names: the entry of each parameter, of the parameters or their shapes.
    """

    nets: Autoencoder
    shapes: Callable[[], Params]
    names: Callable[[Params], Iterator[Entry]]
    vector_quantised: bool


def _kind(config: Mapping[str, Any], file: str) -> _Kind:
    target = str(config.get("_target_", "")).rsplit(".", 1)[-1]
    if target == _VQ:
        quantised, entries = monai_vqvae.entries_of(config, file)
        nets = monai_vqvae.nets(quantised, entries)
        size, code = 64 * math.prod(down.stride for down in quantised.down), entries["embedding_dim"]
        more: Params = monai_vqvae.codebook_shapes(entries)
        names: Callable[[Params], Iterator[Entry]] = lambda params: monai_vqvae.names(quantised)  # noqa: E731
    elif target in (_KL, monai_kl.MAISI):
        maisi = target == monai_kl.MAISI
        form, entries = monai_kl.entries_of(config, file, maisi)
        nets = monai_kl.nets(form, entries)
        size, code, more = 2 ** len(form.channels), entries["latent_channels"], {}
        names = lambda params: monai_kl.names(form, entries, params, maisi)  # noqa: E731
    elif target == monai_spade_kl.TARGET:
        parts = monai_spade_kl.entries_of(config, file)
        return _Kind(
            monai_spade_kl.nets(*parts),
            lambda: monai_spade_kl.shapes(*parts),
            lambda params: monai_spade_kl.names(*parts[:2], params),
            False,
        )
    else:
        supported = ", ".join(map(repr, (_KL, monai_kl.MAISI, monai_spade_kl.TARGET, _VQ)))
        raise UserError(f"{file}: _target_ is {shown(target)}; supported: {supported}")
    image = (*(size,) * entries["spatial_dims"], entries["in_channels"])
    return _Kind(nets, lambda: autoencoders.shapes(nets, image, code) | more, names, target == _VQ)


def network(config: Mapping[str, Any], file: str = "config") -> Autoencoder:
    """Our two networks of the arguments that make one of MONAI's, for training one that MONAI can load.

    Args:
        config: the arguments, with ``"_target_"`` the name of the class, alone or with its module.
        file: where they are from, for messages.

    Returns:
        Encoder and decoder.

    Raises:
        UserError: if an entry is not supported.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> config = {"_target_": "AutoencoderKL", "spatial_dims": 3, "channels": [8, 8], "num_res_blocks": 1,
        ...           "attention_levels": [False, False], "norm_num_groups": 4}
        >>> encoder, _ = network(config)
        >>> x = jnp.zeros((1, 4, 4, 4, 1))
        >>> jax.eval_shape(lambda key: encoder.apply(encoder.init(key, x), x), jax.random.key(0)).shape
        (1, 2, 2, 2, 6)
    """
    return _kind(config, file).nets


def load(
    path: str | Path, config: Mapping[str, Any], *, inside: str | None = None, max_bytes: int | None = None
) -> LoadedAutoencoder:
    """Read the weights of one of MONAI's autoencoders.

    Args:
        path: a PyTorch or safetensors file with its state dict.
        config: the arguments that made it; see `network`.
        inside: the name under which the file holds the state dict among others.
        max_bytes: the most that the file may hold; see `jaxgen.interop.weight_files.read`.

    Returns:
        The two networks and their parameters; a VQVAE has its codebook in ``params["codebook"]["entries"]``.

    Raises:
        UserError: if the file cannot be read, the configuration has an entry that is not supported, or the two do not
            belong together.

    Example:
        >>> import tempfile
        >>> import jax, jax.numpy as jnp
        >>> config = {"_target_": "VQVAE", "spatial_dims": 2, "channels": [4], "num_res_layers": 1,
        ...           "num_res_channels": 4, "downsample_parameters": [2, 4, 1, 1],
        ...           "upsample_parameters": [2, 4, 1, 1, 0], "num_embeddings": 8, "embedding_dim": 2}
        >>> zeros = jax.tree.map(lambda s: jnp.zeros(s.shape), shapes(config))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(f"{folder}/net.pt", zeros, config)
        ...     load(f"{folder}/net.pt", config).params["codebook"]["entries"].shape
        (8, 2)
    """
    kind = _kind(config, "config")
    theirs = weight_files.read(path, inside=inside, max_bytes=max_bytes)
    theirs = {monai_kl.standard(name): x for name, x in monai_vqvae.without_counts(theirs).items()}
    made = kind.shapes()
    named = [entry._replace(names=tuple(map(monai_kl.standard, entry.names))) for entry in kind.names(made)]
    applied = {name for entry in named for name in entry.names}
    theirs = {name: x for name, x in theirs.items() if name in applied or ".proj_attn." not in name}
    params = tensors.to_params(named, theirs, made, Path(path))
    return LoadedAutoencoder(*kind.nets, params, dict(config))


def shapes(config: Mapping[str, Any]) -> Params:
    """The shapes of the parameters of `network`, with the codebook of a VQVAE.

    Args:
        config: see `network`.

    Returns:
        A tree of anything with a shape.
    """
    return _kind(config, "config").shapes()


def save(path: str | Path, params: Params, config: Mapping[str, Any]) -> None:
    """Write weights that MONAI loads: ``net.load_state_dict(torch.load(path))``, or safetensors' ``load_file``.

    Args:
        path: ending in ``.pt`` or ``.pth`` for a PyTorch file, or in ``.safetensors``.
        params: of `network(config)` in the groups ``"encoder"``, ``"decoder"`` and, for a VQVAE, ``"codebook"``.
        config: see `network`.

    Raises:
        UserError: if the file's name ends otherwise, or an entry is not supported.
    """
    kind = _kind(config, "config")
    theirs: Mapping[str, np.ndarray] = tensors.from_params(list(kind.names(params)), params)
    theirs = monai_vqvae.with_counts(theirs) if kind.vector_quantised else theirs
    torch_files.save(path, theirs)
