import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.families.autoencoder import squared_error
from jaxgen.families.cycle_gan import CycleGame, CycleNets, cycle_gan
from jaxgen.families.translation import conditional_diffusion, direct_translation
from jaxgen.families.translation_gan import PairedGame, translation_gan
from jaxgen.losses import wasserstein
from jaxgen.paths import cosine
from jaxgen.samplers import Sampling, ddim, grids
from jaxgen.train.state import init_state
from jaxgen.train.step import make_train_step
from jaxgen.types import Net

KEY, KEYS = jax.random.key(0), jax.random.split(jax.random.key(0), 3)
RNG = np.random.default_rng(0)
X, S = (jnp.asarray(RNG.uniform(-1, 1, (3, 4, 4, 1)), jnp.float32) for _ in range(2))
BATCH = {"image": X, "source": S}


def scaled(factor):
    """A network of one parameter: the image times it."""
    return Net(lambda key, x: jnp.asarray(factor), lambda params, x, key=None: params * x)


def summed(slope):
    """A critic of one parameter: the sum of the image, and of the condition, times it."""

    def apply(params, x, condition=None, key=None):
        seen = x if condition is None else x + condition
        return params * seen.sum((1, 2, 3))

    return Net(lambda key, x, condition=None: jnp.asarray(slope), apply)


def softplus(x):
    return np.log1p(np.exp(x))


def test_a_direct_translation_by_hand():
    model = direct_translation(scaled(0.5))
    params = model.init(KEY, BATCH)
    np.testing.assert_allclose(
        model.objectives[0].loss(params, KEYS, BATCH)[0], np.abs(0.5 * S - X).mean((1, 2, 3)), rtol=1e-5
    )
    np.testing.assert_allclose(model.sample(params, KEY, 3, S), 0.5 * S)
    with pytest.raises(ValueError, match="2 sources"):
        model.sample(params, KEY, 2, S)


