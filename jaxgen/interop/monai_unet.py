"""MONAI's U-Nets and ControlNets of diffusion without PyTorch, in 2-D and 3-D, read and written.

``DiffusionModelUNet``, ``SPADEDiffusionModelUNet``, ``ControlNet``, and MAISI's ``DiffusionModelUNetMaisi`` and
``ControlNetMaisi``. Weights are a state dict; what the network looks like is in the keyword arguments that made it, as
a bundle's configuration lists them. Names of monai-generative and of the first MAISI are read as well.
"""

import collections
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.interop import labels, monai_spade, tensors, torch_files, weight_files
from jaxgen.interop.diffusers import Loaded
from jaxgen.interop.monai_unet_form import Form, form_of
from jaxgen.interop.tensors import Entry
from jaxgen.nets import controlnet, unet
from jaxgen.nets.attention import head_count
from jaxgen.types import Net, Params


def network(config: Mapping[str, Any], file: str = "config") -> Net:
    """Our network of the arguments that make one of MONAI's, for training one that MONAI can load.

    Its time is the number of an entry of the scheduler's table, 0 to T - 1, as MONAI's networks are told it.

    - A U-Net is `jaxgen.nets.unet`: a condition is a `context` of tokens, a class is a `label` (which must be given
      where ``num_class_embeds`` is), and the answer of a ControlNet is its `control`.
    - MAISI's U-Net takes top region index, bottom region index and spacing, as far as it has them, side by side as
      `vector`, ``[b, 4 + 4 + 3]``.
    - That of SPADE takes a one-hot `segmentation` of the resolution of its image, or a multiple of it.
    - A ControlNet is `jaxgen.nets.controlnet`, with the image that steers as `hint`.

    Args:
        config: the arguments, with ``"_target_"`` the name of the class, alone or with its module.
        file: where they are from, for messages.

    Returns:
        A `Net`.

    Raises:
        UserError: if an entry is not supported.

    Example:
        >>> config = {"_target_": "DiffusionModelUNet", "spatial_dims": 3, "channels": [8, 16], "num_res_blocks": 1,
        ...           "attention_levels": [False, True], "norm_num_groups": 4, "with_conditioning": True,
        ...           "cross_attention_dim": 4}
        >>> x, t, token = jnp.zeros((1, 4, 4, 4, 1)), jnp.array([999]), jnp.zeros((1, 1, 4))
        >>> params = jax.eval_shape(lambda key: network(config).init(key, x, t, context=token), jax.random.key(0))
        >>> jax.eval_shape(network(config).apply, params, x, t, context=token).shape
        (1, 4, 4, 4, 1)
    """
    return _network(form_of(config, file))


def _network(form: Form) -> Net:
    if form.hint is not None:
        net = controlnet(**form.options)
    else:
        assert form.out_channels is not None
        net = unet(form.out_channels, **form.options)
    classes = form.options["classes"]
    return net if classes is None else Net(net.init, labels.checked(net.apply, classes + 1, null=False))


def shapes(config: Mapping[str, Any], file: str = "config") -> Params:
    """The shapes of the parameters of `network`.

    Args:
        config: see `network`.
        file: where it is from, for messages.

    Returns:
        A tree of anything with a shape.
    """
    return _shapes(form_of(config, file))


