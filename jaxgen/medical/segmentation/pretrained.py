"""Segmentation that begins from a network which was trained on images without masks."""

from jaxgen.medical.segmentation.deterministic import deterministic
from jaxgen.nets import with_fresh_output
from jaxgen.types import Array, Batch, Key, Model, Net, Params


def at_time(net: Net, t: float) -> Net:
    """A denoising network as one of images alone: they are taken to be of one and the same time.

    Args:
        net: ``apply(params, x, t)``.
        t: the time.

    Returns:
        A `Net` of ``[b, *spatial, c]`` with the same parameters.

    Example:
        >>> import jax.numpy as jnp
        >>> at_time(Net(lambda key, x, t: {}, lambda params, x, t, key: x + t), 0.5).apply({}, jnp.ones(2)).tolist()
        [1.5, 1.5]
    """

    def apply(params: Params, x: Array, *, key: Key | None = None) -> Array:
        return net.apply(params, x, t, key=key)

    return Net(lambda key, x: net.init(key, x, t), apply)


def fine_tuned(net: Net, trained: Params) -> Model:
    """`jaxgen.medical.segmentation.deterministic.deterministic`, from trained weights but for the last convolution.

    Args:
        net: a `jaxgen.nets.unet` from images to logits, see there; `at_time` of one that knows times.
        trained: parameters of the same network with other channels of the result, such as the averaged ones of a
            diffusion model.

    Returns:
        A `Model` with one group ``"net"``, all of which is trained.

    Reference:
        Rousseau et al. 2023, "Pre-training with diffusion models for dental radiography segmentation", arXiv
        2307.14066, section 2.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxgen.nets import unet
        >>> image, options = jnp.zeros((2, 8, 8, 1)), {"channels": (8,), "blocks": 1}
        >>> trained = jax.jit(unet(1, **options).init)(jax.random.key(0), image, 0.0)
        >>> model = fine_tuned(at_time(unet(3, **options), 0.001), trained)
        >>> begun = model.init(jax.random.key(1), {"image": image})
        >>> begun["net"]["Conv_0"] is trained["Conv_0"], begun["net"]["Conv_1"]["bias"].shape
        (True, (3,))
    """
    model = deterministic(net)

    def init(key: Key, batch: Batch) -> Params:
        return {"net": with_fresh_output(trained, model.init(key, batch)["net"])}

    return model._replace(init=init)
