import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.medical.anomaly.gan_inversion import inversion_model, inversion_score
from jaxgen.types import Net

RNG = np.random.default_rng(0)
BASIS = np.linalg.qr(RNG.normal(size=(6, 2)))[0].astype(np.float32)  # the generator's images lie in a plane
LINEAR = Net(lambda key, x: jnp.zeros((6, 2)), lambda params, x, key=None: x @ params)


def test_the_score_by_hand():
    x, y = RNG.normal(size=(2, 3, 4, 4, 1)).astype(np.float32)
    features = lambda x: x.sum((1, 2))  # noqa: E731
    want = np.square(x - y).mean((1, 2, 3)) + 0.3 * np.square(features(x) - features(y)).mean(1)
    np.testing.assert_allclose(inversion_score(x, y, features, weight=0.3), want, rtol=1e-5)


def test_the_encoder_learns_to_invert_a_frozen_generator_and_leaves_out_what_it_cannot_make():
    model = inversion_model(LINEAR, lambda z: z @ BASIS.T, lambda x: 2 * x, weight=0.5, data="x")
    healthy = jnp.asarray(RNG.normal(size=(200, 2)).astype(np.float32) @ BASIS.T)
    params = jax.jit(model.init)(jax.random.key(0), {"x": healthy})
    assert set(params) == {"encoder"}, "generator and critic have no parameters here"
    mean = lambda params: model.objectives[0].loss(params, jax.random.key(0), {"x": healthy})[0].mean()  # noqa: E731
    step = jax.jit(lambda params: jax.tree.map(lambda p, g: p - 0.5 * g, params, jax.grad(mean)(params)))
    for _ in range(60):
        params = step(params)
    restore = lambda x: LINEAR.apply(params["encoder"], x) @ BASIS.T  # noqa: E731
    np.testing.assert_allclose(restore(healthy), healthy, atol=1e-3)
    off = jnp.asarray(np.linalg.svd(BASIS.T)[2][2:3].astype(np.float32))  # a direction out of the plane
    ill = healthy + 2 * off
    assert float(inversion_score(ill, restore(ill)).min()) > 10 * float(
        inversion_score(healthy, restore(healthy)).max()
    )
    with pytest.raises(TypeError, match="draws nothing"):
        model.sample(params, jax.random.key(0), 1)
