"""The GAN as a model: its losses against numpy, what it draws, and that it learns; that its troubles are warned of."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.config import RunConfig
from jaxgen.data import ArraySource, planar
from jaxgen.data.pipeline import Feed
from jaxgen.families import Game, gan_model
from jaxgen.losses import adversarial
from jaxgen.metrics.modes import mode_coverage
from jaxgen.nets import dcgan_discriminator, dcgan_generator, mlp
from jaxgen.train import Reporter, Stage, Watch, critic_wins, falls, make_optimizer, stays_low, train_stage
from jaxgen.types import Net

LINEAR = Net(
    lambda key, x, **_: {"w": jnp.array([0.5, -2.0]), "b": jnp.float32(0.3)},
    lambda params, x, key=None, **_: x @ params["w"] + params["b"] + jnp.sum(x**2, -1),
)
"""A critic whose logit is ``w x + b + |x|^2``, its gradient ``w + 2 x``."""

SHIFT = Net(
    lambda key, z, **_: {"shift": jnp.array([1.0, 2.0])},
    lambda params, z, key=None, **_: z + params["shift"],
)


def gradient_norm(x):
    return ((np.array([0.5, -2.0]) + 2 * x) ** 2).sum(-1)


def logit(x):
    return x @ np.array([0.5, -2.0]) + 0.3 + (x**2).sum(-1)


def capture(game, seen):
    """The losses, and what they were called with."""

    def kept(side):
        def loss(real, generated):
            seen.append((real, generated))
            return side(real, generated)

        return loss

    return game._replace(generator=kept(game.generator), critic=kept(game.critic))


@pytest.mark.parametrize("name", ["relativistic", "non_saturating", "least_squares"])
def test_the_critic_s_loss_is_the_game_s_and_half_the_weighed_penalties(name):
    game, seen = getattr(adversarial, name)(), []
    x = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    model = gan_model(SHIFT, LINEAR, (2,), latent=2, game=Game(capture(game, seen), r1=0.4, r2=3.0), data="x")
    params = jax.jit(model.init)(jax.random.key(0), {"x": x})
    critic, generator = model.objectives
    assert (critic.trains, generator.trains) == ("critic", "generator")
    keys = jax.random.split(jax.random.key(1), 6)
    value, info = critic.loss(params, keys, {"x": x})
    ((real, generated),) = seen
    np.testing.assert_allclose(real, logit(x), rtol=1e-4)
    # The logit determines |y - centre|^2, and so the gradient's norm, of the generated examples.
    centre = np.array([0.5, -2.0]) / 2
    at_generated = 4 * (np.asarray(generated, np.float64) - 0.3 + (centre**2).sum())
    penalty = 0.5 * 0.4 * gradient_norm(x) + 0.5 * 3.0 * at_generated
    np.testing.assert_allclose(info["penalty"], penalty, rtol=1e-3)
    np.testing.assert_allclose(value, game.critic(real, generated) + penalty, rtol=1e-3)
    np.testing.assert_array_equal(info["accuracy"], real > generated)
    if game.boundary is None:
        assert set(info) == {"accuracy", "logit_real", "logit_generated", "penalty"}
    else:
        np.testing.assert_array_equal(info["accuracy_real"], real > game.boundary)
        np.testing.assert_array_equal(info["accuracy_generated"], generated < game.boundary)
    value, info = generator.loss(params, keys, {"x": x})
    np.testing.assert_allclose(value, game.generator(*seen[1]), rtol=1e-6)
    assert info == {}


def test_each_turn_of_the_critic_is_an_objective_and_wasserstein_takes_the_penalty_between():
    linear = Net(lambda key, x: {}, lambda params, x, key=None: 3 * x[:, 0])
    game = adversarial.wasserstein()
    model = gan_model(SHIFT, linear, (2,), latent=2, game=Game(game, gradient_penalty=10.0, critic_steps=3), data="x")
    assert [objective.trains for objective in model.objectives] == ["critic"] * 3 + ["generator"]
    batch = {"x": jnp.zeros((4, 2))}
    value, info = model.objectives[0].loss(jax.jit(model.init)(jax.random.key(0), batch), jax.random.key(1), batch)
    np.testing.assert_allclose(info["penalty"], 40.0, rtol=1e-5)
    np.testing.assert_allclose(value, info["logit_generated"] - info["logit_real"] + 40, rtol=1e-5)
    with pytest.raises(ValueError, match="critic_steps"):
        gan_model(SHIFT, linear, (2,), latent=2, game=Game(critic_steps=0))


def test_the_critic_sees_augmented_examples_only_and_each_player_its_own_gradient():
    model = gan_model(SHIFT, LINEAR, (2,), latent=2, data="x", game=Game(r1=1.0), augment=lambda key, x: 0 * x + 7.0)
    batch = {"x": jnp.ones((3, 2))}
    params = jax.jit(model.init)(jax.random.key(0), batch)
    _, info = model.objectives[0].loss(params, jax.random.key(1), batch)
    for name in ("logit_real", "logit_generated"):
        np.testing.assert_allclose(info[name], logit(np.full((3, 2), 7.0)), rtol=1e-5)


@pytest.fixture(scope="module")
def conditional():
    shape, options = (8, 8, 1), {"classes": 3}
    generator = dcgan_generator(shape, channels=(4, 4), **options)
    critic = dcgan_discriminator(channels=(4,), patch=True, **options)
    model = gan_model(generator, critic, shape, latent=4, classes=3, condition="mask", game=Game(r1=1.0, r2=1.0))
    rng = np.random.default_rng(0)
    batch = {
        "image": jnp.asarray(rng.normal(size=(4, *shape)), jnp.float32),
        "label": jnp.array([0, 1, 2, 0]),
        "mask": jnp.asarray(rng.normal(size=(4, 8, 8, 2)), jnp.float32),
    }
    params = jax.jit(model.init)(jax.random.key(0), batch)
    leaves, tree = jax.tree.flatten(params)
    params = jax.tree.unflatten(tree, [x + 0.1 * rng.normal(size=x.shape).astype(np.float32) for x in leaves])
    return model, params, batch


def test_labels_and_conditions_reach_both_players(conditional):
    model, params, batch = conditional
    keys = jax.random.split(jax.random.key(1), 4)
    for objective in model.objectives:

        @jax.jit
        def slopes(params, keys, batch, objective=objective):
            def total(params):
                value, _ = objective.loss(params, keys, batch)
                return value.sum(), value

            return jax.grad(total, has_aux=True)(params)

        gradient, value = slopes(params, keys, batch)
        assert (value.shape, value.dtype) == ((4,), jnp.float32)
        # What differs between the players' logits of a pair does not depend on what is added to both.
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient[objective.trains]):
            if "bias" not in str(path):
                assert np.abs(leaf).max() > 0, path
        for name in ("label", "mask"):
            other = batch | {name: batch[name][::-1]}
            assert not np.allclose(slopes(params, keys, other)[1], value)
        part = {name: x[2:] for name, x in batch.items()}
        np.testing.assert_allclose(slopes(params, keys[2:], part)[1], value[2:], rtol=1e-4, atol=1e-5)


def test_samples_are_of_the_condition_asked_for(conditional):
    model, params, batch = conditional
    cond = {"label": batch["label"], "condition": batch["mask"]}
    draw = jax.jit(lambda key, cond: model.sample(params, key, 4, cond))
    one = draw(jax.random.key(0), cond)
    assert one.shape == (4, 8, 8, 1)
    np.testing.assert_array_equal(one, draw(jax.random.key(0), cond))
    assert not np.allclose(one, draw(jax.random.key(1), cond))
    assert not np.allclose(one, draw(jax.random.key(0), cond | {"label": (batch["label"] + 1) % 3}))
    drawn = model.sample(params, jax.random.key(0), 4, {"condition": batch["mask"]})
    assert np.isfinite(drawn).all()
    for wrong in (batch["label"], {"label": batch["label"]}, {"label": jnp.array([0]), "condition": batch["mask"]}):
        with pytest.raises(ValueError, match="cond"):
            model.sample(params, jax.random.key(0), 4, wrong)
    plain = gan_model(SHIFT, LINEAR, (2,), latent=2)
    with pytest.raises(ValueError, match="unconditional"):
        plain.sample(params, jax.random.key(0), 4, batch["label"])


LAW = planar.ring()


def train(folder, generator_rate=1e-3, generator=None, steps=1500, **options):
    """A small GAN on the eight Gaussians, watched."""
    model = gan_model(
        generator or mlp(2, widths=(64, 64)), mlp(1, widths=(64, 64)), (2,), latent=2, data="points", **options
    )
    draw = jax.jit(lambda params, key: model.sample(params, key, 512))

    def measure(params, key, examples):
        found = mode_coverage(draw(params, key), LAW.modes, 0.2)
        return {"modes": found.covered, "quality": found.quality}

    advisers = (critic_wins(lines=4), falls("modes", at_least=5), stays_low("modes", below=4, lines=4, skip=4))
    rates = {"generator": generator_rate, "critic": 1e-3}
    optimizers = {name: make_optimizer(rate, steps=steps, schedule="constant", b1=0.0) for name, rate in rates.items()}
    stage = Stage("gan", model, optimizers, steps, watch=Watch(measure, advisers))
    source = ArraySource({"points": LAW.draw(np.random.default_rng(0), 2048)[0]})
    config = RunConfig(batch_size=128, steps_per_call=100, log_every=100, checkpoint_every=steps)
    train_stage(stage, Feed(source, 128, seed=0), config, folder, {}, Reporter(folder, quiet=True))
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def warnings(lines):
    return [line["warning"].split(":")[0] for line in lines if "warning" in line]


def test_a_healthy_game_finds_the_modes_and_warns_of_nothing(tmp_path):
    lines = train(tmp_path, game=Game(r1=0.1, r2=0.1))
    assert lines[-1]["modes"] >= 7
    assert warnings(lines) == []


def test_a_discriminator_that_wins_is_warned_of(tmp_path):
    lines = train(tmp_path, generator_rate=1e-9, steps=1000, game=Game(adversarial.non_saturating()))
    assert warnings(lines)[0] == "the discriminator wins"
    assert lines[-1]["accuracy/critic"] > 0.97


@pytest.mark.thorough
def test_a_generator_that_draws_one_point_is_warned_of(tmp_path):
    """A generator that cannot see its latent."""
    net = mlp(2, widths=(16,))
    blind = net._replace(
        init=lambda key, z: net.init(key, 0 * z), apply=lambda params, z, key=None: net.apply(params, 0 * z)
    )
    lines = train(tmp_path, generator=blind, steps=1000, game=Game(r1=0.1, r2=0.1))
    assert "modes are missing" in warnings(lines)
    assert max(line["modes"] for line in lines) <= 1
