"""Synthetic images for a classifier: trained on real images, on synthetic ones or on both, for as many steps."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.families.findings import findings_model
from jaxgen.imaging import random_crop, random_flip
from jaxgen.nets import classifier
from jaxgen.train import TrainState, init_state, make_optimizer, make_train_step
from jaxgen.types import Array, Batch, Key, Net, Params

SHIFT = 1 / 12
"""How far images are moved at most, in widths."""
CONTRAST = 0.2
"""By how much they are stretched and raised at most, as a share of their range."""
CHUNK = 256
"""Images that are classified together."""


class Labelled(NamedTuple):
    """Images ``[n, h, w, c]`` in [-1, 1] and their findings ``[n, k]``, zeros and ones."""

    image: np.ndarray
    findings: np.ndarray


class Training(NamedTuple):
    """How every classifier is trained, whatever the images.

    Attributes:
        net: the classifier, from images to logits ``[b, k]``.
        steps: of training.
        batch_size: images a step.
        rate: peak learning rate.
        share: of the synthetic images in a batch where there are both kinds.
    """

    net: Net
    steps: int = 600
    batch_size: int = 32
    rate: float = 2e-3
    share: float = 0.5


def small_classifier(findings: int) -> Net:
    """The classifier that experiments train where the data are small."""
    return classifier(findings, channels=(16, 32, 64), blocks=1, patch=2)


def classical(key: Key, batch: Batch) -> Batch:
    """Images mirrored, moved, stretched and raised at random: what real images are varied by without a model.

    Example:
        >>> batch = {"image": jnp.zeros((2, 12, 12, 1)), "findings": jnp.ones((2, 3))}
        >>> classical(jax.random.key(0), batch)["image"].shape
        (2, 12, 12, 1)
    """
    flip_key, move_key, gain_key, shift_key = draws.split(key, 4)
    image = batch["image"]
    size, most = image.shape[1:-1], max(1, round(SHIFT * image.shape[2]))
    padded = jnp.pad(image, ((0, 0), *[(most, most)] * len(size), (0, 0)), mode="edge")
    moved = random_crop(move_key, {"image": padded}, size=size)
    image = random_flip(flip_key, moved, axes=(len(size) - 1,))["image"]
    one = (len(image), *(1,) * (image.ndim - 1))
    gain, raised = (1 + CONTRAST * (2 * draws.uniform(k, one) - 1) for k in (gain_key, shift_key))
    return {**batch, "image": gain * image + raised - 1}


def fit(
    training: Training,
    real: Labelled | None,
    synthetic: Labelled | None = None,
    *,
    seeds: Sequence[int] = (0,),
    vary: Callable[[Key, Batch], Batch] | None = None,
) -> list[Callable[[np.ndarray], np.ndarray]]:
    """Train classifiers, by one compiled program.

    Args:
        training: how.
        real: real images, or none.
        synthetic: synthetic images, or none; of both each batch holds its share.
        seeds: of the start, the batches and the variations of each classifier.
        vary: what is done to batches, such as `classical`.

    Returns:
        For each seed ``images [n, h, w, c] -> probability of each finding [n, k]``.

    Raises:
        ValueError: if there are neither real nor synthetic images.
    """
    sets = [one for one in (real, synthetic) if one is not None]
    if not sets:
        raise ValueError("a classifier needs images: give real or synthetic ones")
    mixed = round(training.share * training.batch_size)
    counts = (training.batch_size - mixed, mixed) if len(sets) == 2 else (training.batch_size,)
    arrays = [{"image": jnp.asarray(one.image), "findings": jnp.asarray(one.findings, jnp.float32)} for one in sets]
    model = findings_model(training.net)
    optimizers = {"net": make_optimizer(training.rate, training.steps // 10, training.steps, clip=1.0)}
    step = make_train_step(model, optimizers, ema_decay=0.0, prepare=vary)
    first = {name: x[:1] for name, x in arrays[0].items()}

    def one(key: Key, state: TrainState, number: Array) -> tuple[TrainState, dict[str, Array]]:
        keys = jax.random.split(jax.random.fold_in(key, number), len(arrays))
        chosen = [
            jax.random.randint(key, (n,), 0, len(part["image"]))
            for key, part, n in zip(keys, arrays, counts, strict=True)
        ]
        parts = [{name: x[i] for name, x in part.items()} for part, i in zip(arrays, chosen, strict=True)]
        return step(state, {name: jnp.concatenate([part[name] for part in parts]) for name in parts[0]})

    @jax.jit
    def trained(key: Key) -> Params:
        start_key, batch_key = jax.random.split(key)
        state = init_state(model, optimizers, start_key, first)
        return jax.lax.scan(partial(one, batch_key), state, jnp.arange(training.steps))[0].params["net"]

    probability = jax.jit(lambda params, x: jax.nn.sigmoid(training.net.apply(params, x)))

    def predict(params: Params, images: np.ndarray) -> np.ndarray:
        chunks = [images[i : i + CHUNK] for i in range(0, len(images), CHUNK)]
        return np.concatenate([np.asarray(probability(params, chunk)) for chunk in chunks])

    return [partial(predict, trained(jax.random.key(seed))) for seed in seeds]


def compared(
    training: Training, real: Labelled, synthetic: Labelled, test: Labelled, score: Callable[..., float], seeds: int = 3
) -> dict[str, dict[str, float]]:
    """Classifiers of several seeds: on real images, these varied as usual, with synthetic ones, and on those alone.

    Args:
        training: how each is trained.
        real: real images.
        synthetic: synthetic ones.
        test: real images that are held out.
        score: of probabilities and findings ``[n, k]``, higher is better.
        seeds: how many of each.

    Returns:
        By set of images ``score``, the mean over seeds, and ``spread``, the standard deviation.
    """
    sets = {
        "real images": (real, None, None),
        "real images, varied": (real, None, classical),
        "real and synthetic images, varied": (real, synthetic, classical),
        "synthetic images, varied": (None, synthetic, classical),
    }
    found = {}
    for name, (own, drawn, vary) in sets.items():
        predictors = fit(training, own, drawn, seeds=range(seeds), vary=vary)
        scores = [score(predict(test.image), test.findings) for predict in predictors]
        found[name] = {"score": float(np.mean(scores)), "spread": float(np.std(scores, ddof=1)) if seeds > 1 else 0.0}
    return found
