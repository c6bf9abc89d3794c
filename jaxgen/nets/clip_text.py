"""CLIP's text transformer: a prompt's tokens become the context that images are drawn under."""

from collections.abc import Callable
from typing import NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.nets import layers, ops
from jaxgen.nets.attention import MultiHeadAttention
from jaxgen.nets.door import float32_answer
from jaxgen.types import Array, Key, Net, Params


def quick_gelu(x: Array) -> Array:
    """``x sigmoid(1.702 x)``, the approximation of GELU that CLIP was trained with."""
    return x * jax.nn.sigmoid(1.702 * x)


def exact_gelu(x: Array) -> Array:
    """``x Phi(x)`` with the distribution function of a standard Gaussian, not its approximation by tanh."""
    return nn.gelu(x, approximate=False)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"quick_gelu": quick_gelu, "gelu": exact_gelu}


class _Block(nn.Module):
    heads: int
    hidden: int
    activation: str
    epsilon: float

    @nn.compact
    def __call__(self, x: Array) -> Array:
        c = x.shape[-1]
        h = layers.LayerNorm(self.epsilon)(x)
        x = x + MultiHeadAttention(self.heads, causal=True)(h)
        h = layers.Dense(self.hidden)(layers.LayerNorm(self.epsilon)(x))
        return ops.block_end(x + layers.Dense(c)(ACTIVATIONS[self.activation](h)))


class TextSizes(NamedTuple):
    """The sizes of a text transformer.

    Attributes:
        vocabulary: number of tokens it knows.
        length: most tokens of a prompt.
        width: of a token.
        depth: number of blocks.
        heads: attention heads, a divisor of `width`.
        hidden: hidden layer of the feed-forward layers; None for four times `width`.
    """

    vocabulary: int = 49408
    length: int = 77
    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int | None = None


class _ClipText(nn.Module):
    sizes: TextSizes
    depth: int
    activation: str
    epsilon: float

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        vocabulary, length, width, _, heads, hidden = self.sizes
        table = self.param("tokens", nn.initializers.normal(0.02), (vocabulary, width))
        positions = self.param("positions", nn.initializers.normal(0.01), (length, width))
        known = jnp.where(tokens < 0, vocabulary, tokens)
        h = jnp.take(table, known, axis=0, mode="fill", fill_value=jnp.nan) + positions[: tokens.shape[1]]

        def body(block: nn.Module, h: Array) -> tuple[Array, None]:
            return block(h), None

        # Equal blocks, scanned: one is compiled, not `depth`; for its gradient a block keeps its matrix products only.
        body = nn.remat(body, policy=jax.checkpoint_policies.dots_saveable, prevent_cse=False)
        stack = nn.scan(body, variable_axes={"params": 0}, split_rngs={"params": True}, length=self.depth)
        block = _Block(heads, hidden or 4 * width, self.activation, self.epsilon, name="blocks")
        h, _ = stack(block, h)
        return layers.LayerNorm(self.epsilon)(h)


def clip_text(
    sizes: TextSizes = TextSizes(),  # noqa: B008  (a tuple, which no one can change)
    *,
    activation: str = "quick_gelu",
    epsilon: float = 1e-5,
    skip: int = 0,
) -> Net:
    """The text transformer of CLIP: every token is answered by a vector that has seen the tokens before it.

    ``apply(params, tokens, key=None)`` maps integers ``[b, n]`` to ``[b, n, width]``, with n at most ``sizes.length``:
    embeddings of tokens and of positions are added, equal blocks of causal self-attention and feed-forward layers
    follow, each behind a layer norm, and a last norm. A token out of range gives NaN. `key` has no effect. No token is
    masked as padding: Stable Diffusion attends to what fills a prompt up, too.

    The sizes of published models, (width, depth, heads): ViT-L/14, the text encoder of Stable Diffusion 1, (768, 12,
    12); OpenCLIP's ViT-H/14, of Stable Diffusion 2, (1024, 24, 16), of which it leaves out the last block. A model of
    one's own on short captions does with (64, 2, 2) and 16 tokens.

    Args:
        sizes: of the transformer.
        activation: of the feed-forward layers, ``"quick_gelu"`` (as OpenAI's models) or ``"gelu"`` (as OpenCLIP's).
        epsilon: added to the variance in layer norms.
        skip: the last blocks that are left out, though they have parameters; the last norm is applied all the same.

    Returns:
        A `Net`.

    Raises:
        ValueError: if the activation is another, not one block would be left, or (at `init` and `apply`) the heads do
            not divide the width, or there are too many tokens.

    Reference:
        Radford et al. 2021, "Learning transferable visual models from natural language supervision", arXiv 2103.00020,
        section 2.4; quick GELU: Hendrycks & Gimpel 2016, arXiv 1606.08415, section 2.

    Example:
        >>> net = clip_text(TextSizes(vocabulary=50, length=16, width=8, depth=2, heads=2))
        >>> shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((3, 16), int))
        >>> jax.eval_shape(net.apply, shapes, jnp.zeros((3, 16), int)).shape
        (3, 16, 8)
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    if not 0 <= skip < sizes.depth:
        raise ValueError(f"skip must be from 0 to {sizes.depth - 1} of {sizes.depth} blocks, got {skip}")
    whole = _ClipText(sizes, sizes.depth, activation, epsilon)
    used = _ClipText(sizes, sizes.depth - skip, activation, epsilon)

    def check(tokens: Array) -> None:
        if tokens.shape[1] > sizes.length:
            raise ValueError(f"a prompt has at most {sizes.length} tokens here, got {tokens.shape[1]}")

    def init(key: Key, tokens: Array) -> Params:
        check(tokens)
        return whole.init(key, tokens)["params"]

    def apply(params: Params, tokens: Array, *, key: Key | None = None) -> Array:
        del key
        check(tokens)
        if skip:
            params = {**params, "blocks": jax.tree.map(lambda x: x[: sizes.depth - skip], params["blocks"])}
        return cast(Array, used.apply({"params": params}, tokens))

    return float32_answer(Net(init, apply))
