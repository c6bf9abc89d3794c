"""The tensors of diffusers' U-Nets, block after block, in the order in which our U-Net makes its blocks."""

import collections
from collections.abc import Iterator

from jaxgen.interop import tensors
from jaxgen.interop.tensors import Entry
from jaxgen.nets.attention import head_count
from jaxgen.nets.unet_variant import Shape
from jaxgen.types import Params


class Names:
    """Our parameters and their tensors; asked for in the order of our network: embedding, encoder, middle, decoder.

    Args:
        shape: of our network.
        params: its parameters, or their shapes.
        linear: whether the projections of transformers are dense layers there, not convolutions of width 1.
    """

    def __init__(self, shape: Shape, params: Params, *, linear: bool = False) -> None:
        self.shape, self.params = shape, params
        self.projection = tensors.dense if linear else tensors.pointwise
        self._made: collections.Counter[str] = collections.Counter()

    def _ours(self, kind: str) -> str:
        self._made[kind] += 1
        return f"{kind}_{self._made[kind] - 1}"

    def embedding(self) -> Iterator[Entry]:
        """Time, and class or vector. Two layers of ours are named from the outside in."""
        yield from tensors.dense(("Dense_1",), "time_embedding.linear_1")
        yield from tensors.dense(("Dense_0",), "time_embedding.linear_2")
        if "time_features" in self.params:
            yield tensors.same(("time_features", "weight"), "time_proj.weight")
        if "LabelEmbedding_0" in self.params:
            yield tensors.same(("LabelEmbedding_0", "table"), "class_embedding.weight")
        if "Dense_3" in self.params:
            yield from tensors.dense(("Dense_3",), "class_embedding.linear_1")
            yield from tensors.dense(("Dense_2",), "class_embedding.linear_2")
        elif "Dense_2" in self.params:
            yield from tensors.dense(("Dense_2",), "class_embedding")

    def encoder(self) -> Iterator[Entry]:
        """The first convolution and the levels on the way down."""
        yield from tensors.convolution(("Conv_0",), "conv_in")
        last = len(self.shape.channels) - 1
        for level in range(last + 1):
            name = f"down_blocks.{level}"
            for i in range(self.shape.blocks[level]):
                yield from self._block(name, i, level)
            if level < last:
                yield from self._resampling(name, "Downsample")

    def middle(self) -> Iterator[Entry]:
        """The blocks in the middle."""
        last = len(self.shape.channels) - 1
        yield from self._residual("mid_block.resnets.0")
        if self.shape.middle_attends and self.shape.middle_transforms:
            yield from self._transformer("mid_block.attentions.0", last)
        elif self.shape.middle_attends:
            yield from self._attention("mid_block.attentions.0", last)
        yield from self._residual("mid_block.resnets.1")

    def decoder(self) -> Iterator[Entry]:
        """The levels on the way up, the last norm and the last convolution."""
        last = len(self.shape.channels) - 1
        for level in range(last, -1, -1):
            name = f"up_blocks.{last - level}"
            for i in range(self.shape.blocks[level] + 1):
                yield from self._block(name, i, level)
            if level > 0:
                yield from self._resampling(name, "Upsample")
        yield from tensors.norm(("GroupNorm_0",), "conv_norm_out")
        yield from tensors.convolution(("Conv_1",), "conv_out")

    def _block(self, name: str, i: int, level: int) -> Iterator[Entry]:
        yield from self._residual(f"{name}.resnets.{i}")
        if level in self.shape.variant.cross_attention:
            yield from self._transformer(f"{name}.attentions.{i}", level)
        elif level in self.shape.attention:
            yield from self._attention(f"{name}.attentions.{i}", level)

    def _resampling(self, name: str, kind: str) -> Iterator[Entry]:
        theirs = f"{name}.{kind.lower()}rs.0"
        if self.shape.variant.residual_resampling:
            yield from self._residual(theirs)
        else:
            yield from tensors.convolution((self._ours(kind), "Conv_0"), f"{theirs}.conv")

    def _residual(self, name: str) -> Iterator[Entry]:
        path = self._ours("ResidualBlock")
        yield from tensors.norm((path, "GroupNorm_0"), f"{name}.norm1")
        yield from tensors.convolution((path, "Conv_0"), f"{name}.conv1")
        yield from tensors.dense((path, "Dense_0"), f"{name}.time_emb_proj")
        yield from tensors.norm((path, "GroupNorm_1"), f"{name}.norm2")
        yield from tensors.convolution((path, "Conv_1"), f"{name}.conv2")
        if "Conv_2" in self.params[path]:
            yield from tensors.convolution((path, "Conv_2"), f"{name}.conv_shortcut")

    def _heads(self, level: int) -> int:
        return head_count(self.shape.channels[level], self.shape.head_width[level])

    def _attention(self, name: str, level: int) -> Iterator[Entry]:
        path = self._ours("SelfAttention")
        if "GroupNorm_0" in self.params[path]:
            yield from tensors.norm((path, "GroupNorm_0"), f"{name}.group_norm")
        yield from tensors.attention_inputs((path, "Dense_0"), name, self._heads(level))
        yield from tensors.dense((path, "Dense_1"), f"{name}.to_out.0")

    def _transformer(self, name: str, level: int) -> Iterator[Entry]:
        path = self._ours("SpatialTransformer")
        yield from tensors.norm((path, "GroupNorm_0"), f"{name}.norm")
        yield from self.projection((path, "Dense_0"), f"{name}.proj_in")
        for i in range(self.shape.depth[level]):
            yield from _transformer_block((path, f"_Block_{i}"), f"{name}.transformer_blocks.{i}", self._heads(level))
        yield from self.projection((path, "Dense_1"), f"{name}.proj_out")


def _transformer_block(path: tuple[str, ...], name: str, heads: int) -> Iterator[Entry]:
    inner, outer = (*path, "MultiHeadAttention_0"), (*path, "MultiHeadAttention_1")
    yield from tensors.norm((*path, "LayerNorm_0"), f"{name}.norm1")
    yield from tensors.attention_inputs((*inner, "Dense_0"), f"{name}.attn1", heads, bias=False)
    yield from tensors.dense((*inner, "Dense_1"), f"{name}.attn1.to_out.0")
    yield from tensors.norm((*path, "LayerNorm_1"), f"{name}.norm2")
    yield from tensors.attention_inputs((*outer, "Dense_0"), f"{name}.attn2", heads, ("to_q",), bias=False)
    yield from tensors.attention_inputs((*outer, "Dense_1"), f"{name}.attn2", heads, ("to_k", "to_v"), bias=False)
    yield from tensors.dense((*outer, "Dense_2"), f"{name}.attn2.to_out.0")
    yield from tensors.norm((*path, "LayerNorm_2"), f"{name}.norm3")
    yield from tensors.dense((*path, "Dense_0"), f"{name}.ff.net.0.proj")
    yield from tensors.dense((*path, "Dense_1"), f"{name}.ff.net.2")
