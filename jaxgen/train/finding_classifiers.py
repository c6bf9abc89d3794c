"""Synthetic images for a classifier: trained on real images, on synthetic ones or on both, for as many steps."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.chunks import in_chunks
from jaxgen.families.findings import findings_model
from jaxgen.imaging.variations import classical
from jaxgen.nets import plain_classifier
from jaxgen.train.optimizer import make_optimizer
from jaxgen.train.state import TrainState, init_state
from jaxgen.train.step import make_train_step
from jaxgen.types import Array, Batch, Key, Net, Params

CHUNK = 256
"""Images that are classified together."""


class Labelled(NamedTuple):
    """Images for a classifier.

    Attributes:
        image: ``[n, h, w, c]`` in [-1, 1].
        findings: ``[n, k]``, zeros and ones.
        weight: ``[n]``, how often each image is drawn for a batch compared with the others; None for all alike.
    """

    image: np.ndarray
    findings: np.ndarray
    weight: np.ndarray | None = None


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
    return plain_classifier(findings, channels=(16, 32, 64), patch=2)


Vary = Callable[[Key, Batch], Batch]


def fit(
    training: Training,
    real: Labelled | None,
    synthetic: Labelled | None = None,
    *,
    seeds: Sequence[int] = (0,),
    vary: Vary | None = None,
) -> list[Callable[[np.ndarray], np.ndarray]]:
    """Train classifiers; images of the same number share a compiled program, whatever their weights.

    Args:
        training: how.
        real: real images, or none.
        synthetic: synthetic images, or none; where there are both, a batch holds `Training.share` of these.
        seeds: of the start, the batches and the variations of each classifier.
        vary: what is done to batches, such as `classical`.

    Returns:
        For each seed ``images [n, h, w, c] -> probability of each finding [n, k]``.

    Raises:
        ValueError: if there are neither real nor synthetic images.
    """
    given = [one for one in (real, synthetic) if one is not None]
    if not given:
        raise ValueError("a classifier needs images: give real or synthetic ones")
    arrays = tuple(
        {
            "image": jnp.asarray(one.image),
            "findings": jnp.asarray(one.findings, jnp.float32),
            "until": jnp.asarray(_cumulative(one), jnp.float32),
        }
        for one in given
    )

    def predict(params: Params, images: np.ndarray) -> np.ndarray:
        found = in_chunks(partial(_probability, training.net, params), len(images), CHUNK, images)
        return np.asarray(found)

    return [partial(predict, _trained(training, vary, jax.random.key(seed), arrays)) for seed in seeds]


def _cumulative(one: Labelled) -> np.ndarray:
    weight = np.ones(len(one.image)) if one.weight is None else np.asarray(one.weight, float)
    return np.cumsum(weight) / weight.sum()


def counts(training: Training, kinds: int) -> tuple[int, ...]:
    """How many images of a batch are real and how many synthetic, where there are both kinds."""
    mixed = round(training.share * training.batch_size)
    return (training.batch_size - mixed, mixed) if kinds == 2 else (training.batch_size,)


def chosen(training: Training, key: Key, number: Array, until: Sequence[Array]) -> list[Array]:
    """Which images of each kind a step takes, ``[b of the kind]`` each: a function of the key and the step alone.

    Args:
        training: how classifiers are trained.
        key: that of the batches.
        number: of the step.
        until: for each kind the running sum of its weights, ``[n]``, which ends in 1.

    Example:
        >>> from jaxgen.nets import plain_classifier
        >>> training = Training(plain_classifier(2, channels=(8,)), batch_size=4, share=0.25)
        >>> real, synthetic = chosen(training, jax.random.key(0), 0, [jnp.array([0.5, 1.0]), jnp.array([0.0, 1.0])])
        >>> real.shape, synthetic.tolist()
        ((3,), [1])
    """
    keys = jax.random.split(jax.random.fold_in(key, number), len(until))
    sizes = counts(training, len(until))
    return [
        jnp.minimum(jnp.searchsorted(ends, jax.random.uniform(key, (n,)), side="right"), len(ends) - 1)
        for key, ends, n in zip(keys, until, sizes, strict=True)
    ]


@partial(jax.jit, static_argnums=(0, 1))
def _trained(training: Training, vary: Vary | None, key: Key, arrays: tuple[dict[str, Array], ...]) -> Params:
    model = findings_model(training.net)
    optimizers = {"net": make_optimizer(training.rate, training.steps // 10, training.steps, clip=1.0)}
    step = make_train_step(model, optimizers, ema_decay=0.0, prepare=vary)
    start_key, batch_key = jax.random.split(key)
    images = [{name: part[name] for name in ("image", "findings")} for part in arrays]

    def one(state: TrainState, number: Array) -> tuple[TrainState, dict[str, Array]]:
        picked = chosen(training, batch_key, number, [part["until"] for part in arrays])
        parts = [{name: x[i] for name, x in part.items()} for part, i in zip(images, picked, strict=True)]
        return step(state, {name: jnp.concatenate([part[name] for part in parts]) for name in parts[0]})

    state = init_state(model, optimizers, start_key, {name: x[:1] for name, x in images[0].items()})
    return jax.lax.scan(one, state, jnp.arange(training.steps))[0].params["net"]


@partial(jax.jit, static_argnums=0)
def _probability(net: Net, params: Params, x: Array) -> Array:
    return jax.nn.sigmoid(net.apply(params, x))


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
