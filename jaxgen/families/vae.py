"""Variational autoencoders, with the likelihoods that their decoders can have."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.losses import autoencoding
from jaxgen.losses import likelihood as densities
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params


class Likelihood(NamedTuple):
    """The distribution p(x | z) around the output of a decoder.

    Attributes:
        init: ``init() -> params``, the parameters it has of its own (a dict, empty if none).
        negative_log: ``(params, answer [b, *shape], x [b, *shape]) -> [b]``, nats.
        mean: ``(params, answer) -> [b, *shape]``, the mean of the distribution.
    """

    init: Callable[[], Params]
    negative_log: Callable[[Params, Array, Array], Array]
    mean: Callable[[Params, Array], Array]


def gaussian_likelihood(scale: float | None = None, *, start: float = 1.0) -> Likelihood:
    """A Gaussian around the decoder's output with one standard deviation for all pixels, learned or given.

    A learned standard deviation settles at the root mean square error, which sets the weight of the divergence by the
    data rather than by hand. A fixed one of 1 is the common squared error, and a hidden beta.

    Args:
        scale: the standard deviation; None learns it.
        start: where a learned one starts.

    Returns:
        The likelihood.

    Reference:
        Rybkin et al. 2021, "Simple and effective VAE training with calibrated decoders", section 3 (sigma-VAE).

    Example:
        >>> likelihood = gaussian_likelihood(1.0)
        >>> round(float(likelihood.negative_log(likelihood.init(), jnp.zeros((1, 2)), jnp.zeros((1, 2)))[0]), 4)
        1.8379
    """

    def init() -> Params:
        return {} if scale is not None else {"log_scale": jnp.log(jnp.float32(start))}

    def negative_log(params: Params, answer: Array, x: Array) -> Array:
        deviation = scale if scale is not None else jnp.exp(params["log_scale"].astype(jnp.float32))
        return densities.gaussian(answer, x, deviation)

    return Likelihood(init, negative_log, lambda params, answer: answer)


def bernoulli_likelihood() -> Likelihood:
    """Coins whose logits the decoder answers, for images in [0, 1].

    Returns:
        The likelihood; its mean is ``sigmoid(answer)``.

    Example:
        >>> likelihood = bernoulli_likelihood()
        >>> round(float(likelihood.negative_log({}, jnp.zeros((1, 1)), jnp.ones((1, 1)))[0]), 4)
        0.6931
    """
    return Likelihood(
        dict, lambda params, answer, x: densities.bernoulli(answer, x), lambda params, answer: jax.nn.sigmoid(answer)
    )


def logistic_likelihood(*, bins: int = 256, start: float = 0.1) -> Likelihood:
    """A logistic distribution around the decoder's output, discretised to the values of the data; its scale is learned.

    Its likelihood is a probability, so ``log_prob`` needs no dequantised data.

    Args:
        bins: the number of values, evenly from -1 to 1.
        start: where the scale starts.

    Returns:
        The likelihood; its mean is taken to be the decoder's answer, cut to [-1, 1].

    Example:
        >>> likelihood = logistic_likelihood(bins=2)
        >>> round(float(likelihood.negative_log(likelihood.init(), jnp.zeros((1, 1)), jnp.ones((1, 1)))[0]), 4)
        0.6931
    """

    def negative_log(params: Params, answer: Array, x: Array) -> Array:
        scale = jnp.exp(params["log_scale"].astype(jnp.float32))
        return densities.discretised_logistic(answer, x, scale, bins=bins)

    init = lambda: {"log_scale": jnp.log(jnp.float32(start))}  # noqa: E731
    return Likelihood(init, negative_log, lambda params, answer: jnp.clip(answer, -1, 1))


def posterior(encoder: Net, params: Params, x: Array, key: Key | None = None) -> tuple[Array, Array]:
    """The diagonal Gaussian of the code that an encoder outputs: the halves of its last axis.

    Args:
        encoder: ``apply(params, x, key=None) -> [b, *code, 2 c]``.
        params: its parameters.
        x: ``[b, *shape]``.
        key: for dropout.

    Returns:
        The pair (mean, log-variance), float32 ``[b, *code, c]``; the log-variance is kept within -30 and 20.

    Example:
        >>> twice = Net(lambda key, x: {}, lambda params, x, key=None: jnp.concatenate([x, 0 * x], -1))
        >>> posterior(twice, {}, jnp.ones((1, 2)))[0].tolist()
        [[1.0, 1.0]]
    """
    mean, log_variance = jnp.split(encoder.apply(params, x, key=key).astype(jnp.float32), 2, axis=-1)
    return mean, jnp.clip(log_variance, -30.0, 20.0)


def draw_code(key: Key, mean: Array, log_variance: Array) -> Array:
    """A draw from a diagonal Gaussian, ``mean + exp(log_variance / 2) noise``, through which gradients pass.

    Args:
        key: one key, or keys ``[b]``.
        mean: ``[b, *code]``.
        log_variance: of the same shape.

    Returns:
        ``[b, *code]``.

    Reference:
        Kingma & Welling 2014, "Auto-encoding variational Bayes", section 2.4.

    Example:
        >>> draw_code(jax.random.key(0), jnp.ones((2, 3)), jnp.full((2, 3), -30.0)).round(3).sum().item()
        6.0
    """
    return mean + jnp.exp(0.5 * log_variance) * draws.normal(key, mean.shape)


def vae_model(
    encoder: Net,
    decoder: Net,
    code: Sequence[int],
    likelihood: Likelihood,
    *,
    beta: float = 1.0,
    free_bits: float = 0.0,
    warm_up: bool = False,
    data: str = "image",
) -> Model:
    """A variational autoencoder of ``batch[data]`` with a standard normal prior.

    Trained on ``-log p(x | z) + beta KL(q(z | x) | N(0, 1))`` at one draw z of the posterior, which the encoder gives
    as mean and log-variance.

    Args:
        encoder: ``apply(params, x [b, *shape]) -> [b, *code[:-1], 2 code[-1]]``.
        decoder: ``apply(params, z [b, *code]) -> [b, *shape]``, the output that `likelihood` reads.
        code: the shape of z, ``(d,)`` or ``(*spatial, c)``.
        likelihood: p(x | z): `gaussian_likelihood`, `bernoulli_likelihood` or `logistic_likelihood`.
        beta: the weight of the divergence; above 1 the code says less, and more plainly.
        free_bits: nats of divergence that each dimension of the code has for nothing while training.
        warm_up: raise the weight from 0 to beta in the first steps. How far it has come is a group ``"warm_up"`` of
            one number, which an objective of its own moves by the learning rate at each step: its optimizer
            ``optax.sgd(1 / steps)`` makes a warm-up of that number of steps.
        data: the entry of the batch to model.

    Returns:
        A `Model` with the groups ``"encoder"``, ``"decoder"`` and, if the likelihood has parameters, ``"law"``, learned
        together; it logs the parts of the bound and how many entries of the code say more than 0.01 nats.
        ``sample(params, key, n)`` gives
        the means of p(x | z), without its noise. ``log_prob(params, key, x, cond=None, draws_of_code=64)`` is the
        importance-weighted lower bound of log p(x), whatever beta and free bits were.

    Reference:
        Kingma & Welling 2014, arXiv 1312.6114; beta: Higgins et al. 2017; free bits: Kingma et al. 2016, arXiv
        1606.04934; warm-up: Sonderby et al. 2016, arXiv 1602.02282; the bound: Burda et al. 2016, arXiv 1509.00519.

    Example:
        >>> from jaxgen.nets import mlp
        >>> model = vae_model(mlp(4, widths=()), mlp(3, widths=()), (2,), gaussian_likelihood(), data="x")
        >>> batch = {"x": jnp.zeros((5, 3))}
        >>> params = model.init(jax.random.key(0), batch)
        >>> key = jax.random.key(1)
        >>> model.sample(params, key, 7).shape, model.log_prob(params, key, batch["x"]).shape
        ((7, 3), (5,))
    """
    learns = bool(likelihood.init())

    def init(key: Key, batch: Batch) -> Params:
        encoder_key, decoder_key = draws.split(key, 2)
        x = batch[data]
        params = {
            "encoder": encoder.init(encoder_key, x),
            "decoder": decoder.init(decoder_key, jnp.zeros((x.shape[0], *code))),
            **({"law": likelihood.init()} if learns else {}),
        }
        return params | ({"warm_up": {"done": jnp.zeros(())}} if warm_up else {})

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        encoder_key, code_key, decoder_key = draws.split(key, 3)
        x = batch[data]
        mean, log_variance = posterior(encoder, params["encoder"], x, encoder_key)
        z = draw_code(code_key, mean, log_variance)
        answer = decoder.apply(params["decoder"], z, key=decoder_key)
        reconstruction = likelihood.negative_log(params.get("law", {}), answer, x)
        divergence = autoencoding.gaussian_divergence(mean, log_variance)
        weight = beta * jnp.clip(params["warm_up"]["done"].astype(jnp.float32), 0, 1) if warm_up else beta
        value = autoencoding.negative_elbo(reconstruction, autoencoding.free_bits(divergence, free_bits), weight)
        kl = jnp.sum(divergence, tuple(range(1, divergence.ndim)))
        info = {
            "reconstruction": reconstruction,
            "divergence": kl,
            "in_use": jnp.sum(jnp.mean(divergence, 0) > 0.01).astype(jnp.float32),
        }
        return value, info

    def tick(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        return jnp.broadcast_to(-params["warm_up"]["done"], batch[data].shape[:1]), {}

    def sample(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        if cond is not None:
            raise ValueError("this model is unconditional: leave cond out")
        z = draws.normal(key, (n, *code))
        return likelihood.mean(params.get("law", {}), decoder.apply(params["decoder"], z))

    def log_prob(params: Params, key: Key, x: Array, cond: Array | None = None, *, draws_of_code: int = 64) -> Array:
        if cond is not None:
            raise ValueError("this model is unconditional: leave cond out")
        mean, log_variance = posterior(encoder, params["encoder"], x)

        def weight(code_key: Key) -> Array:
            noise = draws.normal(code_key, mean.shape)
            z = mean + jnp.exp(0.5 * log_variance) * noise
            answer = decoder.apply(params["decoder"], z)
            axes = tuple(range(1, z.ndim))
            log_ratio = 0.5 * jnp.sum(noise**2 + log_variance - z**2, axes)  # log p(z) - log q(z | x)
            return log_ratio - likelihood.negative_log(params.get("law", {}), answer, x)

        return autoencoding.importance_weighted_bound(jax.lax.map(weight, draws.split(key, draws_of_code)))

    trained = ("encoder", "decoder", *(("law",) if learns else ()))
    objectives = (Objective(trained, loss),) + ((Objective("warm_up", tick),) if warm_up else ())
    return Model(init, objectives, sample, log_prob)
