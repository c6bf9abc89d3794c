"""What a U-Net is made of: the records that the U-Net and its ControlNet are built from."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxgen.nets.embedding import sinusoidal
from jaxgen.nets.spade import SpadeForm
from jaxgen.types import Array


class Transformer(NamedTuple):
    """The transformer blocks of the levels that `UNetVariant.cross_attention` names.

    Attributes:
        depth: blocks one after the other, one number or one per level; the middle has as many as the last level.
        context: whether each block attends to a context behind its self-attention (False: self-attention alone).
        gated: whether the feed-forward layer is GEGLU (True) or GELU (False).
        epsilon: added to the variance in the group norm before the blocks; None is as `UNetVariant.epsilon`.
        middle: whether the middle has them though no level has; where a level has them, so has the middle.
    """

    depth: int | Sequence[int] = 1
    context: bool = True
    gated: bool = True
    epsilon: float | None = None
    middle: bool = False


class UNetVariant(NamedTuple):
    """What some published U-Nets have or do otherwise, and most do without.

    Attributes:
        cross_attention: the levels with a transformer block of self- and cross-attention instead of self-attention;
            where any has, so has the middle.
        transformer: how the transformer blocks of these levels are made.
        middle_attention: whether the middle is two residual blocks with attention between them (True) or without
            (False); None gives it attention where any level has it, and one block alone otherwise.
        middle_groups: groups of the norm before the self-attention of the middle, 0 for no norm there; None is as
            `groups`.
        groups: of the group norms, fewer where a level is narrow.
        group_width: fewest channels of a group.
        epsilon: added to the variance in group norms.
        time_features: ``time_features(t [b], width) -> [b, k]``, what the time embedding starts from.
        vector_layers: dense layers between `vector` and the time embedding that it is added to: 1, or 2 with SiLU
            between them, or 0 for a vector of the width of the embedding, ``4 channels[0]``.
        spade: hidden channels of the convolutions that read a `segmentation`; None for a network without one.
        spade_encoder: whether the `segmentation` enters the encoder and the middle as well as the decoder.
        residual_resampling: change resolution inside residual blocks, by mean and repetition, not by convolutions.
        downsample_padding: zeros before and after each axis where a strided convolution halves the resolution.
        attention_projection: whether self-attention ends in a dense layer.
        vector_parts: widths of the parts of `vector`, each of which goes through two dense layers of its own, with SiLU
            between them, and stands after the embedding of time and label in place of being added to it. With an empty
            list it is one vector, which is added.
        spade_form: how a `segmentation` enters the norms.
        controlled_middle: whether what a `Control` adds to the last skip connection goes into the middle as well.
        remat: compute the activations inside of blocks anew in the backward pass, which saves memory and takes a
            forward pass more (Chen et al. 2016, arXiv 1604.06174); parameters and results stay the same. On CPU
            there is no forward-mode derivative then.
        slices: the batch holds volumes of this many slices each, one slice after the other, and every residual block
            and every attention is followed by a layer across them (`jaxgen.nets.volumetric.VolumetricLayer`), which
            changes nothing at first; 0 for images. The other parameters are those of the network without.
    """

    cross_attention: Sequence[int] = ()
    transformer: Transformer = Transformer()
    middle_attention: bool | None = None
    middle_groups: int | None = None
    groups: int = 32
    group_width: int = 4
    epsilon: float = 1e-5
    time_features: Callable[[Array, int], Array] = sinusoidal
    vector_layers: int = 1
    spade: int | None = None
    spade_encoder: bool = False
    residual_resampling: bool = False
    downsample_padding: tuple[int, int] = (1, 1)
    attention_projection: bool = True
    vector_parts: Sequence[int] = ()
    spade_form: SpadeForm = SpadeForm()
    controlled_middle: bool = False
    remat: bool = False
    slices: int = 0


class Control(NamedTuple):
    """What a ControlNet adds to a U-Net.

    Attributes:
        skips: one array for every skip connection, from the first convolution down to the coarsest level.
        middle: added to the result of the middle.
    """

    skips: tuple[Array, ...]
    middle: Array


class Shape(NamedTuple):
    """A U-Net, with one entry per level for what may differ between levels.

    Attributes:
        channels: width of each level.
        blocks: residual blocks of each level on the way down.
        attention: the levels with self-attention.
        head_width: width of an attention head at each level.
        adaptive: whether embeddings scale and shift the norms, or are added.
        dropout: rate inside the residual blocks.
        patch: pixels along each axis that are folded into channels.
        classes: number of classes, or None.
        variant: the rest; its `time_features` are not used, for a module holds its own.
    """

    channels: tuple[int, ...]
    blocks: tuple[int, ...]
    attention: tuple[int, ...]
    head_width: tuple[int, ...]
    adaptive: bool
    dropout: float
    patch: int
    classes: int | None
    variant: UNetVariant

    @property
    def depth(self) -> tuple[int, ...]:
        """Transformer blocks of each level."""
        return per_level(self.variant.transformer.depth, len(self.channels), "transformer.depth")

    @property
    def middle_attends(self) -> bool:
        """Whether the middle has attention of either kind."""
        if self.variant.middle_attention is None:
            return bool(self.attention) or self.middle_transforms
        return self.variant.middle_attention

    @property
    def middle_transforms(self) -> bool:
        """Whether the attention of the middle, where it has one, is by transformer blocks."""
        return bool(self.variant.cross_attention) or self.variant.transformer.middle

    @property
    def takes_context(self) -> bool:
        """Whether a context must be given."""
        in_middle = self.middle_transforms and self.middle_attends
        return self.variant.transformer.context and (bool(self.variant.cross_attention) or in_middle)

    def check(self, x: Array, label: Array | None, context: Array | None, segmentation: Array | None) -> None:
        """Refuse inputs that do not belong to this network.

        Raises:
            ValueError: if a spatial axis or the batch does not divide, or an input is missing or one too many.
        """
        multiple = self.patch * 2 ** (len(self.channels) - 1)
        if any(n % multiple for n in x.shape[1:-1]):
            raise ValueError(f"spatial shape {x.shape[1:-1]} must be a multiple of {multiple} along every axis")
        if self.variant.slices and x.shape[0] % self.variant.slices:
            raise ValueError(f"a batch of {x.shape[0]} slices holds no whole volumes of {self.variant.slices}")
        if label is not None and self.classes is None:
            raise ValueError("a label was given to a network without classes: give unet its number of classes")
        if (context is not None) != self.takes_context:
            raise ValueError("a context goes with a network that has levels of cross_attention, and only with one")
        if (segmentation is None) != (self.variant.spade is None):
            raise ValueError("a segmentation goes with a network that has spade channels, and only with one")


def per_level(value: int | Sequence[int], levels: int, name: str) -> tuple[int, ...]:
    """One number for every level, from one for all or from a list.

    Raises:
        ValueError: if a list has another length.

    Example:
        >>> per_level(2, 3, "blocks"), per_level([1, 2], 2, "blocks")
        ((2, 2, 2), (1, 2))
    """
    if isinstance(value, int):
        return (value,) * levels
    if len(value) != levels:
        raise ValueError(f"{name} has {len(value)} entries for {levels} levels")
    return tuple(value)


def shape_of(
    channels: Sequence[int],
    *,
    blocks: int | Sequence[int] = 2,
    attention: Sequence[int] = (),
    head_width: int | Sequence[int] = 32,
    adaptive: bool = True,
    dropout: float = 0.0,
    patch: int = 1,
    classes: int | None = None,
    variant: UNetVariant = UNetVariant(),  # noqa: B008  (a tuple, which no one can change)
) -> Shape:
    """The options of `jaxgen.nets.unet` as one record.

    Raises:
        ValueError: if `channels` is empty or a list does not have one entry per level.
    """
    if not channels:
        raise ValueError("channels must name at least one level")
    levels = len(channels)
    transformer = variant.transformer
    if not isinstance(transformer.depth, int):
        transformer = transformer._replace(depth=per_level(transformer.depth, levels, "transformer.depth"))
    return Shape(
        tuple(channels),
        per_level(blocks, levels, "blocks"),
        tuple(attention),
        per_level(head_width, levels, "head_width"),
        adaptive,
        dropout,
        patch,
        classes,
        variant._replace(
            cross_attention=tuple(variant.cross_attention),
            transformer=transformer,
            time_features=sinusoidal,
            vector_parts=tuple(variant.vector_parts),
        ),
    )
