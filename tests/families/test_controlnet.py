"""ControlNet on a frozen model: without effect at first, trained alone, and followed by the samples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.families import ControlledNets, controlnet_model, text_diffusion_model
from jaxgen.nets import UNetVariant, controlnet, unet
from jaxgen.nets.clip_text import TextSizes, clip_text
from jaxgen.nets.unet_variant import Control
from jaxgen.paths import cosine
from jaxgen.samplers import Sampling, ddim, grids
from jaxgen.train import fingerprint, init_state, make_train_step
from jaxgen.types import Net

EMPTY = (1, 2, 0)
SHAPE = (4, 4, 1)
PROMPTS = jnp.array([[1, 5, 2], [1, 7, 2]], jnp.int32)


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def sampling(prediction="v"):
    return Sampling(cosine(), ddim(cosine()), grids.uniform(cosine(), 3), prediction)


@pytest.fixture(scope="module")
def tiny():
    """Networks, a trained base (random, no zeros in it), a batch, and the model on it."""
    options = {"channels": (8,), "blocks": 1, "head_width": 4, "variant": UNetVariant(cross_attention=(0,))}
    encoder = clip_text(TextSizes(vocabulary=9, length=3, width=8, depth=1, heads=1))
    nets = ControlledNets(unet(1, **options), encoder, controlnet(hint_channels=(3, 4), **options))
    batch = {"image": normal(2, *SHAPE), "text": PROMPTS, "control": jnp.abs(normal(2, 8, 8, 3, seed=1))}
    plain = text_diffusion_model(nets.net, encoder, SHAPE, sampling(), empty=EMPTY)
    shapes = jax.eval_shape(plain.init, jax.random.key(0), batch)
    leaves, tree = jax.tree.flatten(shapes)
    base = jax.tree.unflatten(tree, [0.3 * normal(*leaf.shape, seed=i) for i, leaf in enumerate(leaves)])
    return nets, plain, base, batch, controlnet_model(nets, SHAPE, sampling(), empty=EMPTY, base=base)


@pytest.mark.thorough
def test_it_starts_as_a_copy_and_then_learns_alone(tiny):
    _, plain, base, batch, model = tiny
    optimizers = {"control": optax.sgd(0.1)}
    before = init_state(model, optimizers, jax.random.key(1), batch)
    control = before.params["control"]
    shared = [name for name in control if name not in ("hint", "middle") and not name.startswith("skip_")]
    assert shared
    assert all(fingerprint(control[name]) == fingerprint(base["net"][name]) for name in shared)
    assert {name: fingerprint(before.params[name]) for name in base} == {name: fingerprint(base[name]) for name in base}

    draw = jax.jit(lambda params, hint: model.sample(params, jax.random.key(2), 2, PROMPTS, 3.0, hint))
    without = jax.jit(lambda params: plain.sample(params, jax.random.key(2), 2, PROMPTS, 3.0))(base)
    np.testing.assert_array_equal(draw(before.params, batch["control"]), without)
    np.testing.assert_array_equal(draw(before.params, None), without)

    step = jax.jit(make_train_step(model, optimizers, ema_decay=0.9))
    after, _ = step(before, batch)
    zeros = {name for name in control if name.startswith("skip_") or name == "middle"}
    for name in zeros:
        assert not np.any(control[name]["kernel"])
        assert np.abs(after.params["control"][name]["kernel"]).max() > 1e-6
    for state in (after, step(after, batch)[0]):
        assert all(fingerprint(state.params[name]) == fingerprint(base[name]) for name in base)
    np.testing.assert_array_equal(draw(after.params, None), without)
    assert np.abs(draw(after.params, batch["control"]) - without).max() > 1e-5


def told():
    """Networks whose clean image is the second token of the prompt, plus what the ControlNet adds: ten hints."""
    table = jnp.linspace(-0.8, 0.8, 9)
    encoder = Net(lambda key, tokens: {}, lambda params, tokens, key=None: table[tokens][..., None])

    def apply(params, x, t, context, control=None):
        return 0 * x + context[:, 1, 0].reshape(-1, 1, 1, 1) + (0 if control is None else control.middle)

    def steer(params, x, t, hint, context, key=None):
        return Control((), 10 * params["middle"]["gain"] * hint)

    net = Net(lambda key, x, t, context: {}, apply)
    control = Net(lambda key, x, t, hint, context: {"middle": {"gain": jnp.ones(())}}, steer)
    return ControlledNets(net, encoder, control), table


def test_both_sides_of_guidance_see_the_hint_and_strength_weighs_it():
    nets, table = told()
    model = controlnet_model(nets, SHAPE, sampling("x0"), empty=EMPTY)
    hint = jnp.stack([jnp.full(SHAPE, 0.1), jnp.full(SHAPE, 0.2)])
    params = model.init(jax.random.key(0), {"image": hint, "text": PROMPTS, "control": hint})
    draw = functools.partial(model.sample, params, jax.random.key(1), 2)
    wanted, nothing = table[PROMPTS[:, 1]], table[EMPTY[1]]
    for scale, strength in ((1.0, 1.0), (3.0, 1.0), (3.0, 0.5), (3.0, 0.0)):
        drawn = draw(PROMPTS, scale, hint, strength)[:, 0, 0, 0]
        expected = nothing + scale * (wanted - nothing) + strength * jnp.array([1.0, 2.0])
        np.testing.assert_allclose(drawn, expected, atol=1e-5)
    np.testing.assert_allclose(draw(hint=hint)[:, 0, 0, 0], nothing + jnp.array([1.0, 2.0]), atol=1e-5)


@pytest.mark.parametrize("drop", [0.0, 1.0])
def test_dropped_prompts_are_the_empty_one(drop):
    nets, table = told()
    model = controlnet_model(nets, SHAPE, sampling("x0"), empty=EMPTY, drop=drop)
    hint = jnp.full((2, *SHAPE), 0.1)
    image = 1 + jnp.ones((2, *SHAPE)) * table[PROMPTS[:, 1]].reshape(2, 1, 1, 1)
    batch = {"image": image, "text": PROMPTS, "control": hint}
    loss, _ = model.objectives[0].loss(model.init(jax.random.key(0), batch), jax.random.key(3), batch)
    expected = drop * (table[PROMPTS[:, 1]] - table[EMPTY[1]]) ** 2
    np.testing.assert_allclose(loss, expected, atol=1e-6)


def test_what_does_not_fit_is_refused(tiny):
    *_, model = tiny
    with pytest.raises(ValueError, match="3 tokens for each"):
        model.sample({}, jax.random.key(0), 2, PROMPTS[:1])
    with pytest.raises(ValueError, match="1 hints for 2 images"):
        model.sample({}, jax.random.key(0), 2, PROMPTS, 1.0, jnp.zeros((1, 8, 8, 3)))
