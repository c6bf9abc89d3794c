"""Text encoders in the folders of transformers: ``CLIPTextModel``, read and written without PyTorch.

A folder holds ``config.json`` and ``model.safetensors`` (or shards with an index), as the ``text_encoder`` of a Stable
Diffusion 1 or 2 pipeline does. Pickled weights (``.bin``) are never opened: unpickling runs code.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.errors import UserError
from jaxgen.interop import json_files, tensors
from jaxgen.interop.entries import Entries, Kind, shown
from jaxgen.interop.tensors import Entry
from jaxgen.nets.clip_text import ACTIVATIONS, TextSizes, clip_text
from jaxgen.types import Net, Params

_STEM = "model"
_KINDS = ("clip_text_model", "CLIPTextModel", "CLIPTextModelWithProjection")
_DEFAULTS = {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "attention_dropout": 0.0,
    "use_attention_mask": False,
}
_COUNT = Kind((int,), 1, 2**20)
_DIMENSIONS = {
    "vocab_size": _COUNT,
    "hidden_size": _COUNT,
    "intermediate_size": _COUNT,
    "num_hidden_layers": Kind((int,), 1, 1024),
    "num_attention_heads": _COUNT,
    "max_position_embeddings": _COUNT,
    "layer_norm_eps": Kind((float,), 0, 1),
    "attention_dropout": Kind((float,), 0, 1),
}
# What transformers writes into the configuration of every model, and what only initialisation, the projection to the
# space of images or the generation of text depends on: none of it changes what the encoder answers.
_NO_MATTER = """
add_cross_attention architectures bad_words_ids begin_suppress_tokens bos_token_id chunk_size_feed_forward
cross_attention_hidden_size decoder_start_token_id diversity_penalty do_sample dropout dtype early_stopping
encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty finetuning_task forced_bos_token_id
forced_eos_token_id gradient_checkpointing id2label initializer_factor initializer_range is_decoder
is_encoder_decoder label2id length_penalty max_length min_length model_type no_repeat_ngram_size num_beam_groups
num_beams num_return_sequences output_attentions output_hidden_states output_scores pad_token_id prefix problem_type
projection_dim pruned_heads remove_invalid_values repetition_penalty return_dict return_dict_in_generate
sep_token_id suppress_tokens task_specific_params temperature tf_legacy_loss tie_encoder_decoder
tie_word_embeddings tokenizer_class top_k top_p torch_dtype torchscript transformers_version typical_p
use_bfloat16"""
_IGNORED = ("text_projection.weight", "text_model.embeddings.position_ids")


class Loaded(NamedTuple):
    """A text encoder with its weights.

    Attributes:
        net: ``apply(params, tokens [b, n]) -> [b, n, width]``, the last hidden state behind the last norm.
        params: float32.
        config: the entries of ``config.json``.
    """

    net: Net
    params: Params
    config: dict[str, Any]


def _options(config: Mapping[str, Any], file: str) -> tuple[TextSizes, str, float]:
    kind = config.get("model_type", _KINDS[0])
    if kind not in _KINDS:
        raise UserError(f"{file}: model_type is {shown(kind)}; supported: {_KINDS[0]!r}, the text encoder of CLIP")
    no_matter = frozenset(_NO_MATTER.split())
    asked = {name: value for name, value in config.items() if name not in no_matter}
    entries = Entries(asked, file, _DEFAULTS, _DIMENSIONS)
    entries.only("attention_dropout", 0.0)
    entries.only("use_attention_mask", False)
    if entries["hidden_size"] % entries["num_attention_heads"]:
        raise entries.error("num_attention_heads", entries["num_attention_heads"])
    sizes = TextSizes(
        entries["vocab_size"],
        entries["max_position_embeddings"],
        entries["hidden_size"],
        entries["num_hidden_layers"],
        entries["num_attention_heads"],
        entries["intermediate_size"],
    )
    return sizes, entries.only("hidden_act", *ACTIVATIONS), entries["layer_norm_eps"]


def network(config: Mapping[str, Any], *, skip: int = 0) -> Net:
    """Our text encoder of a configuration, for training one that transformers can load.

    The options that it has no entry for are transformers' own defaults.

    Args:
        config: entries of ``config.json``.
        skip: the last blocks that are left out (``clip_skip`` of diffusers).

    Returns:
        A `Net`: see `jaxgen.nets.clip_text.clip_text`.

    Raises:
        UserError: if an entry is not supported.

    Example:
        >>> large = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}  # ViT-L/14
        >>> shapes = jax.eval_shape(network(large).init, jax.random.key(0), jnp.zeros((1, 77), jnp.int32))
        >>> sum(x.size for x in jax.tree.leaves(shapes))
        123060480
    """
    return _network(config, "config", skip)[0]


def _network(config: Mapping[str, Any], file: str, skip: int = 0) -> tuple[Net, TextSizes]:
    sizes, activation, epsilon = _options(config, file)
    if not 0 <= skip < sizes.depth:
        raise UserError(f"{file}: skip must be from 0 to {sizes.depth - 1} of its {sizes.depth} layers, got {skip}")
    return clip_text(sizes, activation=activation, epsilon=epsilon, skip=skip), sizes


def load(folder: str | Path, *, skip: int = 0, max_bytes: int | None = None) -> Loaded:
    """Read a text encoder's folder, or the ``text_encoder`` in a pipeline's folder.

    Args:
        folder: as written by transformers' ``save_pretrained``, or by `save`. Of a ``CLIPTextModelWithProjection`` the
            projection is left out.
        skip: the last blocks that are left out (``clip_skip`` of diffusers).
        max_bytes: the most that its weights may hold; None for ``JAXGEN_MAX_FILE_MIB``, or else 4 GiB.

    Returns:
        The network, its parameters and its configuration.

    Raises:
        UserError: if a file is missing, damaged or too large, weights are pickled, the configuration is another model's
            or has an entry that is not supported, or weights and configuration do not belong together.

    Example:
        >>> import tempfile
        >>> config = {"vocab_size": 9, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
        ...           "num_attention_heads": 2, "max_position_embeddings": 4}
        >>> tokens = jnp.zeros((1, 4), jnp.int32)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(folder, jax.jit(network(config).init)(jax.random.key(0), tokens), config)
        ...     net, params, _ = load(folder)
        >>> jax.eval_shape(net.apply, params, tokens).shape
        (1, 4, 8)
    """
    folder = Path(folder)
    inner = folder / "text_encoder"
    if not os.path.exists(folder / "config.json") and os.path.exists(inner / "config.json"):
        folder = inner
    file = folder / "config.json"
    config = json_files.read_object(file, "give the folder that save_pretrained wrote")
    net, sizes = _network(config, str(file), skip)
    weights, theirs = tensors.read(folder, _STEM, max_bytes=max_bytes)
    prefixed = {n if n.startswith("text_") else f"text_model.{n}": x for n, x in theirs.items()}
    theirs = {name: x for name, x in prefixed.items() if name not in _IGNORED}
    shapes = jax.eval_shape(net.init, jax.random.key(0), jax.ShapeDtypeStruct((1, sizes.length), jnp.int32))
    return Loaded(net, tensors.to_params(list(_names(sizes)), theirs, shapes, weights), config)


def save(folder: str | Path, params: Params, config: Mapping[str, Any]) -> None:
    """Write a folder that transformers' ``CLIPTextModel.from_pretrained`` (and `load`) reads.

    Args:
        folder: made where it does not exist; files of a model that are there are replaced.
        params: of `network(config)`, or as loaded.
        config: the entries of ``config.json``.

    Raises:
        UserError: if an entry is not supported.
    """
    folder = Path(folder)
    theirs = tensors.from_params(entries(config), params)
    folder.mkdir(parents=True, exist_ok=True)
    tensors.write(folder, _STEM, theirs)
    config = {"architectures": ["CLIPTextModel"], "model_type": _KINDS[0], **config}
    (folder / "config.json").write_text(json_files.written(config), encoding="utf-8")


def length(config: Mapping[str, Any]) -> int:
    """The most tokens of a prompt that a configuration allows.

    Raises:
        UserError: if an entry of the configuration is not supported.

    Example:
        >>> length({})
        77
    """
    return _options(config, "config")[0].length


def entries(config: Mapping[str, Any]) -> list[Entry]:
    """Our parameters of a text encoder and their tensors, for files that hold some of them (`jaxgen.interop.lora`).

    Args:
        config: the entries of ``config.json``.

    Returns:
        One entry for each parameter.

    Raises:
        UserError: if an entry of the configuration is not supported.
    """
    return list(_names(_options(config, "config")[0]))


def _block(i: int, heads: int) -> Iterator[Entry]:
    name, attention = f"text_model.encoder.layers.{i}", ("blocks", "MultiHeadAttention_0")
    yield from tensors.norm(("blocks", "LayerNorm_0"), f"{name}.layer_norm1")
    inputs = ("q_proj", "k_proj", "v_proj")
    yield from tensors.attention_inputs((*attention, "Dense_0"), f"{name}.self_attn", heads, inputs)
    yield from tensors.dense((*attention, "Dense_1"), f"{name}.self_attn.out_proj")
    yield from tensors.norm(("blocks", "LayerNorm_1"), f"{name}.layer_norm2")
    yield from tensors.dense(("blocks", "Dense_0"), f"{name}.mlp.fc1")
    yield from tensors.dense(("blocks", "Dense_1"), f"{name}.mlp.fc2")


def _names(sizes: TextSizes) -> Iterator[Entry]:
    yield tensors.same(("tokens",), "text_model.embeddings.token_embedding.weight")
    yield tensors.same(("positions",), "text_model.embeddings.position_embedding.weight")
    yield from tensors.stacked([list(_block(i, sizes.heads)) for i in range(sizes.depth)])
    yield from tensors.norm(("LayerNorm_0",), "text_model.final_layer_norm")
