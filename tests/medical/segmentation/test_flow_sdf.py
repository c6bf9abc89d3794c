import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgen.medical.segmentation import flow_sdf
from jaxgen.medical.segmentation.conditional import ConditionalNet, conditional_net
from jaxgen.medical.segmentation.deterministic import deterministic
from jaxgen.nets import unet
from jaxgen.paths import rectified
from jaxgen.samplers import Sampling, euler, grids, sample
from jaxgen.types import Net

SIGMA_MIN, B, SHAPE = 0.05, 3, (4, 4)
PATH = rectified(SIGMA_MIN)
RNG = np.random.default_rng(0)
IMAGE = jnp.asarray(RNG.normal(size=(B, *SHAPE, 2)), jnp.float32)
BATCH = {"image": IMAGE, "distance": jnp.asarray(RNG.uniform(-1, 1, (B, *SHAPE, 1)), jnp.float32)}
PARAMS = {"net": {"a": jnp.float32(0.7), "b": jnp.float32(-0.4)}}


def _apply(params, x, t, features, *, key=None):
    return params["b"] * x + jnp.reshape(t, (-1, 1, 1, 1)) * features


LINEAR = ConditionalNet(
    lambda key, image, x: PARAMS["net"], lambda params, image: params["a"] * image.sum(-1, keepdims=True), _apply
)


def _sampling(steps=4, prediction="velocity"):
    return Sampling(PATH, euler(PATH), grids.uniform(PATH, steps), prediction)


def _example_loss(key, i, prediction):
    """The loss of one noisy version of one example, in numpy: arXiv 2405.18087, section 3."""
    time_key, noise_key = jax.random.split(key)
    t = float(jax.random.uniform(time_key))
    noise = np.asarray(jax.random.normal(noise_key, (*SHAPE, 1)), np.float64)
    clean, image = (np.asarray(BATCH[name][i], np.float64) for name in ("distance", "image"))
    noisy = t * clean + (1 - (1 - SIGMA_MIN) * t) * noise
    answer = -0.4 * noisy + t * 0.7 * image.sum(-1, keepdims=True)
    target = clean - (1 - SIGMA_MIN) * noise if prediction == "velocity" else clean
    return t, np.mean((answer - target) ** 2)


@pytest.mark.parametrize("prediction", ["velocity", "x0"])
@pytest.mark.parametrize("repeats", [1, 3])
def test_loss_in_numpy(prediction, repeats):
    """With the same draws: the mean over repeats of weighted errors in the space of the prediction."""
    model = flow_sdf.flow_sdf(LINEAR, _sampling(prediction=prediction), repeats=repeats, weight=lambda t: 1 + 2 * t)
    keys = jax.random.split(jax.random.key(1), B)
    (objective,) = model.objectives
    values, _ = jax.jit(objective.loss)(PARAMS, keys, BATCH)
    want = []
    for i, key in enumerate(keys):
        each = [_example_loss(k, i, prediction) for k in jax.random.split(key, repeats)]
        want.append(np.mean([(1 + 2 * t) * error for t, error in each]))
    np.testing.assert_allclose(values, want, rtol=1e-5)
    assert values.shape == (B,)


def test_the_image_is_encoded_once_however_many_repeats_and_members():
    seen = []

    def encode(params, image):
        seen.append(image.shape)
        return LINEAR.encode(params, image)

    net = LINEAR._replace(encode=encode)
    model = flow_sdf.flow_sdf(net, _sampling(), repeats=4)
    jax.eval_shape(model.objectives[0].loss, PARAMS, jax.random.key(0), BATCH)
    jax.eval_shape(lambda key: flow_sdf.ensemble(net, _sampling(), PARAMS["net"], key, IMAGE, 5), jax.random.key(0))
    assert seen == [IMAGE.shape] * 2


@pytest.fixture(scope="module")
def trained():
    """A real network with parameters off zero."""
    net = conditional_net(unet(4, channels=(4,), blocks=1), unet(1, channels=(4,), blocks=1))
    params = jax.jit(net.init)(jax.random.key(0), IMAGE, BATCH["distance"])
    return net, jax.tree.map(lambda p: p + 0.3 * np.random.default_rng(p.size).normal(size=p.shape), params)


