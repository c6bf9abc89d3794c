"""Conditions of a model of codes: covariates and a class, some dropped in training for classifier-free guidance."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp

from jaxgen import draws
from jaxgen.types import Array, Batch, Key, Params

Cond = Mapping[str, Array]
"""What samples are asked for: ``covariates [n, k]`` in [0, 1], ``label [n]``, or both."""


class Conditions(NamedTuple):
    """What a network is told, and what stands for not being told.

    Covariates c enter as constant channels, as one token of cross-attention, or as both. Where they are unknown a
    learned vector replaces them; or they are 0 and one more number, 1 where they are known, marks them.

    Attributes:
        covariates: how many there are, k; they should lie in [0, 1].
        classes: the number of classes of ``label``; None for none. The number itself is the null label.
        channels: whether the covariates are k more channels of the input, each constant.
        tokens: whether they are a token ``[b, 1, k]``, the network's `context`.
        drop: the probability that training hides the conditions of an example, all of them together.
        null: ``"learned"`` or ``"marked"``.

    Reference:
        Pinaya et al. 2022, "Brain imaging generation with latent diffusion models", arXiv 2209.07162, section 2.2, for
        channels and token; Ho & Salimans 2022, "Classifier-free diffusion guidance", algorithm 1, for dropping them.
    """

    covariates: int = 0
    classes: int | None = None
    channels: bool = True
    tokens: bool = False
    drop: float = 0.1
    null: Literal["learned", "marked"] = "learned"

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of parameters that conditions have of their own."""
        return ("null",) if self.covariates and self.null == "learned" else ()

    def init(self) -> Params:
        """Their parameters: the learned vector starts in the middle.

        Example:
            >>> Conditions(covariates=2).init()["null"]["covariates"].tolist()
            [0.5, 0.5]
        """
        return {"null": {"covariates": jnp.full((self.covariates,), 0.5)}} if self.groups else {}

    def check(self, cond: Cond, n: int) -> None:
        """Make sure that what is asked for is what the model knows, one per example.

        Raises:
            ValueError: naming what is wrong.
        """
        known: dict[str, tuple[int, ...]] = {"covariates": (n, self.covariates)} if self.covariates else {}
        known |= {} if self.classes is None else {"label": (n,)}
        for name, value in cond.items():
            if name not in known:
                raise ValueError(f"the model takes no {name}; it takes {', '.join(known) or 'no condition'}")
            if value.shape != known[name]:
                raise ValueError(f"{name} of shape {value.shape}: {known[name]} are needed for {n} samples")

    def inputs(self, params: Params, x: Array, cond: Cond, known: Array | None = None) -> tuple[Array, dict[str, Any]]:
        """The arguments of the network.

        Args:
            params: all groups of the model, with those of `init`.
            x: noisy codes ``[b, *spatial, c]``.
            cond: the conditions; what is missing is unknown.
            known: ``[b]``, False where the conditions are hidden; None where they are not.

        Returns:
            x with the channels, and the keywords ``context`` and ``label``.

        Example:
            >>> told = Conditions(covariates=1, classes=3, null="marked")
            >>> x, cond = jnp.zeros((2, 4, 1)), {"covariates": jnp.full((2, 1), 0.75), "label": jnp.array([0, 2])}
            >>> h, keywords = told.inputs({}, x, cond, jnp.array([True, False]))
            >>> h[:, 0].tolist(), keywords["label"].tolist()
            ([[0.0, 0.75, 1.0], [0.0, 0.0, 0.0]], [0, 3])
        """
        b, keywords = x.shape[0], dict[str, Any]()
        seen = jnp.ones((b,), bool) if known is None else known
        if self.classes is not None:
            label = cond.get("label", jnp.full((b,), self.classes))
            keywords["label"] = jnp.where(seen, label, self.classes)
        if not self.covariates:
            return x, keywords
        values = self._values(params, cond.get("covariates"), seen).astype(x.dtype)
        if self.tokens:
            keywords["context"] = values[:, None]
        if self.channels:
            constant = jnp.broadcast_to(values.reshape(b, *(1,) * (x.ndim - 2), -1), (*x.shape[:-1], values.shape[-1]))
            x = jnp.concatenate([x, constant], axis=-1)
        return x, keywords

    def _values(self, params: Params, covariates: Array | None, seen: Array) -> Array:
        """What stands for the covariates, ``[b, k]`` or ``[b, k + 1]``."""
        if covariates is None:
            covariates, seen = jnp.zeros((len(seen), self.covariates)), jnp.zeros_like(seen)
        null = params["null"]["covariates"] if self.null == "learned" else 0.0
        values = jnp.where(seen[:, None], covariates, null)
        return values if self.null == "learned" else jnp.concatenate([values, seen[:, None].astype(values.dtype)], -1)

    def training(self, key: Key, batch: Batch) -> tuple[Cond, Array]:
        """The conditions of a batch, and which of its examples show them.

        Args:
            key: one key, or keys ``[b]``.
            batch: with ``covariates`` and ``label`` where the model takes them.

        Returns:
            The conditions, and ``known [b]``.

        Example:
            >>> import jax
            >>> told = Conditions(covariates=1, drop=1.0)
            >>> told.training(jax.random.key(0), {"covariates": jnp.ones((2, 1))})[1].tolist()
            [False, False]
        """
        names = (("covariates",) if self.covariates else ()) + (("label",) if self.classes is not None else ())
        cond = {name: batch[name] for name in names}
        b = next(iter(batch.values())).shape[0]
        return cond, ~draws.bernoulli(key, self.drop, (b,))
