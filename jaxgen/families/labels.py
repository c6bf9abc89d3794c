"""Labels of a model, and the null label of classifier-free guidance: what families that take labels share."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from jaxgen import draws
from jaxgen.types import Array, Batch, Denoise, Key


class Labels(NamedTuple):
    """The labels that a network is given as ``label=[b]``, or none at all, and how its samples follow them.

    Attributes:
        classes: how many there are; None for a network without labels. The number itself is the null label.
        drop: the probability that training replaces a label by the null label, so that one network serves both sides of
            classifier-free guidance.
        guide: ``(denoise(x, t, label), label, null label) -> denoise`` to sample with, such as
            ``lambda denoise, label, null: classifier_free_batched(denoise, label, null, 3.0)``; None samples the class
            itself.
    """

    classes: int | None = None
    drop: float = 0.1
    guide: Callable[[Callable[..., Array], Array, Array], Denoise] | None = None

    def check(self) -> None:
        """Make sure that there is a class to guide towards.

        Raises:
            ValueError: if `guide` is given without `classes`.
        """
        if self.guide is not None and self.classes is None:
            raise ValueError("guide steers towards a class: give the number of classes")

    def null(self, n: int) -> dict[str, Array]:
        """The null label for n examples, as arguments of the network."""
        return {} if self.classes is None else {"label": jnp.full((n,), self.classes, jnp.int32)}

    def of(self, batch: Batch) -> Array | None:
        """The labels of a batch, for a coupling."""
        return None if self.classes is None else batch["label"]

    def training(self, key: Key, batch: Batch) -> dict[str, Array]:
        """The labels of a batch, some dropped, as arguments of the network.

        Example:
            >>> import jax
            >>> Labels(3, drop=1.0).training(jax.random.key(0), {"label": jnp.array([0, 2])})["label"].tolist()
            [3, 3]
        """
        if self.classes is None:
            return {}
        label = batch["label"]
        return {"label": jnp.where(draws.bernoulli(key, self.drop, label.shape), self.classes, label)}

    def asked(self, n: int, cond: Array | None) -> dict[str, Array]:
        """The labels that n samples are asked for, as arguments of the network; the null label where `cond` is None.

        Raises:
            ValueError: if labels are given to a model without, or are not one per example.

        Example:
            >>> Labels(3).asked(2, None)["label"].tolist()
            [3, 3]
        """
        if cond is None:
            return self.null(n)
        if self.classes is None:
            raise ValueError("this model is unconditional: leave cond out, or give the number of classes")
        if cond.shape != (n,):
            raise ValueError(f"labels of shape {cond.shape} for {n} images: give one per image")
        return {"label": cond}
