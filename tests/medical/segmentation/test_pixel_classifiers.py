"""Features of pixels by hand, and classifiers that see those features alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import ndimage

from jaxgen.medical.segmentation.pixel_classifiers import classify, compiled_classifiers, pixel_classifiers
from jaxgen.medical.segmentation.pixel_features import diffusion_features, pyramid_features
from jaxgen.nets import mlp, unet
from jaxgen.paths import cosine
from tests.nets.parameters import perturbed

IMAGE = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 1)), jnp.float32)
LEVELS = jnp.array([0.0, 1.0])
BATCH = {"image": IMAGE, "distance": jnp.where(IMAGE > LEVELS, jnp.array([-1.0, -2.0]), 1.0)}
TIMES, BLOCKS, KEY = (0.1, 0.5), (0, 3), jax.random.key(7)


@pytest.fixture(scope="module")
def diffusion():
    net = unet(1, channels=(8, 12), blocks=1)
    params = perturbed(jax.jit(net.init)(jax.random.key(0), IMAGE, 0.0))
    return net, params, jax.jit(diffusion_features(net, cosine(), TIMES, BLOCKS, KEY))


@pytest.mark.thorough
def test_features_written_out(diffusion):
    net, params, features = diffusion
    found, path = features(params, IMAGE), cosine()
    assert found.shape == (2, 8, 8, 2, 12 + 8)
    noise = jax.random.normal(KEY, (8, 8, 1))
    for k, t in enumerate(TIMES):
        coarse, fine = jax.jit(lambda x, t=t: net.apply(params, x, t, taken=BLOCKS))(
            path.alpha(t) * IMAGE + path.sigma(t) * noise
        )
        np.testing.assert_allclose(found[..., k, 12:], fine, atol=1e-4)
        corners = np.array([[0, 0], [-1, -1]])  # where a line between centres goes through no other
        for i, j in corners:
            np.testing.assert_allclose(found[:, i, j, k, :12], coarse[:, i, j], atol=1e-4)
        between = 0.75 * coarse[:, 0] + 0.25 * coarse[:, 1]
        np.testing.assert_allclose(found[:, 1, 0, k, :12], between[:, 0], atol=1e-4)


def test_all_images_get_the_same_noise(diffusion):
    _, params, features = diffusion
    twice = features(params, jnp.concatenate([IMAGE[:1], IMAGE[:1]]))
    np.testing.assert_allclose(twice[0], twice[1], atol=1e-5)


def test_the_pyramid_against_scipy():
    x = np.asarray(IMAGE[0, ..., 0])
    kernel = np.outer(*[np.array([1, 4, 6, 4, 1]) / 16] * 2)
    half = ndimage.correlate(x, kernel, mode="nearest")[::2, ::2]
    found = pyramid_features(2)({}, IMAGE)[0, ..., 0, :]
    np.testing.assert_allclose(found[..., 0], x, atol=1e-6)
    np.testing.assert_allclose(found[0, 0, 1], half[0, 0], atol=1e-5)
    np.testing.assert_allclose(found[2, 0, 1], 0.25 * half[0, 0] + 0.75 * half[1, 0], atol=1e-5)


def stacked(params, image):
    """Two times: the image, and its square."""
    del params
    return jnp.stack([image, jnp.square(image)], axis=-2)


def test_classifiers_apart_see_one_time_each():
    net, options = mlp(3, widths=(4,)), {"members": 2, "apart": True}
    params = pixel_classifiers(net, stacked, {}, **options).init(jax.random.key(0), BATCH)
    found = stacked({}, IMAGE)
    before = classify(net, params, found, **options)
    after = classify(net, params, found.at[..., 1, :].add(1.0), **options)
    np.testing.assert_array_equal(before[0], after[0])
    assert np.abs(before[1] - after[1]).max() > 1e-3
    joined = pixel_classifiers(net, stacked, {}, members=2).init(jax.random.key(0), BATCH)
    assert joined["classifiers"]["Dense_0"]["kernel"].shape == (2, 2, 4)
    assert np.abs(np.diff(joined["classifiers"]["Dense_0"]["kernel"], axis=0)).max() > 0.1, "other starts"


def test_features_are_standardised_and_what_makes_them_is_not_trained():
    frozen = {"scale": jnp.array(3.0)}
    model = pixel_classifiers(mlp(3, widths=(4,)), lambda p, x: p["scale"] * stacked(p, x), frozen, members=2)
    params = model.init(jax.random.key(0), BATCH)
    seen = (3 * stacked({}, IMAGE) + params["norm"]["shift"]) * params["norm"]["scale"]
    np.testing.assert_allclose(seen.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(seen.std((0, 1, 2)), 1, atol=1e-4)
    assert model.objectives[0].groups == ("classifiers",)
    gradient = jax.grad(lambda p: model.objectives[0].loss(p, jax.random.key(1), BATCH)[0].sum())(params)
    assert not np.any(gradient["frozen"]["scale"])
    assert np.any(gradient["classifiers"]["Dense_0"]["kernel"])


def test_the_loss_is_the_cross_entropy_of_the_pixels_drawn():
    """Where all pixels of an image are alike it does not matter which are drawn."""
    flat = {"image": jnp.ones((2, 4, 4, 1)) * jnp.array([-1.0, 2.0])[:, None, None, None]}
    flat["distance"] = jnp.where(flat["image"] > jnp.array([0.0, 3.0]), -1.0, 1.0)  # the background, and class 1
    net = mlp(3, widths=(4,))
    model = pixel_classifiers(net, stacked, {}, members=5, pixels=7)
    params = model.init(jax.random.key(0), flat)
    value, _ = model.objectives[0].loss(params, jax.random.split(jax.random.key(1), 2), flat)
    logits = classify(net, params, stacked({}, flat["image"]), members=5)[:, :, 0, 0]
    want = -jax.nn.log_softmax(logits)[:, jnp.arange(2), jnp.array([0, 1])].mean(0)
    np.testing.assert_allclose(value, want, rtol=1e-5)


def test_they_learn_what_their_features_tell_and_draw_what_they_sample():
    net, options = mlp(3, widths=(16,)), {"members": 3}
    model = pixel_classifiers(net, pyramid_features(1), {}, pixels=64, **options)
    params, optimizer = model.init(jax.random.key(0), BATCH), optax.adam(0.05)

    @jax.jit
    def step(params, state, key):
        def loss(group):
            return model.objectives[0].loss({**params, "classifiers": group}, key, BATCH)[0].mean()

        updates, state = optimizer.update(jax.grad(loss)(params["classifiers"]), state)
        return {**params, "classifiers": optax.apply_updates(params["classifiers"], updates)}, state

    state = optimizer.init(params["classifiers"])
    for i in range(150):
        params, state = step(params, state, jax.random.key(i))
    mean = model.sample(params, None, 2, IMAGE)
    truth = np.where(IMAGE[..., 0] > 1, 2, np.where(IMAGE[..., 0] > 0, 1, 0))
    every = np.concatenate([1 - mean.sum(-1, keepdims=True), mean], axis=-1)
    assert (every.argmax(-1) == truth).mean() > 0.97
    drawn = compiled_classifiers(net, pyramid_features(1), params, **options)(None, IMAGE)
    assert drawn.shape == (3, 2, 8, 8, 2)
    np.testing.assert_allclose(drawn.mean(0), mean, atol=1e-5)
    with pytest.raises(ValueError, match="cond=image"):
        model.sample(params, None, 2)
