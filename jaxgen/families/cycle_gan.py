"""CycleGAN: translation in both directions, learnt from images of two kinds that are no pairs."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxgen import draws
from jaxgen.families.translation import sources_for
from jaxgen.losses.adversarial import Adversarial, least_squares
from jaxgen.losses.pixels import absolute_error
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params

KINDS = ("image", "source")
"""The entries of a batch: targets, and sources."""


class CycleNets(NamedTuple):
    """The four networks of a CycleGAN.

    Attributes:
        to_image: from sources to targets.
        to_source: and back.
        critic_image: of real and of made targets, logits ``[b]`` or one a patch.
        critic_source: of sources.
    """

    to_image: Net
    to_source: Net
    critic_image: Net
    critic_source: Net


class CycleGame(NamedTuple):
    """The losses of a CycleGAN.

    Attributes:
        adversarial: the losses, of `jaxgen.losses.adversarial`.
        cycle: weight of the error of images that were translated there and back.
        identity: weight of the change of an image that is of the wanted kind already, times `cycle`.
        pool: made images of each kind that are kept, to show to the critics later; 0 shows the last ones only.
    """

    adversarial: Adversarial = least_squares()
    cycle: float = 10.0
    identity: float = 0.5
    pool: int = 50


def cycle_gan(nets: CycleNets, game: CycleGame = CycleGame()) -> Model:  # noqa: B008  (a tuple, which no one can change)
    """Two generators and two critics, trained on batches whose sources and targets have nothing to do with each other.

    With F from sources s to targets x and G back, both minimise ``adversarial(d_x(F s)) + adversarial(d_s(G x)) + cycle
    (|G F s - s| + |F G x - x|) + cycle identity (|F x - x| + |G s - s|)``, the critics half of theirs.

    The pool of made images is a group of parameters, ``"pool"``: half of what the critics see of a batch comes from it,
    and what was made takes that place. The critics' objective carries ``|pool - wanted|^2 / 2``, so that one step of
    gradient descent with rate 1 (``optax.sgd(1.0)``, the optimizer that the group needs) puts there what is wanted,
    and all of training stays a function of its state. It starts with what the untrained generators make. (With
    ``--parallel pmap`` each device fills in the mean of all devices: use ``jit``.)

    Args:
        nets: the networks.
        game: the losses.

    Returns:
        A `Model` with the groups ``"to_image"``, ``"to_source"``, ``"critic_image"``, ``"critic_source"`` and, unless
        `game.pool` is 0, ``"pool"``; ``sample(params, key, n, cond)`` translates sources to targets.

    Reference:
        Zhu et al. 2017, "Unpaired image-to-image translation using cycle-consistent adversarial networks", arXiv
        1703.10593, eq. 3 and section 4; the pool: Shrivastava et al. 2017, arXiv 1612.07828, section 2.3.

    Example:
        >>> import jax
        >>> same = Net(lambda key, x: {}, lambda params, x, key=None: x)
        >>> sure = Net(lambda key, x: {}, lambda params, x, key=None: jnp.ones(x.shape[:1]))
        >>> model, x = cycle_gan(CycleNets(same, same, sure, sure), CycleGame(pool=0)), jnp.ones((1, 2, 2, 1))
        >>> batch = {"image": x, "source": x}
        >>> params = model.init(jax.random.key(0), batch)
        >>> model.objectives[0].loss(params, jax.random.key(1), batch)[0].tolist()
        [0.0]
    """
    makers = {"image": ("to_image", nets.to_image), "source": ("to_source", nets.to_source)}
    critics = {"image": ("critic_image", nets.critic_image), "source": ("critic_source", nets.critic_source)}
    other = {"image": "source", "source": "image"}

    def make(params: Params, kind: str, x: Array, key: Key | None = None) -> Array:
        name, net = makers[kind]
        return net.apply(params[name], x, key=key)

    def seen(params: Params, kind: str, x: Array) -> Array:
        name, net = critics[kind]
        return net.apply(params[name], x)

    def init(key: Key, batch: Batch) -> Params:
        keys = iter(draws.split(key, 4))
        params: Params = {}
        for kind in KINDS:
            params[makers[kind][0]] = makers[kind][1].init(next(keys), batch[other[kind]])
            params[critics[kind][0]] = critics[kind][1].init(next(keys), batch[kind])
        if game.pool:
            made = {kind: make(params, kind, batch[other[kind]]) for kind in KINDS}
            params["pool"] = {kind: {"entries": _repeated(x, game.pool)} for kind, x in made.items()}
        return params

    def generators_loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        keys = iter(draws.split(key, 6))
        parts = {name: jnp.zeros(len(batch["image"]), jnp.float32) for name in ("adversarial", "cycle", "identity")}
        for kind in KINDS:
            real, start = batch[kind], batch[other[kind]]
            made = make(params, kind, start, next(keys))
            back = make(params, other[kind], made, next(keys))
            parts["adversarial"] += game.adversarial.generator(seen(params, kind, real), seen(params, kind, made))
            parts["cycle"] += absolute_error(back, start)
            if game.identity > 0:
                parts["identity"] += absolute_error(make(params, kind, real, next(keys)), real)
        rest = game.cycle * (parts["cycle"] + game.identity * parts["identity"])
        return parts["adversarial"] + rest, parts

    def critics_loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        keys = iter(draws.split(key, 6))
        value, kept = jnp.zeros(len(batch["image"]), jnp.float32), jnp.zeros(())
        info: dict[str, Array] = {}
        for kind in KINDS:
            made = make(params, kind, batch[other[kind]], next(keys)).astype(jnp.float32)
            if game.pool:
                entries = params["pool"][kind]["entries"]
                made, wanted = _exchanged(next(keys), next(keys), entries, made)
                kept = kept + 0.5 * jnp.sum(jnp.square(entries - wanted))
            logits = seen(params, kind, batch[kind]), seen(params, kind, made)
            value += game.adversarial.critic(*logits)
            info |= {f"logit_{kind}": _each(logits[0]), f"logit_made_{kind}": _each(logits[1])}
        # The value of the pool's term is no loss: only its gradient counts.
        return 0.5 * value + kept - lax.stop_gradient(kept), info

    def sample(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        return make(params, "image", sources_for(cond, n), key)

    trained = ("critic_image", "critic_source", *(("pool",) if game.pool else ()))
    players = (Objective(("to_image", "to_source"), generators_loss), Objective(trained, critics_loss))
    return Model(init, players, sample)


def _exchanged(coin_key: Key, place_key: Key, entries: Array, made: Array) -> tuple[Array, Array]:
    """What the critic is shown, and the pool afterwards; both constants for the gradient."""
    entries, made = lax.stop_gradient(entries), lax.stop_gradient(made)
    b, size = len(made), len(entries)
    old = draws.uniform(coin_key, (b,)) < 0.5
    place = jnp.minimum(jnp.floor(size * draws.uniform(place_key, (b,))).astype(jnp.int32), size - 1)
    shown = jnp.where(old.reshape(b, *(1,) * (made.ndim - 1)), entries[place], made)
    return shown, entries.at[jnp.where(old, place, size)].set(made, mode="drop")


def _repeated(x: Array, n: int) -> Array:
    return jnp.tile(x.astype(jnp.float32), (-(-n // len(x)), *(1,) * (x.ndim - 1)))[:n]


def _each(value: Array) -> Array:
    return jnp.mean(value.astype(jnp.float32), tuple(range(1, value.ndim)))
