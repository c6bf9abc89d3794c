"""ControlNet on a frozen text diffusion model: only a copy of its encoder learns, with an image as a hint."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.guidance import classifier_free_batched
from jaxgen.losses.diffusion import denoising
from jaxgen.nets import controlnet_from_unet
from jaxgen.nets.unet_variant import Control
from jaxgen.samplers import Sampling, denoiser, sample
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params, Step


class ControlledNets(NamedTuple):
    """The networks of a controlled diffusion model.

    Attributes:
        net: the U-Net, as of `jaxgen.families.text_diffusion_model`.
        encoder: of the text, the same.
        control: ``apply(params, x, t, hint, context=..., key=None) -> Control``, `jaxgen.nets.controlnet` with the
            options of the U-Net.
    """

    net: Net
    encoder: Net
    control: Net


def controlnet_model(
    nets: ControlledNets,
    shape: Sequence[int],
    sampling: Sampling,
    *,
    empty: Sequence[int],
    base: Params | None = None,
    drop: float = 0.5,
    weight: Callable[[Array], Array] | None = None,
    data: str = "image",
    hint: str = "control",
) -> Model:
    """A text diffusion model of ``batch[data]`` that is steered by the images ``batch[hint]``, itself unchanged.

    Trained on ``w(t) mean |net(x_t, t, c, control(x_t, t, c, hint)) - target|^2`` with ``c = encoder(text)``, in the
    parameters of the ControlNet alone. These start as a copy of the U-Net's encoder and middle, with zero convolutions:
    at first the model is the base, to the bit. A large share of the prompts is left out, so that the ControlNet learns
    to read from the hint what the prompt does not say.

    Args:
        nets: the networks.
        shape: of one example, ``(*spatial, c)``.
        sampling: the path, the sampler's step and grid, and what the network predicts.
        empty: the tokens ``[m]`` of the empty prompt.
        base: the trained parameters of U-Net and encoder, ``{"net": ..., "text": ...}``; None for random ones, whose
            zero layers let no gradient into the copy: of use for shapes and tests alone.
        drop: the share of prompts that training leaves out.
        weight: ``w(t [b]) -> [b]``, one of `jaxgen.losses.weights`; None weighs all times alike.
        data: the entry of the batch to model.
        hint: the entry of the batch with the hints ``[b, *spatial, k]`` in [0, 1].

    Returns:
        A `Model` with the groups ``"net"`` and ``"text"``, which nothing trains, and ``"control"``. ``sample(params,
        key, n, cond=None, guidance=1.0, hint=None, strength=1.0)`` gives ``[n, *shape]``; `cond` is tokens ``[n, m]``
        or None for the empty prompt, `hint` ``[n, *spatial, k]`` or None for the base model, and `strength` multiplies
        what the ControlNet adds. Both sides of the guidance by the prompt see the hint. Numbers may be traced.

    Raises:
        ValueError: if the ControlNet was not made with the options of the U-Net; when sampling, if there is not one
            prompt and one hint per image.

    Reference:
        Zhang et al. 2023, "Adding conditional control to text-to-image diffusion models", arXiv 2302.05543, eq. 2 to 5.

    Example:
        >>> from jaxgen.nets import UNetVariant, controlnet, unet
        >>> from jaxgen.nets.clip_text import TextSizes, clip_text
        >>> from jaxgen.paths import cosine
        >>> from jaxgen.samplers import ddim, grids
        >>> options = {"channels": (8,), "blocks": 1, "variant": UNetVariant(cross_attention=(0,))}
        >>> encoder = clip_text(TextSizes(vocabulary=9, length=4, width=8, depth=1, heads=1))
        >>> nets = ControlledNets(unet(1, **options), encoder, controlnet(hint_channels=(4, 8), **options))
        >>> sampling = Sampling(cosine(), ddim(cosine()), grids.uniform(cosine(), 2), "v")
        >>> model = controlnet_model(nets, (4, 4, 1), sampling, empty=(1, 2, 0, 0))
        >>> batch = {"image": jnp.zeros((2, 4, 4, 1)), "text": jnp.ones((2, 4), int), "control": jnp.ones((2, 8, 8, 3))}
        >>> params = jax.eval_shape(model.init, jax.random.key(0), batch)
        >>> draw = lambda params: model.sample(params, jax.random.key(1), 2, batch["text"], hint=batch["control"])
        >>> sorted(params), model.objectives[0].trains, jax.eval_shape(draw, params).shape
        (['control', 'net', 'text'], 'control', (2, 4, 4, 1))
    """
    path, step, grid, prediction = sampling
    assert isinstance(step, Step)
    nothing = jnp.asarray(empty, jnp.int32)

    def init(key: Key, batch: Batch) -> Params:
        net_key, text_key, control_key = draws.split(key, 3)
        x, tokens = batch[data], batch["text"]
        t = jnp.zeros(x.shape[:1])
        text = nets.encoder.init(text_key, tokens) if base is None else base["text"]
        context = nets.encoder.apply(text, tokens)
        net = nets.net.init(net_key, x, t, context=context) if base is None else base["net"]
        new = nets.control.init(control_key, x, t, batch[hint], context=context)
        return {"net": net, "text": text, "control": controlnet_from_unet(net, new)}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        x, tokens = batch[data], batch["text"]
        loss_key, drop_key, control_key = draws.split(key, 3)
        dropped = draws.bernoulli(drop_key, drop, tokens.shape[:1])
        context = nets.encoder.apply(params["text"], jnp.where(dropped[:, None], nothing, tokens))

        def predict(x_t: Array, t: Array) -> Array:
            control = nets.control.apply(params["control"], x_t, t, batch[hint], context=context, key=control_key)
            return nets.net.apply(params["net"], x_t, t, context=context, control=control)

        return denoising(predict, path, loss_key, x, prediction=prediction, weight=weight), {}

    def draw(
        params: Params,
        key: Key,
        n: int,
        cond: Array | None = None,
        guidance: float | Array = 1.0,
        hint: Array | None = None,
        strength: float | Array = 1.0,
    ) -> Array:
        null = jnp.broadcast_to(nothing, (n, len(nothing)))
        if cond is not None and cond.shape != null.shape:
            raise ValueError(f"prompts of shape {cond.shape} for {n} images: give {len(nothing)} tokens for each")
        if hint is not None and len(hint) != n:
            raise ValueError(f"{len(hint)} hints for {n} images: give one for each")
        noise_key, step_key = draws.split(key, 2)
        start = path.sigma(jnp.asarray(path.t_noise, jnp.float32)) * draws.normal(noise_key, (n, *shape))

        def predict(x: Array, t: Array, context: Array, hint: Array | None) -> Array:
            if hint is None:
                return nets.net.apply(params["net"], x, t, context=context)
            added = nets.control.apply(params["control"], x, t, hint, context=context)
            control: Control = jax.tree.map(lambda a: strength * a, added)
            return nets.net.apply(params["net"], x, t, context=context, control=control)

        def denoise(x: Array, t: Array, condition: tuple[Array, Array | None]) -> Array:
            return denoiser(lambda x, t: predict(x, t, *condition), path, prediction)(x, t)

        def under(tokens: Array) -> tuple[Array, Array | None]:
            return nets.encoder.apply(params["text"], tokens), hint

        if cond is None:
            condition = under(null)
            return sample(step, lambda x, t: denoise(x, t, condition), step_key, start, grid)
        guided = classifier_free_batched(denoise, under(cond), under(null), guidance)
        return sample(step, guided, step_key, start, grid)

    return Model(init, (Objective("control", loss),), draw)
