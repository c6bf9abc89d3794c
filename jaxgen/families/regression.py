"""A network that reads numbers off images, such as covariates."""

import jax.numpy as jnp

from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params


def regression_model(net: Net, *, data: str = "image", target: str = "covariates") -> Model:
    """A network trained by squared error, ``mean |net(x) - y|^2``.

    Args:
        net: ``apply(params, x [b, *spatial, c], key=None) -> [b, k]``, such as `jaxgen.nets.classifier`.
        data: the entry of the batch with the images.
        target: the entry with the numbers ``[b, k]``.

    Returns:
        A `Model` with one group ``"net"``. It draws nothing: ``sample`` raises `TypeError`.

    Example:
        >>> import jax
        >>> from jaxgen.nets import classifier
        >>> model = regression_model(classifier(1, channels=(8,), blocks=1))
        >>> batch = {"image": jnp.zeros((2, 4, 4, 1)), "covariates": jnp.array([[1.0], [2.0]])}
        >>> model.objectives[0].loss(model.init(jax.random.key(0), batch), jax.random.key(1), batch)[0].tolist()
        [1.0, 4.0]
    """

    def init(key: Key, batch: Batch) -> Params:
        return {"net": net.init(key, batch[data])}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        answer = net.apply(params["net"], batch[data], key=key)
        return jnp.mean(jnp.square(answer.astype(jnp.float32) - batch[target]), axis=-1), {}

    def sample(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        raise TypeError("a regression draws nothing")

    return Model(init, (Objective("net", loss),), sample)
