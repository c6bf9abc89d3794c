"""Adversarial autoencoders: a critic matches the codes to a chosen prior; also with labels of a few images."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.families.autoencoder import Corrupt, squared_error
from jaxgen.losses.adversarial import Adversarial, non_saturating, r1, r2
from jaxgen.losses.likelihood import categorical
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params

Prior = Callable[[Key, int], Array]


def normal_prior(dimensions: int, deviation: float = 1.0) -> Prior:
    """A round Gaussian of codes.

    Args:
        dimensions: d.
        deviation: its standard deviation along every axis.

    Returns:
        ``(key, n) -> [n, d]``; the key is one, or one for each of the n.

    Example:
        >>> normal_prior(8)(jax.random.key(0), 3).shape
        (3, 8)
    """
    return lambda key, n: deviation * draws.normal(key, (n, dimensions))


def ring_prior(count: int = 10, radius: float = 4.0, along: float = 1.0, across: float = 0.3) -> Prior:
    """Gaussians in the plane, evenly round a circle and drawn out along its radius: petals.

    Args:
        count: how many.
        radius: of their centres.
        along: standard deviation along the radius.
        across: standard deviation across it.

    Returns:
        ``(key, n) -> [n, 2]``.

    Reference:
        Makhzani et al. 2015, "Adversarial autoencoders", arXiv 1511.05644, section 2.3, for the form.

    Example:
        >>> ring_prior()(jax.random.key(0), 3).shape
        (3, 2)
    """

    def draw(key: Key, n: int) -> Array:
        which_key, place_key = draws.split(key, 2)
        angle = 2 * jnp.pi / count * jnp.floor(count * draws.uniform(which_key, (n,)))
        place = draws.normal(place_key, (n, 2)) * jnp.array([along, across]) + jnp.array([radius, 0.0])
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        return jnp.stack([cos * place[:, 0] - sin * place[:, 1], sin * place[:, 0] + cos * place[:, 1]], -1)

    return draw


def swiss_roll_prior(turns: float = 2.0, radius: float = 4.0, deviation: float = 0.1) -> Prior:
    """A blurred spiral in the plane, about even along its arm.

    Args:
        turns: how often the arm goes round.
        radius: where it ends.
        deviation: of the normal noise round it.

    Returns:
        ``(key, n) -> [n, 2]``.

    Reference:
        Makhzani et al. 2015, "Adversarial autoencoders", arXiv 1511.05644, section 2.3.

    Example:
        >>> swiss_roll_prior()(jax.random.key(0), 3).shape
        (3, 2)
    """

    def draw(key: Key, n: int) -> Array:
        place_key, noise_key = draws.split(key, 2)
        share = jnp.sqrt(draws.uniform(place_key, (n,)))  # the arm's length grows with the square of the angle
        angle = 2 * jnp.pi * turns * share
        point = radius * share[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)
        return point + deviation * draws.normal(noise_key, (n, 2))

    return draw


def _criticise(
    losses: Adversarial, penalty: float, critic: Net, params: Params, drawn: Array, found: Array
) -> tuple[Array, dict[str, Array]]:
    """The critic's loss, and how often it is right, given draws of the prior and codes."""
    real, generated = critic.apply(params, drawn), critic.apply(params, found)
    right: dict[str, Array] = {}
    if losses.boundary is not None:
        at = losses.boundary
        right["critic_right"] = 0.5 * (jnp.mean(real > at) + jnp.mean(generated < at))
    value = losses.critic(real, generated)
    if penalty:
        answer = lambda z: critic.apply(params, z)  # noqa: E731
        value += 0.5 * penalty * (r1(answer, drawn) + r2(answer, found))
    return value, right


def _pass(losses: Adversarial, critic: Net, params: Params, drawn: Array, found: Array) -> Array:
    """What it costs codes to be told from draws of the prior."""
    return losses.generator(critic.apply(params, drawn), critic.apply(params, found))


