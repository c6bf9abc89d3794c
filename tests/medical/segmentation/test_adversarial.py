import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.losses.overlap import soft_dice
from jaxgen.medical.segmentation.adversarial import adversarial_segmentation, soft_dice_segmentation, truth_of
from jaxgen.nets import multiscale_critic
from jaxgen.train.optimizer import bounded
from jaxgen.types import Net

RNG = np.random.default_rng(0)
IMAGE = jnp.asarray(RNG.uniform(-1, 1, (3, 8, 8, 2)), jnp.float32)
MAPS = jnp.where(IMAGE[..., :1] > 0.2, -1.0, 1.0)
NET = Net(lambda key, x: jnp.zeros(2), lambda params, x, key=None: params[0] * x[..., :1] + params[1])


@pytest.fixture(scope="module")
def game():
    model = adversarial_segmentation(NET, multiscale_critic((4, 4)), weight=2.0)
    return model, model.init(jax.random.key(0), {"image": IMAGE, "distance": MAPS})


def test_the_players_want_the_opposite_of_one_number(game):
    model, params = game
    batch, key = {"image": IMAGE, "distance": MAPS}, jax.random.key(1)
    critic, net = model.objectives
    minus, _ = critic.loss(params, key, batch)
    value, info = net.loss(params, key, batch)
    p = jnp.full((3, 8, 8, 1), 0.5)
    np.testing.assert_allclose(value, -2 * minus + soft_dice(p, truth_of(batch)), rtol=1e-5)
    np.testing.assert_allclose(info["difference"], -minus, rtol=1e-6)
    assert (np.asarray(minus) < 0).all()


def test_soft_dice_alone_is_the_game_without_its_critic(game):
    batch, key = {"image": IMAGE, "distance": MAPS}, jax.random.key(1)
    model = soft_dice_segmentation(NET)
    params = model.init(jax.random.key(0), batch)
    assert sorted(params) == ["net"]
    value, info = model.objectives[0].loss(params, key, batch)
    played, of_game = game[0].objectives[1].loss(game[1], key, batch)
    np.testing.assert_allclose(value, played - 2 * of_game["difference"], rtol=1e-5)
    np.testing.assert_allclose(info["dice"], 1 - value, rtol=1e-6)
    sure = {"net": jnp.array([2000.0, -400.0])}
    assert (np.asarray(model.objectives[0].loss(sure, key, batch)[0]) < value).all()


def test_the_difference_written_out(game):
    model, params = game
    y = np.asarray(MAPS <= 0, np.float32)
    critic = multiscale_critic((4, 4))
    seen = [critic.apply(params["critic"], (IMAGE + 1) / 2 * mask) for mask in (0.5 * np.ones_like(y), y)]
    want = np.mean([np.abs(a - b).mean((1, 2, 3)) for a, b in zip(*seen, strict=True)], axis=0)
    found, _ = model.objectives[0].loss(params, jax.random.key(0), {"image": IMAGE, "distance": MAPS})
    np.testing.assert_allclose(-found, want, rtol=1e-5)


def test_a_perfect_mask_leaves_nothing_to_tell(game):
    model, params = game
    sure = {**params, "net": jnp.array([2000.0, -400.0])}  # 2000 (x - 0.2)
    value, info = model.objectives[1].loss(sure, jax.random.key(0), {"image": IMAGE, "distance": MAPS})
    np.testing.assert_allclose(value, 0, atol=2e-3)
    np.testing.assert_allclose(info["dice"], 1, atol=2e-3)


def test_several_classes_share_no_pixel():
    maps = jnp.asarray(RNG.normal(size=(2, 4, 4, 3)))
    truth = truth_of({"distance": maps})
    assert truth.shape == (2, 4, 4, 3)
    assert set(np.unique(truth.sum(-1))) <= {0.0, 1.0}
    np.testing.assert_array_equal(truth.sum(-1) == 1, (maps <= 0).any(-1))


def test_soft_dice_of_masks_is_one_minus_dice():
    a, b = RNG.random((2, 4, 5, 5, 1)) > 0.5
    want = 1 - 2 * (a & b).sum((1, 2, 3)) / (a.sum((1, 2, 3)) + b.sum((1, 2, 3)))
    np.testing.assert_allclose(soft_dice(jnp.asarray(a), jnp.asarray(b)), want, atol=1e-5)
    empty = jnp.zeros((1, 3, 3, 1))
    assert soft_dice(empty, empty).item() == 0


def test_parameters_stay_within_bounds_and_take_the_optimizers_steps_inside():
    optimizer, params = bounded(optax.adam(0.1), 0.25), {"w": jnp.array([0.0, 0.2])}
    state = optimizer.init(params)
    for _ in range(5):
        updates, state = optimizer.update({"w": jnp.array([1.0, -1.0])}, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params["w"], [-0.25, 0.25], atol=1e-6)
