"""Translation against a critic, on pairs: pix2pix, and the game of WGAN-VGG for low-dose CT."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from jaxgen import draws
from jaxgen.families.translation import sources_for
from jaxgen.losses import adversarial as losses
from jaxgen.losses.adversarial import Adversarial
from jaxgen.losses.pixels import absolute_error
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params


class PairedGame(NamedTuple):
    """How generator and critic play on pairs.

    Attributes:
        adversarial: the losses, of `jaxgen.losses.adversarial`.
        content: ``content(answer, target) -> [b]``, the generator's error to the target.
        content_weight: its weight.
        adversarial_weight: that of the generator's adversarial loss; 0 leaves the content alone.
        critic_weight: of the critic's loss.
        gradient_penalty: of the critic's gradient norms other than 1, as for `wasserstein`.
        critic_steps: updates of the critic per step, each on the same pairs with its own random numbers.
        conditional: whether the critic sees the source with its target, or the target alone.
    """

    adversarial: Adversarial = losses.non_saturating()
    content: Callable[[Array, Array], Array] = absolute_error
    content_weight: float = 100.0
    adversarial_weight: float = 1.0
    critic_weight: float = 0.5
    gradient_penalty: float = 0.0
    critic_steps: int = 1
    conditional: bool = True


def translation_gan(generator: Net, critic: Net, game: PairedGame, *, source: str = "source") -> Model:
    """A generator that translates, trained by an error to the target and against a critic of real and made targets.

    The generator minimises ``w_a adversarial(d(G(s))) + w_c content(G(s), x)``, the critic its own side of the game;
    each step takes the gradient of its own player alone, from zero. The defaults of `PairedGame` are those of pix2pix;
    ``PairedGame(wasserstein(), content, 0.1, 1, 1, 10, 4, conditional=False)`` is WGAN-VGG's game.

    Args:
        generator: ``apply(params, s [b, *spatial, k], key=None) -> [b, *spatial, c]``; the key feeds dropout, in
            samples too, the only noise of pix2pix.
        critic: ``apply(params, x, key=None)``, with ``condition=s`` if `game.conditional`; logits ``[b]``, or one a
            patch.
        game: the losses and their weights.
        source: the entry of the batch to translate; ``batch["image"]`` is its target.

    Returns:
        A `Model` with the groups ``"generator"`` and ``"critic"``; ``sample(params, key, n, cond)`` translates sources.

    Raises:
        ValueError: if `game.critic_steps` is less than 1.

    Reference:
        Isola et al. 2017, "Image-to-image translation with conditional adversarial networks", arXiv 1611.07004, eq. 4;
        Yang et al. 2018, "Low-dose CT image denoising using a generative adversarial network with Wasserstein distance
        and perceptual loss", eq. 5 and 6.

    Example:
        >>> import jax
        >>> from jaxgen.nets import dcgan_discriminator, unet
        >>> nets = unet(1, channels=(8,), blocks=1), dcgan_discriminator(channels=(4,), patch=True)
        >>> model = translation_gan(*nets, PairedGame())
        >>> batch = {"source": jnp.zeros((2, 4, 4, 1)), "image": jnp.ones((2, 4, 4, 1))}
        >>> params = model.init(jax.random.key(0), batch)
        >>> model.objectives[1].loss(params, jax.random.key(1), batch)[1]["content"].tolist()
        [1.0, 1.0]
    """
    if game.critic_steps < 1:
        raise ValueError(f"critic_steps must be at least 1, got {game.critic_steps}")

    def seen_with(batch: Batch) -> dict[str, Array]:
        return {"condition": batch[source]} if game.conditional else {}

    def init(key: Key, batch: Batch) -> Params:
        generator_key, critic_key = draws.split(key, 2)
        nets = {"generator": generator.init(generator_key, batch[source])}
        return nets | {"critic": critic.init(critic_key, batch["image"], **seen_with(batch))}

    def critic_loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        dropout_key, between_key = draws.split(key, 2)
        real, extra = batch["image"], seen_with(batch)
        made = generator.apply(params["generator"], batch[source], key=dropout_key).astype(real.dtype)
        answer = lambda x: _one(critic.apply(params["critic"], x, **extra))  # noqa: E731
        logits = answer(real), answer(made)
        value = game.adversarial.critic(*logits)
        info = dict(zip(("logit_real", "logit_made"), map(_each, logits), strict=True))
        if game.gradient_penalty > 0:
            penalty = losses.gradient_penalty(answer, between_key, real, made)
            value, info = value + game.gradient_penalty * penalty, info | {"penalty": penalty}
        return game.critic_weight * value, info

    def generator_loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        real, extra = batch["image"], seen_with(batch)
        made = generator.apply(params["generator"], batch[source], key=key)
        content = game.content(made, real)
        value = game.content_weight * content
        if game.adversarial_weight > 0:
            logits = (_one(critic.apply(params["critic"], x, **extra)) for x in (real, made))
            value = value + game.adversarial_weight * game.adversarial.generator(*logits)
        return value, {"content": content}

    def sample(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        return generator.apply(params["generator"], sources_for(cond, n), key=key)

    players = (Objective("critic", critic_loss),) * game.critic_steps + (Objective("generator", generator_loss),)
    return Model(init, players, sample)


def _one(logits: Array) -> Array:
    """A dense layer's last axis of one logit is no axis of patches."""
    return logits[..., 0] if logits.ndim == 2 and logits.shape[1] == 1 else logits


def _each(value: Array) -> Array:
    return jnp.mean(value.astype(jnp.float32), tuple(range(1, value.ndim)))
