"""diffusers' DiTTransformer2DModel as our DiT: its configuration and the names of its tensors."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.interop import labels, tensors
from jaxgen.interop.entries import Entries, Kind
from jaxgen.interop.tensors import Entry
from jaxgen.interop.unet_entries import Inputs
from jaxgen.nets import dit
from jaxgen.nets.embedding import sinusoidal
from jaxgen.types import Array, Key, Net, Params

_DEFAULTS = {
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "in_channels": 4,
    "out_channels": None,
    "num_layers": 28,
    "dropout": 0.0,
    "norm_num_groups": 32,  # without effect there, too
    "attention_bias": True,
    "sample_size": 32,
    "patch_size": 2,
    "activation_fn": "gelu-approximate",
    "num_embeds_ada_norm": 1000,
    "upcast_attention": False,  # softmax is in float32 here in any case
    "norm_type": "ada_norm_zero",
    "norm_elementwise_affine": False,
    "norm_eps": 1e-5,
}
_COUNT = Kind((int,), 1, 2**16)
_DIMENSIONS = {
    "num_attention_heads": _COUNT,
    "attention_head_dim": _COUNT,
    "in_channels": _COUNT,
    "out_channels": _COUNT._replace(null=True),
    "num_layers": Kind((int,), 1, 1024),
    "dropout": Kind((float,), 0, 1),
    "norm_num_groups": _COUNT,
    "sample_size": _COUNT,
    "patch_size": _COUNT,
    "num_embeds_ada_norm": Kind((int,), 1, 2**20),
    "norm_eps": Kind((float,), 0, 1),
}
_EMBEDDING = "transformer_blocks.{}.norm1.emb."
FIXED = "pos_embed.pos_embed"  # older files hold the fixed positions as well


def network(config: Mapping[str, Any], file: str, block_embeddings: bool = False) -> tuple[Net, dict[str, Any]]:
    """Our DiT of a DiTTransformer2DModel's configuration; see `jaxgen.interop.diffusers.network`.

    Args:
        config: the configuration.
        file: its file's name, for messages.
        block_embeddings: whether every block embeds time and label by itself.

    Returns:
        The network, and the options it was made with.

    Raises:
        UserError: if an entry is not supported.
    """
    entries = Entries(config, file, _DEFAULTS, _DIMENSIONS)
    for name in ("dropout", "attention_bias", "activation_fn", "norm_type", "norm_elementwise_affine"):
        entries.only(name, _DEFAULTS[name])
    if entries["sample_size"] % entries["patch_size"]:
        raise entries.error("patch_size", entries["patch_size"])
    options = {
        "patch": entries["patch_size"],
        "width": entries["num_attention_heads"] * entries["attention_head_dim"],
        "depth": entries["num_layers"],
        "heads": entries["num_attention_heads"],
        "classes": entries["num_embeds_ada_norm"],
        "time_features": functools.partial(sinusoidal, scale=1.0, shift=1.0),
        "block_embeddings": block_embeddings,
        "epsilons": (1e-6, entries["norm_eps"]),
    }
    channels, size = entries["in_channels"], (entries["sample_size"],) * 2
    net = dit(channels if entries["out_channels"] is None else entries["out_channels"], **options)

    def check(x: Array) -> None:
        if x.shape[1:-1] != size:  # there, positions of another size are stretched over this one
            raise ValueError(f"this network takes images of {size}, got {x.shape[1:-1]}: see sample_size in its config")

    def init(key: Key, x: Array, t: Array, *rest: Any, **named: Any) -> Params:
        check(x)
        return net.init(key, x, t, *rest, **named)

    def apply(params: Params, x: Array, t: Array, *rest: Any, **named: Any) -> Array:
        check(x)
        return net.apply(params, x, t, *rest, **named)

    # The last row is the null label: these networks are trained for classifier-free guidance.
    return Net(init, labels.checked(apply, entries["num_embeds_ada_norm"] + 1, null=True)), options


def inputs(config: Mapping[str, Any]) -> Inputs:
    """Shapes of inputs for the `init` of a supported configuration's network."""
    entries = Entries(config, "config", _DEFAULTS, _DIMENSIONS)
    size = entries["sample_size"]
    shapes = (1, size, size, entries["in_channels"]), (1,)
    return tuple(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes), {}


def embeddings_differ(theirs: Mapping[str, np.ndarray]) -> bool:
    """Whether blocks embed time and label differently: there each has a copy, equal unless trained apart."""
    first = _EMBEDDING.format(0)
    for name in (name for name in theirs if name.startswith(first)):
        others = (other for other in theirs if other.endswith(".norm1.emb." + name.removeprefix(first)))
        if any(not np.array_equal(theirs[other], theirs[name]) for other in others):
            return True
    return False


def _embedding(i: int) -> Iterator[Entry]:
    name = _EMBEDDING.format(i)
    yield from tensors.dense(("embedding", "Dense_1"), f"{name}timestep_embedder.linear_1")
    yield from tensors.dense(("embedding", "Dense_0"), f"{name}timestep_embedder.linear_2")
    yield tensors.same(("embedding", "LabelEmbedding_0", "table"), f"{name}class_embedder.embedding_table.weight")


def _shared(layers: list[list[Entry]]) -> Iterator[Entry]:
    """A parameter that is one here and copied for every layer there."""
    for copies in zip(*layers, strict=True):
        first = copies[0]

        def ours(*theirs: np.ndarray, first: Entry = first) -> np.ndarray:
            return first.ours(theirs[0])

        def theirs(x: np.ndarray, first: Entry = first) -> list[np.ndarray]:
            return [*first.theirs(x)] * len(layers)

        yield Entry(first.path, tuple(name for entry in copies for name in entry.names), ours, theirs)


def _block(i: int, heads: int) -> Iterator[Entry]:
    name, attention = f"transformer_blocks.{i}", ("blocks", "MultiHeadAttention_0")
    yield from tensors.dense(("blocks", "Dense_0"), f"{name}.norm1.linear")
    yield from tensors.attention_inputs((*attention, "Dense_0"), f"{name}.attn1", heads)
    yield from tensors.dense((*attention, "Dense_1"), f"{name}.attn1.to_out.0")
    yield from tensors.dense(("blocks", "Dense_2"), f"{name}.ff.net.0.proj")  # ours are named from the outside in
    yield from tensors.dense(("blocks", "Dense_1"), f"{name}.ff.net.2")


def names(options: Mapping[str, Any], params: Params) -> Iterator[Entry]:
    """Our parameters and their tensors.

    Args:
        options: those of `jaxgen.nets.dit`.
        params: its parameters, or their shapes.

    Yields:
        One entry for each parameter.
    """
    patch, depth = options["patch"], options["depth"]
    channels = params["Dense_0"]["kernel"].shape[0] // patch**2
    yield Entry(
        ("Dense_0", "kernel"),
        ("pos_embed.proj.weight",),
        lambda x: np.transpose(x, (2, 3, 1, 0)).reshape(-1, x.shape[0]),
        lambda x: (np.transpose(x.reshape(patch, patch, channels, -1), (3, 2, 0, 1)),),
    )
    yield tensors.same(("Dense_0", "bias"), "pos_embed.proj.bias")
    embeddings = [list(_embedding(i)) for i in range(depth)]
    yield from tensors.stacked(embeddings) if options["block_embeddings"] else _shared(embeddings)
    yield from tensors.stacked([list(_block(i, options["heads"])) for i in range(depth)])
    yield from tensors.dense(("Dense_1",), "proj_out_1")
    yield from tensors.dense(("Dense_2",), "proj_out_2")
