"""Segmentation against a critic: SegAN's game of multi-scale features of the image under a mask."""

import jax
import jax.numpy as jnp

from jaxgen.losses.overlap import soft_dice
from jaxgen.medical.segmentation.classes import class_numbers
from jaxgen.medical.segmentation.deterministic import class_probability, deterministic
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params


def adversarial_segmentation(net: Net, critic: Net, *, weight: float = 1.0) -> Model:
    """A network that segments, against a critic that tells its masks from the truth by the image under them.

    With f the critic's features at every scale, the critic maximises and the network minimises
    ``L = mean_l mean |f_l(image * p) - f_l(image * y)|``; to the network's loss the soft Dice loss is added.

    Args:
        net: from images to logits, see `jaxgen.medical.segmentation.deterministic.deterministic`.
        critic: `jaxgen.nets.multiscale_critic`, of the image times the mask of each class. Keep its parameters within
            bounds (`jaxgen.train.optimizer.bounded`), or it has no best answer.
        weight: of L in the network's loss.

    Returns:
        A `Model` with the groups ``"net"`` and ``"critic"``; batches hold ``image`` and ``distance``;
        ``sample(params, key, n, cond=image)`` gives probabilities.

    Reference:
        Xue et al. 2018, "SegAN", arXiv 1706.01805, eqs. 1 and 2; the soft Dice loss is that of its published code.

    Example:
        >>> from jaxgen.nets import multiscale_critic, unet
        >>> model = adversarial_segmentation(unet(1, channels=(8,), blocks=1), multiscale_critic((4,)))
        >>> batch = {"image": jnp.zeros((2, 8, 8, 1)), "distance": jnp.ones((2, 8, 8, 1))}
        >>> sorted(jax.eval_shape(model.init, jax.random.key(0), batch)), [one.trains for one in model.objectives]
        (['critic', 'net'], ['critic', 'net'])
    """

    def init(key: Key, batch: Batch) -> Params:
        keys = jax.random.split(key)
        under = masked(batch["image"], truth_of(batch))
        return {"net": net.init(keys[0], batch["image"]), "critic": critic.init(keys[1], under)}

    def difference(params: Params, batch: Batch) -> tuple[Array, Array]:
        p = class_probability(net.apply(params["net"], batch["image"]))
        pairs = zip(
            critic.apply(params["critic"], masked(batch["image"], p)),
            critic.apply(params["critic"], masked(batch["image"], truth_of(batch))),
            strict=True,
        )
        each = [jnp.mean(jnp.abs(a - b), axis=tuple(range(1, a.ndim))) for a, b in pairs]
        return jnp.mean(jnp.stack(each), axis=0), p

    def critic_loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        del key
        found, _ = difference(params, batch)
        return -found, {}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        del key
        found, p = difference(params, batch)
        overlap = soft_dice(p, truth_of(batch))
        return weight * found + overlap, {"difference": found, "dice": 1 - overlap}

    return Model(init, (Objective("critic", critic_loss), Objective("net", loss)), deterministic(net).sample)


def soft_dice_segmentation(net: Net) -> Model:
    """The same network trained by the soft Dice loss alone: what the game is compared with.

    Args:
        net: see `adversarial_segmentation`.

    Returns:
        A `Model` with one group ``"net"``, on the same batches, with the same ``sample``.

    Reference:
        Milletari et al. 2016, "V-Net", arXiv 1606.04797, section 3.

    Example:
        >>> from jaxgen.nets import unet
        >>> model = soft_dice_segmentation(unet(1, channels=(8,), blocks=1))
        >>> [one.trains for one in model.objectives]
        ['net']
    """

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        p = class_probability(net.apply(params["net"], batch["image"], key=key))
        overlap = soft_dice(p, truth_of(batch))
        return overlap, {"dice": 1 - overlap}

    plain = deterministic(net)
    return plain._replace(objectives=(Objective("net", loss),))


def truth_of(batch: Batch) -> Array:
    """The masks of the classes ``[b, *spatial, k]``, 0 or 1, that the maps ``batch["distance"]`` stand for."""
    maps = batch["distance"]
    if maps.shape[-1] == 1:
        return (maps <= 0).astype(jnp.float32)
    return jax.nn.one_hot(class_numbers(maps) - 1, maps.shape[-1])


def masked(image: Array, mask: Array) -> Array:
    """The image under the mask of each class, ``[b, *spatial, c k]``; values in [-1, 1] are moved to [0, 1] first.

    Example:
        >>> masked(jnp.array([[1.0, -1.0]]), jnp.array([[1.0, 0.5]])).tolist()
        [[1.0, 0.5, 0.0, 0.0]]
    """
    both = ((image + 1) / 2)[..., :, None] * mask[..., None, :]
    return both.reshape(*image.shape[:-1], -1)
