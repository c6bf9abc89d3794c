"""MONAI's VQVAE as our vector-quantised autoencoder: its configuration and the names of its tensors."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxgen.errors import UserError
from jaxgen.interop import tensors
from jaxgen.interop.autoencoders import Autoencoder
from jaxgen.interop.entries import Entries, Kind
from jaxgen.interop.tensors import Entry
from jaxgen.nets.vqvae import ACTIVATIONS, Down, Up, VQForm, vqvae_decoder, vqvae_encoder
from jaxgen.types import Params

_DEFAULTS = {
    "spatial_dims": None,
    "in_channels": 1,
    "out_channels": 1,
    "channels": (96, 96, 192),
    "num_res_layers": 3,
    "num_res_channels": (96, 96, 192),
    "downsample_parameters": ((2, 4, 1, 1),) * 3,
    "upsample_parameters": ((2, 4, 1, 1, 0),) * 3,
    "num_embeddings": 32,
    "embedding_dim": 64,
    "act": "RELU",
    "output_act": None,
    # of training there
    "embedding_init": "normal",
    "commitment_cost": 0.25,
    "decay": 0.5,
    "epsilon": 1e-5,
    "dropout": 0.0,
    "ddp_sync": True,
    "use_checkpointing": False,
}
_COUNT = Kind((int,), 1, 2**16)
_ROWS = Kind((list, int), many=12, single=False)
_KINDS = {
    "spatial_dims": Kind((int,), 2, 3, null=True),
    "in_channels": _COUNT,
    "out_channels": _COUNT,
    "channels": Kind((int,), 1, 2**16, many=12, single=False),
    "num_res_layers": Kind((int,), 0, 32),
    "num_res_channels": Kind((int,), 1, 2**16, many=12),
    "downsample_parameters": _ROWS,
    "upsample_parameters": _ROWS,
    "num_embeddings": Kind((int,), 1, 2**20),
    "embedding_dim": _COUNT,
    "commitment_cost": Kind((float,), 0, 1e6),
    "decay": Kind((float,), 0, 1),
    "epsilon": Kind((float,), 0, 1),
    "dropout": Kind((float,), 0, 1),
    "output_act": Kind((str,), null=True),
}
_CODEBOOK = "quantizer.quantizer"
_COUNTS = f"{_CODEBOOK}.ema_cluster_size"


def entries_of(config: Mapping[str, Any], file: str) -> tuple[VQForm, Entries]:
    """Our form of the keyword arguments that make MONAI's network, with those of earlier versions.

    Args:
        config: the arguments.
        file: where they are from, for messages.

    Returns:
        The form, and the entries that are not in it.

    Raises:
        UserError: if an entry is not supported, or ``spatial_dims`` is missing.
    """
    given = {"channels" if name == "num_channels" else name: _listed(value) for name, value in config.items()}
    entries = Entries(given, file, _DEFAULTS, _KINDS, "jaxgen.interop.monai_autoencoder")
    if entries["spatial_dims"] is None:
        raise UserError(f"{file}: lacks spatial_dims; give 2 for images or 3 for volumes")
    entries.only("act", "RELU", "relu")
    output = entries["output_act"]
    if output is not None and output.lower() not in ACTIVATIONS:
        raise entries.error("output_act", output)
    channels, inner = tuple(entries["channels"]), entries["num_res_channels"]
    inner = (inner,) * len(channels) if isinstance(inner, int) else tuple(inner)
    down = _rows(entries, "downsample_parameters", 4, len(channels), file)
    up = _rows(entries, "upsample_parameters", 5, len(channels), file)
    if len(inner) != len(channels):
        raise UserError(f"{file}: num_res_channels has {len(inner)} entries, and channels has {len(channels)}")
    form = VQForm(
        channels,
        inner,
        entries["num_res_layers"],
        tuple(Down(stride, width, padding) for stride, width, _, padding in down),
        tuple(Up(stride, width, padding, more) for stride, width, _, padding, more in up),
        None if output is None else output.lower(),
    )
    return form, entries


def _listed(value: Any) -> Any:
    return [_listed(x) for x in value] if isinstance(value, list | tuple) else value


def _rows(entries: Entries, name: str, size: int, levels: int, file: str) -> list[tuple[int, ...]]:
    """Stride, width, dilation, padding (and output padding) of each level."""
    given = entries[name]
    rows = [given] * levels if all(type(x) is int for x in given) else list(given)
    if len(rows) != levels:
        raise UserError(f"{file}: {name} has {len(rows)} entries, and channels has {levels}")
    for row in rows:
        whole = isinstance(row, list | tuple) and len(row) == size and all(type(x) is int and 0 <= x <= 64 for x in row)
        if not whole or min(row[:3]) < 1 or row[2] != 1:  # a dilation is not supported
            raise entries.error(name, given)
    return [tuple(row) for row in rows]


def nets(form: VQForm, entries: Entries) -> Autoencoder:
    """The two networks of what `entries_of` found."""
    return Autoencoder(vqvae_encoder(entries["embedding_dim"], form), vqvae_decoder(entries["out_channels"], form))


def names(form: VQForm) -> Iterator[Entry]:
    """Our parameters and MONAI's tensors.

    Args:
        form: of `entries_of`.

    Yields:
        One entry for each parameter.
    """
    levels, units = len(form.channels), form.units
    each = units + 1
    for level in range(levels):
        yield from tensors.convolution(("encoder", f"Conv_{level}"), f"encoder.blocks.{each * level}.conv")
        for i in range(units):
            yield from _unit(("encoder", f"ResidualUnit_{units * level + i}"), f"encoder.blocks.{each * level + 1 + i}")
    yield from tensors.convolution(("encoder", f"Conv_{levels}"), f"encoder.blocks.{each * levels}.conv")
    yield from tensors.convolution(("decoder", "Conv_0"), "decoder.blocks.0.conv")
    for i in range(levels):
        for j in range(units):
            yield from _unit(("decoder", f"ResidualUnit_{units * i + j}"), f"decoder.blocks.{each * i + 1 + j}")
        yield from tensors.transposed_convolution(
            ("decoder", f"TransposedConv_{i}"), f"decoder.blocks.{each * (i + 1)}.conv"
        )
    yield Entry(
        ("codebook", "entries"),
        (f"{_CODEBOOK}.embedding.weight", f"{_CODEBOOK}.ema_w"),
        lambda entries, running: entries,
        lambda x: (x, x),
    )


def _unit(path: tuple[str, ...], name: str) -> Iterator[Entry]:
    for i in (0, 1):
        yield from tensors.convolution((*path, f"Conv_{i}"), f"{name}.conv{i + 1}.conv")


def without_counts(theirs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors without how often each entry of the codebook was used, which only training there needs."""
    return {name: x for name, x in theirs.items() if name != _COUNTS}


def with_counts(theirs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors with equal counts for all entries of the codebook, with which training there goes on from it."""
    entries = theirs[f"{_CODEBOOK}.embedding.weight"]
    return {**theirs, _COUNTS: np.ones(len(entries), np.float32)}


def codebook_shapes(entries: Entries) -> Params:
    """The shapes of the codebook's parameters."""
    size = (entries["num_embeddings"], entries["embedding_dim"])
    return {"codebook": {"entries": np.broadcast_to(np.float32(0), size)}}
