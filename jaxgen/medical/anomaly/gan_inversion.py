"""f-AnoGAN: an encoder learns to invert a frozen generator of healthy images; what it cannot make is anomalous."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params


def _error(a: Array, b: Array) -> Array:
    difference = a.astype(jnp.float32) - b.astype(jnp.float32)
    return jnp.mean(difference**2, tuple(range(1, difference.ndim)))


def inversion_score(
    x: Array, restored: Array, features: Callable[[Array], Array] | None = None, *, weight: float = 1.0
) -> Array:
    """How anomalous an image is: ``mean |x - G(E(x))|^2 + weight mean |f(x) - f(G(E(x)))|^2``.

    Args:
        x: images ``[b, *spatial, c]``.
        restored: the reconstructions by generator and encoder.
        features: f, of the critic: ``images -> [b, ...]``; None leaves that part out.
        weight: kappa in the paper.

    Returns:
        Float32 ``[b]``. The map of pixels is `jaxgen.medical.anomaly.absolute_residual`.

    Reference:
        Schlegl et al. 2019, "f-AnoGAN: fast unsupervised anomaly detection with generative adversarial networks".

    Example:
        >>> inversion_score(jnp.ones((1, 4)), jnp.zeros((1, 4)), lambda x: 2 * x, weight=0.5).tolist()
        [3.0]
    """
    value = _error(x, restored)
    return value if features is None else value + weight * _error(features(x), features(restored))


def inversion_model(
    encoder: Net,
    generate: Callable[[Array], Array],
    features: Callable[[Array], Array] | None = None,
    *,
    weight: float = 1.0,
    data: str = "image",
) -> Model:
    """An encoder trained against a frozen generator and, with features, a frozen critic (izi_f; without, izi).

    Trained on `inversion_score`, image by image: from image to latent to image.

    Args:
        encoder: ``apply(params, x [b, *spatial, c], key=None) -> z [b, latent]``.
        generate: ``z -> images``, a generator with its trained parameters.
        features: ``images -> [b, ...]``, a late layer of the critic with its trained parameters; None for izi.
        weight: of the features' part, kappa in the paper.
        data: the entry of the batch to model.

    Returns:
        A `Model` with one group ``"encoder"``. It draws nothing: ``sample`` raises `TypeError`.

    Reference:
        Schlegl et al. 2019, "f-AnoGAN: fast unsupervised anomaly detection with generative adversarial networks".

    Example:
        >>> import jax
        >>> from jaxgen.nets import mlp
        >>> model = inversion_model(mlp(2, widths=(8,)), lambda z: jnp.tile(z, 2), data="x")
        >>> batch = {"x": jnp.zeros((3, 4))}
        >>> model.objectives[0].loss(model.init(jax.random.key(0), batch), jax.random.key(1), batch)[0].shape
        (3,)
    """

    def init(key: Key, batch: Batch) -> Params:
        return {"encoder": encoder.init(key, batch[data])}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        x = batch[data]
        restored = generate(encoder.apply(params["encoder"], x, key=key))
        return inversion_score(x, restored, features, weight=weight), {"pixels": _error(x, restored)}

    def sample(params: Params, key: Key, n: int, cond: Any = None) -> Array:
        raise TypeError("an encoder draws nothing: sample the generator that it inverts")

    return Model(init, (Objective("encoder", loss),), sample)


class Inversion(NamedTuple):
    """f-AnoGAN, of networks whose parameters are given: those of the GAN are ``{"generator": ..., "critic": ...}``.

    Attributes:
        generator: ``apply(params, z) -> images``.
        critic_features: ``apply(params, images) -> [b, ...]``, a late layer of the critic; not used if `weight` is 0.
        encoder: ``apply(params, images) -> z``.
        weight: of the critic's features, kappa in the paper.
    """

    generator: Net
    critic_features: Net
    encoder: Net
    weight: float = 1.0

    def features(self, gan: Params) -> Callable[[Array], Array] | None:
        """The features of the trained critic, or None where they do not count."""
        return (lambda x: self.critic_features.apply(gan["critic"], x)) if self.weight else None

    def model(self, gan: Params) -> Model:
        """The encoder, to be trained against the frozen GAN (`inversion_model`)."""
        generate = lambda z: self.generator.apply(gan["generator"], z)  # noqa: E731
        return inversion_model(self.encoder, generate, self.features(gan), weight=self.weight)

    def restore(self, gan: Params, encoder: Params, x: Array) -> Array:
        """The images ``[b, *spatial, c]`` as encoder and generator reconstruct them."""
        return self.generator.apply(gan["generator"], self.encoder.apply(encoder["encoder"], x))

    def score(self, gan: Params, x: Array, restored: Array) -> Array:
        """`inversion_score` ``[b]`` of images and their reconstructions."""
        return inversion_score(x, restored, self.features(gan), weight=self.weight)
