"""The vocabulary of jaxgen: records of pure functions, and the conventions every module keeps.

Conventions
-----------
- Images and volumes are channels last, ``[b, *spatial, c]``; spatial rank is data, not a type.
- A *path* knows which end of its time axis is data (``t_data``) and which is noise (``t_noise``).
- ``key`` is explicit and never optional where something is drawn. A key array of shape ``[b]`` draws example by
  example (see `jaxgen.draws`), so that a draw does not depend on how a batch is split over devices.
- Batches are dicts with the entries ``image``, ``mask``, ``label``, ``covariates``, ``text``.
- Log-densities are in nats. Times, log-densities and statistics are float32 even where nets run in bfloat16.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

Array = jax.Array
Key = jax.Array
Params = Any
Batch = Mapping[str, Array]
Info = Mapping[str, Array]


class Net(NamedTuple):
    """A network as two pure functions.

    Attributes:
        init: ``init(key, *example_inputs) -> params``.
        apply: ``apply(params, *inputs, key=None) -> array``; `key` feeds dropout and may stay out where there is none.
    """

    init: Callable[..., Params]
    apply: Callable[..., Array]


class Objective(NamedTuple):
    """One player's loss, updating only its own parameters.

    Attributes:
        trains: the parameter group that this loss updates, or the groups: an encoder and its decoder learn together,
            and the encoder alone against a critic.
        loss: ``loss(params, key, batch) -> (value [b], info)``: one value per example, never reduced; `params` is the
            whole dict of groups, `info` a dict of arrays of shape ``[b]`` or ``[]`` worth logging.
    """

    trains: str | tuple[str, ...]
    loss: Callable[[Params, Key, Batch], tuple[Array, Info]]

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that this loss updates."""
        return (self.trains,) if isinstance(self.trains, str) else self.trains


class Model(NamedTuple):
    """A generative model as pure functions.

    Attributes:
        init: ``init(key, batch) -> params``, a dict of parameter groups such as ``{"net": ...}``.
        objectives: the losses, played in order within one train step, each updating its own group.
        sample: ``sample(params, key, n, cond=None) -> [n, *spatial, c]``.
        log_prob: ``log_prob(params, key, x, cond=None) -> [b]`` in nats, or None where the family has no density.
    """

    init: Callable[[Key, Batch], Params]
    objectives: tuple[Objective, ...]
    sample: Callable[..., Array]
    log_prob: Callable[..., Array] | None = None


Denoise = Callable[[Array, Array], Array]
"""``denoise(x_t, t) -> x0_hat``: the posterior mean of the data; ``x_t`` is ``[b, *spatial, c]``, ``t`` a scalar."""


NoiseDistribution = Callable[[Key, tuple[int, ...]], Array]
"""``noise(key, shape) -> array`` of `shape` ``[b, *spatial, c]``; keys ``[b]`` draw example by example."""


class Step(NamedTuple):
    """One step of a sampler, as two pure functions.

    Attributes:
        init: ``init(x, grid) -> state``; ``state.x`` is the current sample, the rest is the history a method needs. The
            times ``[steps + 1]`` to come are there for multistep methods, whose weights depend on several of them.
        step: ``step(denoise, key, state, t, s) -> state`` moves from time `t` to time `s`.
    """

    init: Callable[[Array, Array], Any]
    step: Callable[[Denoise, Key, Any, Array, Array], Any]
