"""Autoencoders: a code from which an image can be reconstructed; and denoising ones, which undo a corruption."""

from collections.abc import Callable

import jax.numpy as jnp

from jaxgen import draws
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params

Corrupt = Callable[[Key, Array], Array]


def squared_error(x: Array, target: Array, weight: Array | None = None) -> Array:
    """``sum w (x - target)^2 / sum w`` over all but the first axis; float32 ``[b]``.

    Args:
        x: ``[b, *spatial, c]``.
        target: of the same shape.
        weight: w, of any shape that broadcasts; None weighs all alike.

    Returns:
        Float32 ``[b]``, 0 where no weight is above 0.

    Example:
        >>> squared_error(jnp.array([[1.0, 3.0]]), jnp.zeros((1, 2)), jnp.array([[0.0, 1.0]])).tolist()
        [9.0]
    """
    error = jnp.square(x.astype(jnp.float32) - target.astype(jnp.float32))
    axes = tuple(range(1, error.ndim))
    if weight is None:
        return jnp.mean(error, axes)
    weight = jnp.broadcast_to(weight.astype(jnp.float32), error.shape)
    return jnp.sum(weight * error, axes) / jnp.maximum(jnp.sum(weight, axes), 1e-12)


def _no_sample(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
    raise TypeError("an autoencoder has no prior to draw codes from: a VAE has one, and an adversarial autoencoder")


def autoencoder_model(encoder: Net, decoder: Net, *, corrupt: Corrupt | None = None, data: str = "image") -> Model:
    """An autoencoder of ``batch[data]``, trained on ``mean |decoder(encoder(x)) - x|^2``.

    With `corrupt` the encoder sees ``corrupt(key, x)`` and x is to be reconstructed.

    Args:
        encoder: ``apply(params, x [b, *shape]) -> code``.
        decoder: ``apply(params, code) -> [b, *shape]``.
        corrupt: ``(key [b], x) -> x``, such as the functions of `jaxgen.imaging.noise`.
        data: the entry of the batch to model.

    Returns:
        A `Model` with the groups ``"encoder"`` and ``"decoder"``, learned together. It has no prior to draw from:
        ``sample`` raises `TypeError`.

    Reference:
        Hinton & Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks"; with `corrupt` Vincent
        et al. 2008, "Extracting and composing robust features with denoising autoencoders".

    Example:
        >>> import jax
        >>> from jaxgen.nets import mlp
        >>> model = autoencoder_model(mlp(1, widths=(8,)), mlp(2, widths=(8,)), data="x")
        >>> batch = {"x": jnp.zeros((3, 2))}
        >>> loss, _ = model.objectives[0].loss(model.init(jax.random.key(0), batch), jax.random.key(1), batch)
        >>> loss.shape
        (3,)
    """

    def init(key: Key, batch: Batch) -> Params:
        encoder_key, decoder_key = draws.split(key, 2)
        params = encoder.init(encoder_key, batch[data])
        return {"encoder": params, "decoder": decoder.init(decoder_key, encoder.apply(params, batch[data]))}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        corrupt_key, encoder_key, decoder_key = draws.split(key, 3)
        x = batch[data]
        seen = x if corrupt is None else corrupt(corrupt_key, x)
        code = encoder.apply(params["encoder"], seen, key=encoder_key)
        return squared_error(decoder.apply(params["decoder"], code, key=decoder_key), x), {}

    return Model(init, (Objective(("encoder", "decoder"), loss),), _no_sample)


def denoising_autoencoder_model(
    net: Net, corrupt: Corrupt, *, data: str = "image", weight: Callable[[Array], Array] | None = None
) -> Model:
    """A network that undoes a corruption, trained on ``mean w |net(corrupt(x)) - x|^2``; it may have skip connections.

    With normal noise of standard deviation s the best network knows the score of the noisy data:
    ``(net(y) - y) / s^2 = grad log p_s(y)``.

    Args:
        net: ``apply(params, x [b, *shape]) -> [b, *shape]``, such as `jaxgen.nets.unet` without a time.
        corrupt: ``(key [b], x) -> x``, such as the functions of `jaxgen.imaging.noise`.
        data: the entry of the batch to model.
        weight: ``w(x)`` of each pixel of the clean image, such as its foreground; None weighs all alike.

    Returns:
        A `Model` with one group ``"net"``; ``sample`` raises `TypeError`.

    Reference:
        Vincent 2011, "A connection between score matching and denoising autoencoders", eq. 11 and section 4; Kascenas
        et al. 2022, "Denoising autoencoders for unsupervised anomaly detection in brain MRI".

    Example:
        >>> import jax
        >>> from jaxgen.nets import mlp
        >>> noisy = lambda key, x: x + 0.1 * draws.normal(key, x.shape)
        >>> model = denoising_autoencoder_model(mlp(2, widths=(8,)), noisy, data="x")
        >>> batch = {"x": jnp.zeros((3, 2))}
        >>> model.objectives[0].loss(model.init(jax.random.key(0), batch), jax.random.key(1), batch)[0].shape
        (3,)
    """

    def init(key: Key, batch: Batch) -> Params:
        return {"net": net.init(key, batch[data])}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        corrupt_key, net_key = draws.split(key, 2)
        x = batch[data]
        restored = net.apply(params["net"], corrupt(corrupt_key, x), key=net_key)
        return squared_error(restored, x, None if weight is None else weight(x)), {}

    return Model(init, (Objective("net", loss),), _no_sample)
