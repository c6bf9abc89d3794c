import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.families.translation import conditional_diffusion
from jaxgen.families.volume_translation import volume_diffusion
from jaxgen.nets import UNetVariant, unet
from jaxgen.paths import cosine
from jaxgen.samplers import Sampling, ddim, grids
from jaxgen.train.state import init_state
from jaxgen.train.step import make_train_step
from jaxgen.types import Net
from tests.nets.parameters import perturbed

KEY, KEYS = jax.random.key(0), jax.random.split(jax.random.key(0), 2)
RNG = np.random.default_rng(0)
X, S = (jnp.asarray(RNG.uniform(-1, 1, (2, 3, 4, 4, 1)), jnp.float32) for _ in range(2))
BATCH = {"image": X, "source": S}
PATH = cosine()
SAMPLING = Sampling(PATH, ddim(PATH), grids.uniform(PATH, 3), "x0")


def make(d):
    return unet(1, channels=(8,), blocks=1, variant=UNetVariant(slices=d))


MODEL = volume_diffusion(make, (4, 4, 1), SAMPLING)
SAMPLE = jax.jit(lambda params, keys, s: MODEL.sample(params, keys, len(s), s))


@pytest.fixture(scope="module")
def params():
    drawn = jax.jit(MODEL.init)(KEY, BATCH)
    return {**drawn, "net": perturbed(drawn["net"])}


@pytest.fixture(scope="module")
def changed(params):
    return {**params, "volumetric": perturbed(params["volumetric"])}


def test_at_first_the_loss_is_that_of_slices_at_the_noise_level_of_their_volume(params):
    """The time and the noise of the volume are drawn as `denoising` draws those of any example."""
    value = jax.jit(MODEL.objectives[0].loss)(params, KEYS, BATCH)[0]
    assert value.shape == (2,)
    seen = []

    def look(p, x, t, key=None):
        seen.append((x, t))
        return x[..., :1]

    watching = volume_diffusion(lambda d: Net(lambda key, x, t: {}, look), (4, 4, 1), SAMPLING)
    watching.objectives[0].loss({"net": {}, "volumetric": {}}, KEYS, BATCH)
    (x, t), slices = seen[0], S.reshape(6, 4, 4, 1)
    assert (np.asarray(t).reshape(2, 3) == np.asarray(t).reshape(2, 3)[:, :1]).all()
    assert t[0] != t[3]
    np.testing.assert_array_equal(x[..., 1:], slices, "sources are clean")
    alpha, sigma = (level(t)[:, None, None, None] for level in (PATH.alpha, PATH.sigma))
    noise = (x[..., :1] - alpha * X.reshape(6, 4, 4, 1)) / sigma
    assert np.abs(np.corrcoef(noise.reshape(6, -1)) - np.eye(6)).max() < 0.9, "noise of each slice is its own"
    answer = jax.jit(make(0).apply)(params["net"], x, t)
    np.testing.assert_allclose(value, jnp.square(answer - X.reshape(6, 4, 4, 1)).reshape(2, -1).mean(1), rtol=1e-4)


@pytest.mark.thorough
def test_a_step_trains_the_layers_and_leaves_the_network_as_it_is_bit_for_bit(params):
    model = volume_diffusion(make, (4, 4, 1), SAMPLING, base=params["net"])
    optimizers = {"volumetric": optax.sgd(0.1)}
    first = jax.jit(lambda: init_state(model, optimizers, KEY, BATCH))()
    jax.tree.map(np.testing.assert_array_equal, first.params["net"], params["net"])
    state, _ = jax.jit(make_train_step(model, optimizers, ema_decay=0.9))(first, BATCH)
    for kept in (state.params, state.ema):
        jax.tree.map(np.testing.assert_array_equal, kept["net"], params["net"])
    moved = jax.tree.leaves(jax.tree.map(lambda a: float(jnp.abs(a).max()), state.params["volumetric"]))
    assert min(moved) > 0, "every layer has a gradient, though all begin at zero"

    @jax.jit
    def loss(volumetric):
        keys = jax.random.split(jax.random.key(5), 2)
        return model.objectives[0].loss({**params, "volumetric": volumetric}, keys, BATCH)[0].mean()

    downhill = jax.tree.map(lambda g: -1e-3 * g, jax.jit(jax.grad(loss))(params["volumetric"]))
    assert loss(downhill) < loss(params["volumetric"])


def test_samples_are_those_of_slices_at_first_and_along_slices_later(params, changed):
    """With keys of its own for each volume; a slice's answer depends on the sources of its neighbours then."""
    planar = conditional_diffusion(make(0), (4, 4, 1), SAMPLING)
    alone = jax.jit(lambda p, keys, s: planar.sample(p, keys, len(s), s))
    whole = SAMPLE(params, KEYS, S)
    # Noise is that of the volume: the same for a volume of one slice and for that slice.
    one = SAMPLE(params, KEYS[:1], S[:1, :1])
    np.testing.assert_allclose(one[0], alone(params, KEYS[:1], S[0, :1]), atol=1e-6)
    other = S.at[0, 2].set(-S[0, 2])
    for p, sees in ((params, False), (changed, True)):
        moved = np.abs(SAMPLE(p, KEYS, other) - SAMPLE(p, KEYS, S)).max((2, 3, 4))
        assert moved[0, 2] > 1e-3
        assert ((moved[0, :2] > 1e-5) == sees).all()
        assert (moved[1] == 0).all()
    assert np.abs(whole[0, 0] - whole[0, 1]).max() > 1e-3


def test_a_volume_is_drawn_alike_whatever_else_is_and_at_any_depth(changed):
    whole = SAMPLE(changed, KEYS, S)
    for i in range(2):
        np.testing.assert_allclose(SAMPLE(changed, KEYS[i : i + 1], S[i : i + 1])[0], whole[i], atol=1e-5)
    assert SAMPLE(changed, KEYS, jnp.concatenate([S, S], 1)).shape == (2, 6, 4, 4, 1)
    with pytest.raises(ValueError, match="give the 1 sources"):
        MODEL.sample(changed, KEY, 1, S)