@pytest.mark.thorough
def test_an_ensemble_does_not_depend_on_the_rest_of_the_batch(trained):
    net, params = trained
    draw = jax.jit(lambda key, image: flow_sdf.ensemble(net, _sampling(prediction="x0"), params, key, image, 3))
    keys = jax.random.split(jax.random.key(2), B)
    whole = draw(keys, IMAGE)
    assert whole.shape == (3, B, *SHAPE, 1)
    np.testing.assert_allclose(draw(keys[1:], IMAGE[1:]), whole[:, 1:], rtol=1e-4, atol=1e-4)
    assert min(np.abs(whole[0] - whole[1]).max(), np.abs(whole[1] - whole[2]).max()) > 1e-2
    same = draw(keys[jnp.array([0, 0, 0])], IMAGE[jnp.array([0, 1, 0])])
    np.testing.assert_allclose(same[:, 0], same[:, 2], rtol=1e-4, atol=1e-4)
    assert np.abs(same[:, 0] - same[:, 1]).max() > 1e-3  # equal noise, another image


def test_a_trajectory_runs_from_noise_to_the_sample():
    sampling = _sampling(steps=5)
    last = flow_sdf.ensemble(LINEAR, sampling, PARAMS["net"], jax.random.key(3), IMAGE, 2)
    kept = flow_sdf.ensemble(LINEAR, sampling, PARAMS["net"], jax.random.key(3), IMAGE, 2, keep=True)
    assert kept.shape == (2, 6, B, *SHAPE, 1)
    np.testing.assert_allclose(kept[:, -1], last, rtol=1e-5)
    want, features = np.asarray(kept[0, 0]), np.asarray(LINEAR.encode(PARAMS["net"], IMAGE))
    for k in range(5):
        want = want + 0.2 * (-0.4 * want + 0.2 * k * features)
        np.testing.assert_allclose(kept[0, k + 1], want, rtol=1e-3, atol=1e-4)


def test_sampling_needs_images():
    model = flow_sdf.flow_sdf(LINEAR, _sampling())
    assert model.sample(PARAMS, jax.random.key(0), B, cond=IMAGE).shape == (B, *SHAPE, 1)
    for m in (model, deterministic(Net(lambda key, x: {}, lambda params, x: x))):
        with pytest.raises(ValueError, match="cond=image"):
            m.sample(PARAMS, jax.random.key(0), B)
        with pytest.raises(ValueError, match="cond=image"):
            m.sample(PARAMS, jax.random.key(0), B + 1, cond=IMAGE)


def _share_of_the_larger_mode(step, path, steps):
    """How much of a law with mass 0.3 at -1 and 0.7 at 1 a sampler sends to 1, given the exact posterior mean."""

    def denoise(x, t):
        logits = jnp.stack([jnp.log(p) - (x - path.alpha(t) * m) ** 2 / (2 * path.sigma(t) ** 2) for m, p in MODES])
        weights = jax.nn.softmax(logits, axis=0)
        return weights[1] - weights[0]

    start = jnp.asarray(stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000), jnp.float32)  # every quantile of the noise
    end = jax.jit(lambda x: sample(step, denoise, jax.random.key(0), x, grids.uniform(path, steps)))(start)
    return float(jnp.mean(end > 0))


MODES = ((-1.0, 0.3), (1.0, 0.7))


def test_euler_finds_the_exact_share_of_two_modes_and_the_published_sampler_does_not():
    path = rectified(1e-3)
    assert abs(_share_of_the_larger_mode(euler(path), path, 50) - 0.7) < 0.01
    assert abs(_share_of_the_larger_mode(euler(path), path, 500) - 0.7) < 0.002
    authors = [_share_of_the_larger_mode(flow_sdf.authors_euler(path), path, n) for n in (50, 500)]
    assert abs(authors[0] - 0.640) < 0.005
    assert abs(authors[1] - authors[0]) < 0.01  # more steps do not mend it


def test_the_baseline_in_numpy():
    net = Net(lambda key, x: {"w": jnp.float32(0.6)}, lambda params, x, *, key=None: params["w"] * x[..., :1] - 0.1)
    model = deterministic(net)
    params = jax.jit(model.init)(jax.random.key(0), BATCH)
    batch = BATCH | {"distance": BATCH["distance"].at[0, 0, 0, 0].set(0.0)}  # the boundary is foreground
    values, _ = model.objectives[0].loss(params, jax.random.key(0), batch)
    p = 1 / (1 + np.exp(-(0.6 * np.asarray(IMAGE[..., :1], np.float64) - 0.1)))
    inside = np.asarray(batch["distance"]) <= 0
    np.testing.assert_allclose(values, -np.where(inside, np.log(p), np.log(1 - p)).mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(model.sample(params, jax.random.key(0), B, cond=IMAGE), p, rtol=1e-5)