def adversarial_autoencoder_model(
    encoder: Net,
    decoder: Net,
    critic: Net,
    prior: Prior,
    *,
    losses: Adversarial | None = None,
    penalty: float = 0.0,
    weight: float = 1.0,
    corrupt: Corrupt | None = None,
    data: str = "image",
) -> Model:
    """An adversarial autoencoder of ``batch[data]``: codes that reconstruct it, distributed as the prior.

    Three objectives a step: encoder and decoder on ``mean |decoder(encoder(x)) - x|^2``; the critic on telling codes
    from draws of the prior; the encoder on passing for the prior. A schedule of the encoder's optimizer counts two
    updates a step.

    Of a prior in separate pieces expect less: with eight Gaussians on a circle as prior a test holds the codes within
    twice the two-sample floor of their MMD to it where each has a standard deviation of 0.4; where they have 0.2 and
    are well apart, no setting that was tried came so near.

    Args:
        encoder: ``apply(params, x [b, *shape]) -> [b, d]``; the code is a function of x.
        decoder: ``apply(params, z [b, d]) -> [b, *shape]``.
        critic: ``apply(params, z [b, d]) -> [b]`` or ``[b, 1]``, logits.
        prior: ``(key, n) -> [n, d]``: `normal_prior`, `ring_prior`, `swiss_roll_prior` or any other distribution.
        losses: of critic and encoder; None for `jaxgen.losses.adversarial.non_saturating`, the paper's.
        penalty: gamma, the weight of the critic's squared gradient, ``gamma / 2 (r1 + r2)`` at draws and codes: it
            keeps the game from going in circles. The paper has none.
        weight: of passing for the prior, relative to the reconstruction.
        corrupt: ``(key [b], x) -> x``, applied before the encoder where x is to be reconstructed; None leaves x alone.
        data: the entry of the batch to model.

    Returns:
        A `Model` with the groups ``"encoder"``, ``"decoder"`` and ``"critic"``; it logs how often the critic is right.
        ``sample(params, key, n)`` decodes draws of the prior.

    Reference:
        Makhzani et al. 2015, "Adversarial autoencoders", arXiv 1511.05644, section 2.

    Example:
        >>> from jaxgen.nets import mlp
        >>> model = adversarial_autoencoder_model(mlp(2), mlp(3), mlp(1), normal_prior(2), data="x")
        >>> params = model.init(jax.random.key(0), {"x": jnp.zeros((5, 3))})
        >>> [objective.groups for objective in model.objectives]
        [('encoder', 'decoder'), ('critic',), ('encoder',)]
        >>> model.sample(params, jax.random.key(1), 7).shape
        (7, 3)
    """
    losses = losses or non_saturating()

    def init(key: Key, batch: Batch) -> Params:
        encoder_key, decoder_key, critic_key = draws.split(key, 3)
        params = encoder.init(encoder_key, batch[data])
        z = encoder.apply(params, batch[data])
        return {"encoder": params, "decoder": decoder.init(decoder_key, z), "critic": critic.init(critic_key, z)}

    def reconstruct(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        corrupt_key, encoder_key, decoder_key = draws.split(key, 3)
        x = batch[data]
        seen = x if corrupt is None else corrupt(corrupt_key, x)
        z = encoder.apply(params["encoder"], seen, key=encoder_key)
        return squared_error(decoder.apply(params["decoder"], z, key=decoder_key), x), {}

    def against(params: Params, key: Key, batch: Batch) -> tuple[Params, Array, Array]:
        x = batch[data]
        z = encoder.apply(params["encoder"], x)
        return params["critic"], prior(key, x.shape[0]).astype(z.dtype), z

    def criticise(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        return _criticise(losses, penalty, critic, *against(params, key, batch))

    def pass_for_prior(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        return weight * _pass(losses, critic, *against(params, key, batch)), {}

    def sample(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        if cond is not None:
            raise ValueError("this model is unconditional: leave cond out")
        return decoder.apply(params["decoder"], prior(key, n))

    objectives = (
        Objective(("encoder", "decoder"), reconstruct),
        Objective("critic", criticise),
        Objective("encoder", pass_for_prior),
    )
    return Model(init, objectives, sample)


class SemiSupervisedNets(NamedTuple):
    """The networks of `semi_supervised_adversarial_autoencoder_model`.

    Attributes:
        encoder: ``apply(params, x [b, *shape]) -> [b, classes + d]``: logits of the class, then the style.
        decoder: ``apply(params, [b, classes + d]) -> [b, *shape]``, given class probabilities and style.
        critic: of styles, ``apply(params, z [b, d]) -> [b]`` or ``[b, 1]``, logits.
        class_critic: of classes, ``apply(params, y [b, classes])``, likewise.
    """

    encoder: Net
    decoder: Net
    critic: Net
    class_critic: Net


def semi_supervised_adversarial_autoencoder_model(
    nets: SemiSupervisedNets,
    prior: Prior,
    classes: int,
    *,
    losses: Adversarial | None = None,
    penalty: float = 0.0,
    weight: float = 1.0,
    label_weight: float = 1.0,
    corrupt: Corrupt | None = None,
    data: str = "image",
    label: str = "label",
) -> Model:
    """An adversarial autoencoder whose code has a class and a style, and which learns the class from few labels.

    The encoder answers ``[b, classes + d]``: logits of the class y, then the style z. x is reconstructed from (y, z);
    one critic holds z to its prior, another the probabilities y to draws of equally likely classes, so that they become
    sure and cover all classes; cross-entropy ties them to the labels of those examples that have one. Examples
    without a label have the label -1.

    Args:
        nets: the networks.
        prior: of styles, ``(key, n) -> [n, d]``.
        classes: how many.
        losses: of critics and encoder; None for `jaxgen.losses.adversarial.non_saturating`, the paper's.
        penalty: gamma, the weight of the critics' squared gradients, as of `adversarial_autoencoder_model`.
        weight: of passing for the priors.
        label_weight: of the cross-entropy of labelled examples.
        corrupt: ``(key [b], x) -> x``, before the encoder in every objective: it keeps the few labels from being learnt
            by heart; None leaves x alone.
        data: the entry of the batch to model.
        label: the entry with integers ``[b]``, -1 where there is no label.

    Returns:
        A `Model` with the groups ``"encoder"``, ``"decoder"``, ``"critic"`` and ``"class_critic"``. ``sample(params,
        key, n, cond=None)`` decodes draws of the prior with the classes `cond` ``[n]``, or random ones. The class of
        an image is the largest of the first entries of its code.

    Reference:
        Makhzani et al. 2015, "Adversarial autoencoders", arXiv 1511.05644, section 4.

    Example:
        >>> from jaxgen.nets import mlp
        >>> nets = SemiSupervisedNets(mlp(3 + 2), mlp(4), mlp(1), mlp(1))
        >>> model = semi_supervised_adversarial_autoencoder_model(nets, normal_prior(2), 3, data="x")
        >>> params = model.init(jax.random.key(0), {"x": jnp.zeros((5, 4)), "label": jnp.zeros(5, int)})
        >>> model.sample(params, jax.random.key(1), 7, jnp.zeros(7, int)).shape
        (7, 4)
    """
    encoder, decoder, critic, class_critic = nets
    losses = losses or non_saturating()

    def encode(params: Params, key: Key, x: Array) -> tuple[Array, Array]:
        """Logits of the class, and the style."""
        corrupt_key, encoder_key = draws.split(key, 2)
        seen = x if corrupt is None else corrupt(corrupt_key, x)
        answer = encoder.apply(params["encoder"], seen, key=encoder_key)
        return answer[:, :classes], answer[:, classes:]

    def random_classes(key: Key, n: int) -> Array:
        chosen = jnp.floor(classes * draws.uniform(key, (n,))).astype(jnp.int32)
        return jax.nn.one_hot(chosen, classes)

    def init(key: Key, batch: Batch) -> Params:
        encoder_key, decoder_key, critic_key, class_key = draws.split(key, 4)
        params = encoder.init(encoder_key, batch[data])
        answer = encoder.apply(params, batch[data])
        return {
            "encoder": params,
            "decoder": decoder.init(decoder_key, answer),
            "critic": critic.init(critic_key, answer[:, classes:]),
            "class_critic": class_critic.init(class_key, answer[:, :classes]),
        }

    def reconstruct(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        encode_key, decoder_key = draws.split(key, 2)
        logits, z = encode(params, encode_key, batch[data])
        code = jnp.concatenate([jax.nn.softmax(logits), z], -1)
        return squared_error(decoder.apply(params["decoder"], code, key=decoder_key), batch[data]), {}

    def criticise(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        prior_key, encode_key = draws.split(key, 2)
        _, z = encode(params, encode_key, batch[data])
        return _criticise(losses, penalty, critic, params["critic"], prior(prior_key, len(z)).astype(z.dtype), z)

    def criticise_classes(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        class_key, encode_key = draws.split(key, 2)
        y = jax.nn.softmax(encode(params, encode_key, batch[data])[0])
        drawn = random_classes(class_key, len(y)).astype(y.dtype)
        return _criticise(losses, penalty, class_critic, params["class_critic"], drawn, y)

    def learn_encoder(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        prior_key, class_key, encode_key = draws.split(key, 3)
        logits, z = encode(params, encode_key, batch[data])
        y = jax.nn.softmax(logits)
        passing = _pass(losses, critic, params["critic"], prior(prior_key, len(z)).astype(z.dtype), z)
        drawn = random_classes(class_key, len(y)).astype(y.dtype)
        passing += _pass(losses, class_critic, params["class_critic"], drawn, y)
        surprise = categorical(logits, jnp.maximum(batch[label], 0))
        surprise = jnp.where(batch[label] >= 0, surprise, 0)
        return weight * passing + label_weight * surprise, {"surprise": surprise}

    def sample(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        style_key, class_key = draws.split(key, 2)
        y = random_classes(class_key, n) if cond is None else jax.nn.one_hot(cond, classes)
        return decoder.apply(params["decoder"], jnp.concatenate([y, prior(style_key, n)], -1))

    objectives = (
        Objective(("encoder", "decoder"), reconstruct),
        Objective("critic", criticise),
        Objective("class_critic", criticise_classes),
        Objective("encoder", learn_encoder),
    )
    return Model(init, objectives, sample)


PRIORS: dict[str, Callable[[int], Prior]] = {
    "normal": normal_prior,
    "ring": lambda dimensions: ring_prior(),
    "swiss_roll": lambda dimensions: swiss_roll_prior(),
}
"""Priors by name, of a number of dimensions; ring and swiss_roll have two."""