def _shapes(form: Form) -> Params:
    def some(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    size = 2 ** len(form.options["channels"])
    spatial = (size,) * form.spatial_dims
    given: dict[str, Any] = {}
    if form.context is not None:
        given["context"] = some(1, 1, form.context)
    if form.parts:
        given["vector"] = some(1, sum(width for _, width in form.parts))
    if form.options["classes"] is not None:
        given["label"] = jax.ShapeDtypeStruct((1,), jnp.int32)
    if form.maps is not None:
        given["segmentation"] = some(1, *spatial, form.maps)
    if form.hint is not None:
        factor = 2 ** (len(form.options["hint_channels"]) - 1)
        given["hint"] = some(1, *(factor * size for _ in spatial), form.hint)
    return jax.eval_shape(_network(form).init, jax.random.key(0), some(1, *spatial, form.in_channels), some(1), **given)


def load(
    path: str | Path, config: Mapping[str, Any], *, inside: str | None = None, max_bytes: int | None = None
) -> Loaded:
    """Read the weights of one of MONAI's networks.

    Args:
        path: a PyTorch or safetensors file with its state dict.
        config: the arguments that made it; see `network`.
        inside: the name under which the file holds the state dict among others, such as ``unet_state_dict``.
        max_bytes: the most that the file may hold; see `jaxgen.interop.weight_files.read`.

    Returns:
        The network, its parameters and its configuration.

    Raises:
        UserError: if the file cannot be read, the configuration has an entry that is not supported, or the two do not
            belong together.

    Example:
        >>> import tempfile
        >>> config = {"_target_": "DiffusionModelUNet", "spatial_dims": 2, "channels": [4], "num_res_blocks": 1,
        ...           "attention_levels": [False], "norm_num_groups": 2, "num_head_channels": 4}
        >>> zeros = jax.tree.map(lambda s: jnp.zeros(s.shape), shapes(config))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(f"{folder}/net.pt", zeros, config)
        ...     load(f"{folder}/net.pt", config).params["Conv_0"]["kernel"].shape
        (3, 3, 1, 4)
    """
    form = form_of(config, "config")
    theirs = weight_files.read(path, inside=inside, max_bytes=max_bytes)
    made = _shapes(form)
    params = tensors.to_params(list(names(form, made)), standard(theirs, form), made, Path(path))
    return Loaded(_network(form), params, dict(config))


def save(path: str | Path, params: Params, config: Mapping[str, Any]) -> None:
    """Write weights that MONAI loads: ``net.load_state_dict(torch.load(path))``, or safetensors' ``load_file``.

    Args:
        path: ending in ``.pt`` or ``.pth`` for a PyTorch file, or in ``.safetensors``.
        params: of ``network(config)``.
        config: see `network`.

    Raises:
        UserError: if the file's name ends otherwise, or an entry is not supported.
    """
    torch_files.save(path, tensors.from_params(list(names(form_of(config, "config"), params)), params))


_SELF = r"(attentions\.\d+|middle_block\.attention)"


def standard(theirs: Mapping[str, np.ndarray], form: Form) -> dict[str, np.ndarray]:
    """Tensors by their names of MONAI 1.4 and later.

    The output layer of self-attention that monai-generative saved and did not apply is left out where the form has
    none, as MONAI's own reader does.

    Args:
        theirs: by their names of any version.
        form: of the network.

    Returns:
        The same tensors.

    Example:
        >>> form = form_of({"_target_": "DiffusionModelUNet", "spatial_dims": 2}, "config")
        >>> list(standard({"up_blocks.0.attentions.1.to_q.bias": 0, "up_blocks.0.upsampler.conv.conv.bias": 0}, form))
        ['up_blocks.0.attentions.1.attn.to_q.bias', 'up_blocks.0.upsampler.postconv.conv.bias']
    """
    applied = form.options["variant"].attention_projection

    def new(name: str) -> str:
        name = re.sub(rf"{_SELF}\.(to_[qkv])\.", r"\1.attn.\2.", name)
        name = re.sub(rf"{_SELF}\.proj_attn\.", r"\1.attn.out_proj.", name)
        return name.replace(".to_out.0.", ".out_proj.").replace(".upsampler.conv.", ".upsampler.postconv.")

    return {new(name): x for name, x in theirs.items() if applied or ".proj_attn." not in name}


def names(form: Form, params: Params) -> Iterator[Entry]:
    """Our parameters and MONAI's tensors.

    Args:
        form: of the network.
        params: its parameters, or their shapes.

    Yields:
        One entry for each parameter.
    """
    blocks = _Names(form, params)
    yield from blocks.embedding()
    yield from tensors.convolution(("Conv_0",), "conv_in.conv")
    yield from blocks.encoder()
    yield from blocks.middle()
    if form.hint is None:
        yield from blocks.decoder()
        yield from tensors.norm(("GroupNorm_0",), "out.0")
        yield from tensors.convolution(("Conv_1",), "out.2.conv")
    else:
        yield from _control(form, params)


def _control(form: Form, params: Params) -> Iterator[Entry]:
    count = len(params["hint"])
    yield from tensors.convolution(("hint", "Conv_0"), "controlnet_cond_embedding.conv_in.conv")
    for i in range(1, count - 1):
        yield from tensors.convolution(("hint", f"Conv_{i}"), f"controlnet_cond_embedding.blocks.{i - 1}.conv")
    yield from tensors.convolution(("hint", f"Conv_{count - 1}"), "controlnet_cond_embedding.conv_out.conv")
    for i in range(sum(name.startswith("skip_") for name in params)):
        name = f"controlnet_down_blocks.{i}" + (".conv" if i else "")  # they did not wrap the first
        yield from tensors.convolution((f"skip_{i}",), name)
    yield from tensors.convolution(("middle",), "controlnet_mid_block.conv")


class _Names:
    """Blocks in the order in which our network makes them, which counts them by kind."""

    def __init__(self, form: Form, params: Params) -> None:
        self.form, self.shape, self.params = form, form.shape, params
        self.last = len(self.shape.channels) - 1
        self._made: collections.Counter[str] = collections.Counter()

    def _ours(self, kind: str) -> str:
        self._made[kind] += 1
        return f"{kind}_{self._made[kind] - 1}"

    def embedding(self) -> Iterator[Entry]:
        """Time, class and what MAISI has in addition; two layers of ours are named from the outside in."""
        for i, name in enumerate(("time_embed", *(name for name, _ in self.form.parts))):
            yield from tensors.dense((f"Dense_{2 * i + 1}",), f"{name}.0")
            yield from tensors.dense((f"Dense_{2 * i}",), f"{name}.2")
        if "LabelEmbedding_0" in self.params:
            yield tensors.same(("LabelEmbedding_0", "table"), "class_embedding.weight")

    def encoder(self) -> Iterator[Entry]:
        """The levels on the way down."""
        for level in range(self.last + 1):
            name = f"down_blocks.{level}"
            for i in range(self.shape.blocks[level]):
                yield from self._block(name, i, level)
            if level < self.last:
                yield from self._resampling(f"{name}.downsampler", "Downsample", "op.conv")

    def middle(self) -> Iterator[Entry]:
        """The blocks in the middle."""
        yield from self._residual("middle_block.resnet_1")
        if self.shape.middle_transforms:
            yield from self._transformer("middle_block.attention", self.last)
        else:
            yield from self._attention("middle_block.attention", self.last)
        yield from self._residual("middle_block.resnet_2")

    def decoder(self) -> Iterator[Entry]:
        """The levels on the way up."""
        for level in range(self.last, -1, -1):
            name = f"up_blocks.{self.last - level}"
            for i in range(self.shape.blocks[level] + 1):
                yield from self._block(name, i, level)
            if level > 0:
                yield from self._resampling(f"{name}.upsampler", "Upsample", "postconv.conv")

    def _block(self, name: str, i: int, level: int) -> Iterator[Entry]:
        yield from self._residual(f"{name}.resnets.{i}")
        if level in self.shape.variant.cross_attention:
            yield from self._transformer(f"{name}.attentions.{i}", level)
        elif level in self.shape.attention:
            yield from self._attention(f"{name}.attentions.{i}", level)

    def _resampling(self, name: str, kind: str, theirs: str) -> Iterator[Entry]:
        if self.shape.variant.residual_resampling:
            yield from self._residual(name)
        else:
            yield from tensors.convolution((self._ours(kind), "Conv_0"), f"{name}.{theirs}")

    def _residual(self, name: str) -> Iterator[Entry]:
        path = self._ours("ResidualBlock")
        yield from self._norm(path, 0, f"{name}.norm1")
        yield from tensors.convolution((path, "Conv_0"), f"{name}.conv1.conv")
        yield from tensors.dense((path, "Dense_0"), f"{name}.time_emb_proj")
        yield from self._norm(path, 1, f"{name}.norm2")
        yield from tensors.convolution((path, "Conv_1"), f"{name}.conv2.conv")
        if "Conv_2" in self.params[path]:
            yield from tensors.convolution((path, "Conv_2"), f"{name}.skip_connection.conv")

    def _norm(self, path: str, i: int, name: str) -> Iterator[Entry]:
        if f"Spade_{i}" in self.params[path]:
            yield from tensors.norm((path, f"Spade_{i}", "GroupNorm_0"), f"{name}.param_free_norm")
            yield from monai_spade.convolutions((path, f"Spade_{i}"), name)
        else:
            yield from tensors.norm((path, f"GroupNorm_{i}"), name)

    def _heads(self, level: int) -> int:
        return head_count(self.shape.channels[level], self.shape.head_width[level])

    def _attention(self, name: str, level: int) -> Iterator[Entry]:
        path = self._ours("SelfAttention")
        yield from tensors.norm((path, "GroupNorm_0"), f"{name}.norm")
        yield from self._inputs((path, "Dense_0"), f"{name}.attn", level, bias=True)
        if self.shape.variant.attention_projection:
            yield from tensors.dense((path, "Dense_1"), f"{name}.attn.out_proj")

    def _inputs(self, path: tuple[str, ...], name: str, level: int, bias: bool) -> Iterator[Entry]:
        heads = self._heads(level)
        if self.form.combined:
            return tensors.combined_attention_inputs(path, f"{name}.qkv", heads, bias=bias)
        return tensors.attention_inputs(path, name, heads, bias=bias)

    def _transformer(self, name: str, level: int) -> Iterator[Entry]:
        path, rank = self._ours("SpatialTransformer"), self.form.spatial_dims
        yield from tensors.norm((path, "GroupNorm_0"), f"{name}.norm")
        yield from tensors.pointwise((path, "Dense_0"), f"{name}.proj_in.conv", rank)
        for i in range(self.shape.depth[level]):
            yield from self._transformer_block((path, f"_Block_{i}"), f"{name}.transformer_blocks.{i}", level)
        yield from tensors.pointwise((path, "Dense_1"), f"{name}.proj_out.conv", rank)

    def _transformer_block(self, path: tuple[str, ...], name: str, level: int) -> Iterator[Entry]:
        inner, outer = (*path, "MultiHeadAttention_0"), (*path, "MultiHeadAttention_1")
        heads = self._heads(level)
        for i in range(3):
            yield from tensors.norm((*path, f"LayerNorm_{i}"), f"{name}.norm{i + 1}")
        yield from self._inputs((*inner, "Dense_0"), f"{name}.attn1", level, bias=False)
        if self.shape.variant.attention_projection:
            yield from tensors.dense((*inner, "Dense_1"), f"{name}.attn1.out_proj")
        yield from tensors.attention_inputs((*outer, "Dense_0"), f"{name}.attn2", heads, ("to_q",), bias=False)
        yield from tensors.attention_inputs((*outer, "Dense_1"), f"{name}.attn2", heads, ("to_k", "to_v"), bias=False)
        yield from tensors.dense((*outer, "Dense_2"), f"{name}.attn2.out_proj")
        yield from tensors.dense((*path, "Dense_0"), f"{name}.ff.linear1")
        yield from tensors.dense((*path, "Dense_1"), f"{name}.ff.linear2")
