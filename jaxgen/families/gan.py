"""Generative adversarial networks as a model: a generator and a critic that learn against each other."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.losses import adversarial as losses
from jaxgen.losses.adversarial import Adversarial
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params


class Game(NamedTuple):
    """How generator and critic play.

    Attributes:
        adversarial: the losses, of `jaxgen.losses.adversarial`; None for `relativistic`.
        r1: weight gamma of half the squared gradient norm at real examples.
        r2: the same at generated examples.
        gradient_penalty: weight of the penalty of gradient norms other than 1 between the two, as for `wasserstein`.
        critic_steps: updates of the critic per step.
    """

    adversarial: Adversarial | None = None
    r1: float = 0.0
    r2: float = 0.0
    gradient_penalty: float = 0.0
    critic_steps: int = 1


def gan_model(
    generator: Net,
    critic: Net,
    shape: Sequence[int],
    *,
    latent: int,
    game: Game = Game(),  # noqa: B008  (a tuple, which no one can change)
    augment: Callable[[Key, Array], Array] | None = None,
    data: str = "image",
    classes: int | None = None,
    condition: str | None = None,
) -> Model:
    """A generative adversarial network of ``batch[data]``, of all of it, class by class, or given an image.

    The critic minimises ``critic loss + r1 / 2 R1 + r2 / 2 R2 + gradient_penalty GP`` of a batch of real examples and
    as many generated ones, ``game.critic_steps`` times with fresh latents, then the generator its loss. Generated
    examples have the labels and conditions of the batch, so that a relativistic pair is of one class.

    Args:
        generator: ``apply(params, z [b, latent]) -> [b, *shape]``; with `classes` ``label=[b]`` as well, with
            `condition` ``condition=[b, *spatial, k]``. Such as `jaxgen.nets.residual_generator`, or a U-Net of one's
            own.
        critic: ``apply(params, x [b, *shape])``, with the same extra arguments, to logits ``[b]`` or, one a patch,
            ``[b, *spatial]``.
        shape: of one example.
        latent: numbers in a latent vector, standard normal.
        game: the losses, the critic's penalties and its steps.
        augment: ``augment(key, x) -> x``, differentiable, applied to all that the critic sees, such as
            `jaxgen.imaging.differentiable_augment`; with a `condition` it must leave pixels in their place.
        data: the entry of the batch to model.
        classes: the number of labels in ``batch["label"]``, integers ``[b]``; None for no labels.
        condition: the entry of the batch with the image to condition on; None for none.

    Returns:
        A `Model` with the groups ``"generator"`` and ``"critic"`` and no ``log_prob``. ``sample(params, key, n,
        cond=None)`` gives ``[n, *shape]``; `cond` is labels ``[n]`` (None draws them evenly), or the image condition,
        or with both a dict of ``label`` and ``condition``. The critic logs ``accuracy``, the share of pairs in which
        the real example has the larger logit; ``accuracy_real`` and ``accuracy_generated``, the shares on their side
        of the losses' boundary where they have one; ``logit_real``, ``logit_generated``; and ``penalty``, the weighed
        sum, where there is any.

    Raises:
        ValueError: if `game.critic_steps` is less than 1; when sampling, if `cond` does not fit the model.

    Reference:
        Goodfellow et al. 2014, arXiv 1406.2661, algorithm 1; the defaults with ``r1 = r2 > 0`` are those of Huang et
        al. 2024, "The GAN is dead; long live the GAN!", arXiv 2501.05441.

    Example:
        >>> import jax
        >>> from jaxgen.nets import mlp
        >>> nets, game = (mlp(2, widths=(8,)), mlp(1, widths=(8,))), Game(r1=1.0, r2=1.0)
        >>> model = gan_model(*nets, (2,), latent=4, game=game, data="x")
        >>> params = model.init(jax.random.key(0), {"x": jnp.zeros((3, 2))})
        >>> model.sample(params, jax.random.key(1), 5).shape
        (5, 2)
    """
    if game.critic_steps < 1:
        raise ValueError(f"critic_steps must be at least 1, got {game.critic_steps}")
    adversarial, r1, r2, gradient_penalty, critic_steps = game
    if adversarial is None:
        adversarial = losses.relativistic()
    shape = tuple(shape)

    def given(batch: Batch) -> dict[str, Array]:
        label = {} if classes is None else {"label": batch["label"]}
        return label if condition is None else label | {"condition": batch[condition]}

    def logits_of(params: Params, x: Array, extra: Mapping[str, Array], key: Key) -> Array:
        logits = critic.apply(params["critic"], x, key=key, **extra)
        # A dense layer's last axis of one logit is no axis of patches.
        return logits[..., 0] if logits.ndim == 2 and logits.shape[1] == 1 else logits

    def init(key: Key, batch: Batch) -> Params:
        generator_key, critic_key = draws.split(key, 2)
        x, extra = batch[data], given(batch)
        z = jnp.zeros((x.shape[0], latent))
        return {"generator": generator.init(generator_key, z, **extra), "critic": critic.init(critic_key, x, **extra)}

    def sides(params: Params, key: Key, batch: Batch) -> tuple[Array, Array, Callable[[Array], Array], Key]:
        """Real and generated examples as the critic sees them, the critic, and a key to go on with."""
        z_key, dropout_key, real_key, generated_key, critic_key, rest = draws.split(key, 6)
        real, extra = batch[data], given(batch)
        z = draws.normal(z_key, (real.shape[0], latent))
        generated = generator.apply(params["generator"], z, key=dropout_key, **extra).astype(real.dtype)
        if augment is not None:
            real, generated = augment(real_key, real), augment(generated_key, generated)
        return real, generated, lambda x: logits_of(params, x, extra, critic_key), rest

    def critic_loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        real, generated, critic_of, rest = sides(params, key, batch)
        penalty = jnp.zeros(real.shape[0])

        def seen(x: Array, weight: float) -> tuple[Array, Array | float]:
            if weight == 0:
                return critic_of(x), 0.0
            logits, square = losses.squared_gradient(critic_of, x)
            return logits, 0.5 * weight * square

        real_logits, at_real = seen(real, r1)
        generated_logits, at_generated = seen(generated, r2)
        penalty = penalty + at_real + at_generated
        if gradient_penalty > 0:
            penalty = penalty + gradient_penalty * losses.gradient_penalty(critic_of, rest, real, generated)
        a, b = (_each(logits.astype(jnp.float32)) for logits in (real_logits, generated_logits))
        info = {"accuracy": _share(a > b), "logit_real": a, "logit_generated": b}
        if adversarial.boundary is not None:
            info |= {
                "accuracy_real": _share(a > adversarial.boundary),
                "accuracy_generated": _share(b < adversarial.boundary),
            }
        if r1 or r2 or gradient_penalty:
            info["penalty"] = penalty
        return adversarial.critic(real_logits, generated_logits) + penalty, info

    def generator_loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        real, generated, critic_of, _ = sides(params, key, batch)
        return adversarial.generator(critic_of(real), critic_of(generated)), {}

    def conditions(key: Key, n: int, cond: Any) -> dict[str, Array]:
        named = dict(cond) if isinstance(cond, Mapping) else {}
        if cond is not None and not named:
            if classes is None and condition is None:
                raise ValueError("this model is unconditional: leave cond out")
            if classes is not None and condition is not None:
                raise ValueError("this model has labels and a condition: give cond as a dict of label and condition")
            named = {"condition" if classes is None else "label": cond}
        if classes is not None and named.get("label") is None:
            drawn = jnp.floor(classes * draws.uniform(key, (n,))).astype(jnp.int32)
            named["label"] = jnp.minimum(drawn, classes - 1)
        wanted = [name for name, there in (("label", classes), ("condition", condition)) if there is not None]
        if sorted(named) != sorted(wanted):
            raise ValueError(f"cond must have {wanted}, got {sorted(named)}")
        if any(value.shape[0] != n for value in named.values()):
            raise ValueError(f"cond has {[value.shape for value in named.values()]} for {n} examples: give one each")
        return named

    def sample(params: Params, key: Key, n: int, cond: Any = None) -> Array:
        z_key, label_key = draws.split(key, 2)
        extra = conditions(label_key, n, cond)
        return generator.apply(params["generator"], draws.normal(z_key, (n, latent)), **extra)

    players = (Objective("critic", critic_loss),) * critic_steps + (Objective("generator", generator_loss),)
    return Model(init, players, sample)


def latent_arcs(
    generator: Net,
    params: Params,
    key: Key,
    latent: int,
    shape: tuple[int, int],
    label: Array | np.ndarray | None = None,
) -> Array:
    """Images on arcs between pairs of latent vectors.

    ``G(cos(a) z_0 + sin(a) z_1)`` with a from 0 to a right angle: like z_0 and z_1, all of these are draws of the
    standard normal distribution.

    Args:
        generator: the generator ``apply(params, z)``, with ``label=`` if there are labels.
        params: its parameters.
        key: one key.
        latent: the latent dimension.
        shape: the number of pairs, and of images from one end to the other.
        label: ``[pairs]``, the class of each pair; None for a generator that knows none.

    Returns:
        ``[pairs, images, *spatial, c]``, cut to [-1, 1].
    """
    rows, columns = shape
    ends = jax.random.normal(key, (rows, 2, 1, latent))
    angle = np.linspace(0, np.pi / 2, columns)[None, :, None].astype(np.float32)
    z = (np.cos(angle) * ends[:, 0] + np.sin(angle) * ends[:, 1]).reshape(rows * columns, -1)
    inputs = {} if label is None else {"label": jnp.repeat(jnp.asarray(label), columns)}
    drawn = jax.jit(lambda z, inputs: jnp.clip(generator.apply(params, z, **inputs), -1, 1))(z, inputs)
    return drawn.reshape(rows, columns, *drawn.shape[1:])


def _each(value: Array) -> Array:
    return jnp.mean(value, tuple(range(1, value.ndim)))


def _share(true: Array) -> Array:
    return true.astype(jnp.float32)