def test_conditional_diffusion_hands_the_network_the_source_as_it_is():
    """A network that answers the source as its x0: the loss is the squared distance of the pair."""
    path = cosine()
    copy = Net(lambda key, x, t: {}, lambda params, x, t, key=None: x[..., 1:])
    model = conditional_diffusion(copy, (4, 4, 1), Sampling(path, ddim(path), grids.uniform(path, 5), "x0"))
    params = model.init(KEY, BATCH)
    value = model.objectives[0].loss(params, KEYS, BATCH)[0]
    np.testing.assert_allclose(value, np.square(S - X).mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(model.sample(params, KEY, 3, S), S, atol=1e-5)


def test_slices_with_one_key_share_their_noise():
    path = cosine()
    keep = Net(lambda key, x, t: {}, lambda params, x, t, key=None: 0.5 * x[..., :1])
    model = conditional_diffusion(keep, (4, 4, 1), Sampling(path, ddim(path), grids.uniform(path, 5), "x0"))
    same = model.sample({"net": {}}, jnp.broadcast_to(KEY, (3,)), 3, S)
    np.testing.assert_array_equal(same[0], same[2])
    apart = model.sample({"net": {}}, KEYS, 3, S)
    assert np.abs(apart[0] - apart[2]).max() > 1e-3


def test_pix2pix_by_hand():
    model = translation_gan(scaled(0.5), summed(0.3), PairedGame())
    params = model.init(KEY, BATCH)
    critic, generator = model.objectives
    real, made = (0.3 * np.asarray(x + S).sum((1, 2, 3)) for x in (X, 0.5 * S))
    np.testing.assert_allclose(critic.loss(params, KEYS, BATCH)[0], 0.5 * (softplus(-real) + softplus(made)), rtol=1e-4)
    content = np.abs(0.5 * S - X).mean((1, 2, 3))
    np.testing.assert_allclose(generator.loss(params, KEYS, BATCH)[0], 100 * content + softplus(-made), rtol=1e-4)


def test_the_game_of_low_dose_ct_by_hand():
    """A linear critic of slope a has the gradient norm a sqrt(pixels) everywhere."""
    game = PairedGame(wasserstein(), squared_error, 0.1, 1.0, 1.0, 10.0, 4, conditional=False)
    model = translation_gan(scaled(0.5), summed(0.3), game)
    params = model.init(KEY, BATCH)
    assert [one.trains for one in model.objectives] == ["critic"] * 4 + ["generator"]
    real, made = (0.3 * np.asarray(x).sum((1, 2, 3)) for x in (X, 0.5 * S))
    expected = made - real + 10 * (0.3 * 4 - 1) ** 2
    np.testing.assert_allclose(model.objectives[0].loss(params, KEYS, BATCH)[0], expected, rtol=1e-4)
    content = np.square(0.5 * S - X).mean((1, 2, 3))
    np.testing.assert_allclose(model.objectives[-1].loss(params, KEYS, BATCH)[0], 0.1 * content - made, rtol=1e-4)


def test_a_step_gives_each_player_its_own_gradient_once_per_step():
    """With plain descent of rate r a Wasserstein critic's slope moves by r times what real and made ones differ by."""
    game = PairedGame(wasserstein(), squared_error, 0.0, 1.0, 1.0, 0.0, 3, conditional=False)
    model = translation_gan(scaled(0.5), summed(0.3), game)
    optimizers = {"generator": optax.sgd(0.0), "critic": optax.sgd(0.01)}
    state = init_state(model, optimizers, KEY, BATCH)
    state, _ = make_train_step(model, optimizers, ema_decay=0.9)(state, BATCH)
    moved = 0.01 * 3 * float((X - 0.5 * S).sum((1, 2, 3)).mean())
    np.testing.assert_allclose(state.params["critic"], 0.3 + moved, rtol=1e-4)
    assert float(state.params["generator"]) == 0.5


def cycle(to_image=1.0, to_source=1.0, slope=0.0, **game):
    return cycle_gan(CycleNets(scaled(to_image), scaled(to_source), summed(slope), summed(slope)), CycleGame(**game))


def test_cyclegan_of_identity_maps_on_equal_images_pays_for_the_critics_alone():
    same = {"image": X, "source": X}
    model = cycle(pool=0)
    value, parts = model.objectives[0].loss(model.init(KEY, same), KEYS, same)
    assert float(parts["cycle"].max()) == float(parts["identity"].max()) == 0
    np.testing.assert_allclose(value, 1.0)  # two critics that answer 0: (0 - 1)^2 / 2 each


def test_cyclegan_by_hand():
    model = cycle(2.0, 0.25, 0.1, pool=0)
    params = model.init(KEY, BATCH)
    size = {"image": np.abs(X).mean((1, 2, 3)), "source": np.abs(S).mean((1, 2, 3))}
    d = {"image": 0.1 * 2 * np.asarray(S).sum((1, 2, 3)), "source": 0.1 * 0.25 * np.asarray(X).sum((1, 2, 3))}
    adversarial = sum(0.5 * (logit - 1) ** 2 for logit in d.values())
    there_and_back = 0.5 * (size["image"] + size["source"])
    left_alone = 1.0 * size["image"] + 0.75 * size["source"]
    value = model.objectives[0].loss(params, KEYS, BATCH)[0]
    np.testing.assert_allclose(value, adversarial + 10 * there_and_back + 5 * left_alone, rtol=1e-4)
    real = {"image": 0.1 * np.asarray(X).sum((1, 2, 3)), "source": 0.1 * np.asarray(S).sum((1, 2, 3))}
    critics = sum(0.25 * ((real[kind] - 1) ** 2 + d[kind] ** 2) for kind in d)
    np.testing.assert_allclose(model.objectives[1].loss(params, KEYS, BATCH)[0], critics, rtol=1e-4)


def test_the_pool_is_filled_with_made_images_by_a_step_of_descent():
    model = cycle(2.0, 0.25, 0.1, pool=40)
    start = {"image": 0 * X, "source": 0 * S}
    groups = ("to_image", "to_source", "critic_image", "critic_source")
    optimizers = {**dict.fromkeys(groups, optax.sgd(0.0)), "pool": optax.sgd(1.0)}
    state = init_state(model, optimizers, KEY, start)
    assert not np.any(state.params["pool"]["image"]["entries"])
    step = jax.jit(make_train_step(model, optimizers, ema_decay=0.9))
    put = 0
    for _ in range(30):
        state, metrics = step(state, BATCH)
    for kind, made in (("image", 2 * S), ("source", 0.25 * X)):
        pool = np.asarray(state.params["pool"][kind]["entries"])
        distance = np.abs(pool[:, None] - np.asarray(made)[None]).max((2, 3, 4)).min(1)
        empty = np.abs(pool).max((1, 2, 3)) == 0
        assert (empty | (distance < 1e-6)).all()
        put += int((~empty).sum())
    # 90 images of each kind, half of them put, on 40 places: 1 - (1 - 1 / 80)^90 of them are filled.
    assert 0.5 < put / 80 < 0.85
    assert np.isfinite(float(metrics["loss/critic_image+critic_source+pool"]))


def test_the_pool_changes_what_critics_see_and_not_their_gradient_otherwise():
    with_pool, without = cycle(2.0, 0.25, 0.1, pool=5), cycle(2.0, 0.25, 0.1, pool=0)
    params = with_pool.init(KEY, BATCH)
    # A pool of equal images: whatever is exchanged, critics see the same.
    flat = {name: jnp.ones_like(x) for name, x in BATCH.items()}
    entries = {"image": jnp.full((5, 4, 4, 1), 2.0), "source": jnp.full((5, 4, 4, 1), 0.25)}
    params["pool"] = {kind: {"entries": x} for kind, x in entries.items()}
    gradients = []
    for model in (with_pool, without):

        def loss(critic, model=model):
            return model.objectives[1].loss({**params, "critic_image": critic}, KEYS, flat)[0].mean()

        gradients.append(float(jax.grad(loss)(params["critic_image"])))
    assert gradients[0] == pytest.approx(gradients[1], rel=1e-5)
