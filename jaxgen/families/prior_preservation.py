"""Prior preservation: a model learns a few images of one subject and keeps what it knew of the subject's class."""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.types import Array, Batch, Info, Key, Model, Objective, Params

CLASS = "class_"
"""What the names of a batch's entries of class images begin with."""


Prepare = Callable[[Key, Batch], Batch]


def class_pairs(subject: Mapping[str, np.ndarray], of_class: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of pairs: each image of the class, with the images of the subject in turn.

    Args:
        subject: arrays over the images of the subject.
        of_class: the same over images of the class.

    Example:
        >>> found = class_pairs({"label": np.array([1, 2])}, {"label": np.array([7, 8, 9])})
        >>> {name: x.tolist() for name, x in found.items()}
        {'label': [1, 2, 1], 'class_label': [7, 8, 9]}
    """
    count, most = (len(next(iter(arrays.values()))) for arrays in (subject, of_class))
    turn = np.arange(most) % count
    return {name: x[turn] for name, x in subject.items()} | {f"{CLASS}{name}": x for name, x in of_class.items()}


def in_pairs(prepare: Prepare) -> Prepare:
    """What is done to batches, done to both halves of pairs, with random numbers of their own.

    Args:
        prepare: ``prepare(key, batch) -> batch``; a batch without class images is its own partner.

    Example:
        >>> twice = in_pairs(lambda key, batch: {"x": 2 * batch["x"]})
        >>> import jax
        >>> {name: int(x) for name, x in twice(jax.random.key(0), {"x": 1, "class_x": 5}).items()}
        {'x': 2, 'class_x': 10}
    """

    def pair(key: Key, batch: Batch) -> Batch:
        subject_key, class_key = draws.split(key, 2)
        of_class = {name.removeprefix(CLASS): x for name, x in batch.items() if name.startswith(CLASS)}
        found = prepare(subject_key, {name: x for name, x in batch.items() if not name.startswith(CLASS)})
        return {**found, **{f"{CLASS}{name}": x for name, x in prepare(class_key, of_class or batch).items()}}

    return pair


def prior_preservation_model(model: Model, weight: float = 1.0) -> Model:
    """A model that is trained on pairs: an image of the subject, and one of its class that the model itself had drawn.

    ``loss = L(subject) + weight L(class)``: both go through the network as one batch, with noise and times of their
    own.

    Args:
        model: the model; it is also what `jaxgen.families.lora_model` and others make of one.
        weight: of the class images, which the model drew before it was trained on the subject.

    Returns:
        The `Model`, whose objectives take for each entry ``x`` of the batch, of the subject, one ``class_x``.

    Raises:
        ValueError: when trained, if an entry of the batch has no partner.

    Reference:
        Ruiz et al. 2023, "DreamBooth: fine tuning text-to-image diffusion models for subject-driven generation", arXiv
        2208.12242, equation 2.

    Example:
        >>> import jax
        >>> loss = lambda params, key, batch: (batch["image"], {})
        >>> model = prior_preservation_model(Model(print, (Objective("net", loss),), print), 0.5)
        >>> batch = {"image": jnp.array([1.0, 2.0]), "class_image": jnp.array([10.0, 20.0])}
        >>> value, info = model.objectives[0].loss({}, jax.random.split(jax.random.key(0), 2), batch)
        >>> value.tolist(), info["class"].tolist()
        ([6.0, 12.0], [10.0, 20.0])
    """

    def paired(inner: Objective) -> Objective:
        def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
            subject = {name: x for name, x in batch.items() if not name.startswith(CLASS)}
            if set(batch) != {*subject, *(f"{CLASS}{name}" for name in subject)}:
                raise ValueError(f"each entry of a batch needs one of class images, got {', '.join(sorted(batch))}")
            both = {name: jnp.concatenate([x, batch[f"{CLASS}{name}"]]) for name, x in subject.items()}
            value, info = inner.loss(params, jnp.concatenate(list(draws.split(key, 2))), both)
            of_subject, of_class = jnp.split(value, 2)
            halves = {name: jnp.split(x, 2)[0] for name, x in info.items()}
            return of_subject + weight * of_class, {**halves, "subject": of_subject, "class": of_class}

        return Objective(inner.trains, loss)

    return model._replace(objectives=tuple(map(paired, model.objectives)))
