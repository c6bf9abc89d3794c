"""Diffusion under a text: a network that reads a prompt, trained together with the encoder of the prompt."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp

from jaxgen import draws
from jaxgen.guidance import classifier_free_batched
from jaxgen.losses.diffusion import denoising
from jaxgen.samplers import Sampling, denoiser, sample
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params, Step


def text_diffusion_model(
    net: Net,
    encoder: Net,
    shape: Sequence[int],
    sampling: Sampling,
    *,
    empty: Sequence[int],
    drop: float = 0.1,
    weight: Callable[[Array], Array] | None = None,
    data: str = "image",
    trains: tuple[str, ...] = ("net", "text"),
) -> Model:
    """A diffusion model of ``batch[data]`` given the tokens ``batch["text"]`` ``[b, m]``.

    Trained on ``w(t) mean |net(x_t, t, encoder(text)) - target|^2`` at ``x_t = alpha x0 + sigma noise``; a share `drop`
    of the prompts is replaced by the empty one, so that one network serves both sides of classifier-free guidance.

    Args:
        net: ``apply(params, x [b, *shape], t, context=[b, m, width], key=None)``, such as `jaxgen.nets.unet` with
            ``variant.cross_attention``.
        encoder: ``apply(params, tokens [b, m], key=None) -> [b, m, width]``, such as `jaxgen.nets.clip_text`.
        shape: of one example, ``(*spatial, c)``.
        sampling: the path, the sampler's step and grid, and what the network predicts.
        empty: the tokens ``[m]`` of the empty prompt.
        drop: the share of prompts that training leaves out.
        weight: ``w(t [b]) -> [b]``, one of `jaxgen.losses.weights`; None weighs all times alike.
        data: the entry of the batch to model.
        trains: the groups that learn; the encoder may stay as it is, or the network.

    Returns:
        A `Model` with the groups ``"net"`` and ``"text"``. ``sample(params, key, n, cond=None, guidance=1.0)`` gives
        ``[n, *shape]``; `cond` is tokens ``[n, m]``, and None the empty prompt. A `guidance` of 1 is none, and may be
        a traced number.

    Raises:
        ValueError: if a group that shall learn is none of the two; when sampling, if there is not one prompt per image.

    Reference:
        Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models", arXiv 2112.10752, eq. 3;
        Ho & Salimans 2022, "Classifier-free diffusion guidance", algorithm 1.

    Example:
        >>> import jax
        >>> from jaxgen.nets import UNetVariant, unet
        >>> from jaxgen.nets.clip_text import TextSizes, clip_text
        >>> from jaxgen.paths import cosine
        >>> from jaxgen.samplers import ddim, grids
        >>> net = unet(1, channels=(8,), blocks=1, variant=UNetVariant(cross_attention=(0,)))
        >>> encoder = clip_text(TextSizes(vocabulary=9, length=4, width=8, depth=1, heads=1))
        >>> sampling = Sampling(cosine(), ddim(cosine()), grids.uniform(cosine(), 2), "v")
        >>> model = text_diffusion_model(net, encoder, (4, 4, 1), sampling, empty=(1, 2, 0, 0))
        >>> batch = {"image": jnp.zeros((2, 4, 4, 1)), "text": jnp.ones((2, 4), int)}
        >>> params = jax.eval_shape(model.init, jax.random.key(0), batch)
        >>> draw = lambda params: model.sample(params, jax.random.key(1), 2, batch["text"], guidance=4.0)
        >>> sorted(params), jax.eval_shape(draw, params).shape
        (['net', 'text'], (2, 4, 4, 1))
    """
    if not trains or set(trains) - {"net", "text"}:
        raise ValueError(f"trains must name net, text or both, got {trains}")
    path, step, grid, prediction = sampling
    assert isinstance(step, Step)
    nothing = jnp.asarray(empty, jnp.int32)

    def init(key: Key, batch: Batch) -> Params:
        net_key, text_key = draws.split(key, 2)
        x, tokens = batch[data], batch["text"]
        text = encoder.init(text_key, tokens)
        context = encoder.apply(text, tokens)
        return {"net": net.init(net_key, x, jnp.zeros(x.shape[:1]), context=context), "text": text}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        x, tokens = batch[data], batch["text"]
        loss_key, drop_key, net_key, text_key = draws.split(key, 4)
        dropped = draws.bernoulli(drop_key, drop, tokens.shape[:1])
        tokens = jnp.where(dropped[:, None], nothing, tokens)
        context = encoder.apply(params["text"], tokens, key=text_key)

        def predict(x_t: Array, t: Array) -> Array:
            return net.apply(params["net"], x_t, t, context=context, key=net_key)

        return denoising(predict, path, loss_key, x, prediction=prediction, weight=weight), {}

    def draw(params: Params, key: Key, n: int, cond: Array | None = None, guidance: float | Array = 1.0) -> Array:
        null = jnp.broadcast_to(nothing, (n, len(nothing)))
        if cond is not None and cond.shape != null.shape:
            raise ValueError(f"prompts of shape {cond.shape} for {n} images: give {len(nothing)} tokens for each")
        noise_key, step_key = draws.split(key, 2)
        start = path.sigma(jnp.asarray(path.t_noise, jnp.float32)) * draws.normal(noise_key, (n, *shape))

        def denoise(x: Array, t: Array, context: Array) -> Array:
            return denoiser(lambda x, t: net.apply(params["net"], x, t, context=context), path, prediction)(x, t)

        def context_of(tokens: Array) -> Array:
            return encoder.apply(params["text"], tokens)

        if cond is None:
            context = context_of(null)
            return sample(step, lambda x, t: denoise(x, t, context), step_key, start, grid)
        guided = classifier_free_batched(denoise, context_of(cond), context_of(null), guidance)
        return sample(step, guided, step_key, start, grid)

    return Model(init, (Objective(trains, loss),), draw)
