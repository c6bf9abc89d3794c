"""A classifier as a model: of clean images, or of images at every level of noise, as guidance needs."""

from collections.abc import Callable

import jax.numpy as jnp

from jaxgen import draws
from jaxgen.losses.likelihood import categorical
from jaxgen.losses.times import uniform_time
from jaxgen.paths import Path, perturb
from jaxgen.types import Array, Batch, Info, Key, Model, Net, NoiseDistribution, Objective, Params


def classifier_model(
    net: Net,
    *,
    path: Path | None = None,
    noise: NoiseDistribution = draws.normal,
    time: Callable[[Path, Key, int], Array] = uniform_time,
    data: str = "image",
    label: str = "label",
) -> Model:
    """A classifier trained by cross-entropy, ``-log p(label | x_t)``; with a path, at a random time of it.

    Args:
        net: ``apply(params, x [b, *spatial, c], t [b] or None, key=None) -> logits [b, classes]``, such as
            `jaxgen.nets.classifier`.
        path: the path that noises the images; None trains on clean ones, and the network gets no time.
        noise: what the path mixes in.
        time: distribution of the training times, ``(path, key, n) -> [n]``.
        data: the entry of the batch with the images.
        label: the entry with their labels, integers ``[b]``; or ``[b, *spatial]`` where the network answers for each
            pixel.

    Returns:
        A `Model` with one group ``"net"``, which logs the accuracy. It draws nothing: ``sample`` raises `TypeError`.

    Reference:
        Dhariwal & Nichol 2021, "Diffusion models beat GANs on image synthesis", arXiv 2105.05233, section 4.

    Example:
        >>> import jax
        >>> from jaxgen.nets import classifier
        >>> model = classifier_model(classifier(3, channels=(8,), blocks=1))
        >>> batch = {"image": jnp.zeros((2, 4, 4, 1)), "label": jnp.array([0, 2])}
        >>> loss, info = model.objectives[0].loss(model.init(jax.random.key(0), batch), jax.random.key(1), batch)
        >>> [round(float(value), 4) for value in loss]
        [1.0986, 1.0986]
    """

    def inputs(x: Array, key: Key) -> tuple[Array, ...]:
        if path is None:
            return (x,)
        time_key, noise_key = draws.split(key, 2)
        t = time(path, time_key, x.shape[0])
        return perturb(path, x, noise(noise_key, x.shape), t).astype(x.dtype), t

    def init(key: Key, batch: Batch) -> Params:
        x = batch[data]
        times = () if path is None else (jnp.zeros(x.shape[:1]),)
        return {"net": net.init(key, x, *times)}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        input_key, dropout_key = draws.split(key, 2)
        logits = net.apply(params["net"], *inputs(batch[data], input_key), key=dropout_key)
        correct = jnp.argmax(logits, axis=-1) == batch[label]
        accuracy = jnp.mean(correct.astype(jnp.float32), axis=tuple(range(1, correct.ndim)))
        return categorical(logits, batch[label], reduce="mean"), {"accuracy": accuracy}

    def sample(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        raise TypeError("a classifier draws nothing")

    return Model(init, (Objective("net", loss),), sample)
