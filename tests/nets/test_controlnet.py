"""ControlNet: nothing changes at first, learning starts at the zero convolutions and then reaches the rest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.nets import Transformer, UNetVariant, controlnet, controlnet_from_unet, unet

T = jnp.array([0.2, 0.8])
HINT = (3, 4)


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def random_params(shapes, scale=0.3):
    leaves, tree = jax.tree.flatten(shapes)
    return jax.tree.unflatten(tree, [scale * normal(*leaf.shape, seed=i) for i, leaf in enumerate(leaves)])


def both(rank):
    """A U-Net with random parameters, its ControlNet with new ones copied from it, and inputs."""
    variant = UNetVariant(groups=4, transformer=Transformer(middle=True))
    options = {"channels": (8,), "blocks": 1, "head_width": 4, "variant": variant}
    net, control = unet(1, **options), controlnet(hint_channels=HINT, **options)
    x, hint, context = normal(2, *(4,) * rank, 1), normal(2, *(8,) * rank, 2, seed=1), normal(2, 3, 5, seed=2)
    trained = random_params(jax.eval_shape(lambda key: net.init(key, x, T, context=context), jax.random.key(0)))
    new = jax.jit(control.init)(jax.random.key(1), x, T, hint, context=context)
    return net, control, trained, controlnet_from_unet(trained, new), (x, hint, context)


def steering(net, control, trained, inputs):
    """``(the U-Net under the control of given parameters, its answer without)``."""
    x, hint, context = inputs

    def steered(params):
        return net.apply(trained, x, T, context=context, control=control.apply(params, x, T, hint, context=context))

    return steered, jax.jit(lambda: net.apply(trained, x, T, context=context))()


@pytest.mark.thorough
def test_it_starts_without_effect_in_3d():
    net, control, trained, params, inputs = both(3)
    steered, plain = steering(net, control, trained, inputs)
    np.testing.assert_array_equal(jax.jit(steered)(params), plain)


@pytest.mark.thorough
def test_it_starts_without_effect_and_learns_from_the_zero_convolutions_on():
    net, control, trained, params, inputs = both(2)
    steered, plain = steering(net, control, trained, inputs)
    steered = jax.jit(steered)
    np.testing.assert_array_equal(steered(params), plain)

    gradient = jax.jit(jax.grad(lambda p: jnp.mean((steered(p) - 1.0) ** 2)))
    first = gradient(params)
    zeros = {name for name in params if name.startswith(("skip_", "middle"))}
    learns = {name: any(np.abs(g).max() > 1e-5 for g in jax.tree.leaves(tree)) for name, tree in first.items()}
    assert learns == {name: name in zeros for name in params}  # what is behind a zero learns nothing yet
    params = jax.tree.map(lambda p, g: p - 0.1 * g, params, first)
    assert all(np.abs(params[name]["kernel"]).max() > 1e-6 for name in zeros)
    assert not np.any(params["hint"]["Conv_3"]["kernel"])
    second = gradient(params)
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves({k: v for k, v in second.items() if k != "hint"}))
    assert np.abs(second["hint"]["Conv_3"]["kernel"]).max() > 0
    assert np.abs(steered(params) - plain).max() > 1e-4


def test_what_is_copied_and_what_is_refused():
    options = {"channels": (8, 16), "blocks": (1, 2), "attention": (1,), "head_width": 8, "classes": 2}
    net, control = unet(1, **options), controlnet(hint_channels=(4,), **options)
    x, vector, label = jnp.zeros((2, 4, 4, 1)), jnp.zeros((2, 3)), jnp.zeros(2, int)
    trained = jax.eval_shape(lambda key: net.init(key, x, T, vector, label=label), jax.random.key(0))
    new = jax.eval_shape(lambda key: control.init(key, x, T, x, vector, label), jax.random.key(0))
    copied = controlnet_from_unet(trained, new)
    assert copied == new  # the shapes
    own = {name for name, tree in copied.items() if tree is new[name]}
    assert own == {"hint", "middle", *(f"skip_{i}" for i in range(5))}
    blocks = [name for name in copied if name.startswith("ResidualBlock")]
    assert len(blocks) == 5  # encoder and middle; those of the decoder stay behind

    wider = unet(1, **options | {"channels": (8, 24)})
    shapes = jax.eval_shape(lambda key: wider.init(key, x, T, vector, label=label), jax.random.key(0))
    with pytest.raises(ValueError, match="not the same in U-Net and ControlNet"):
        controlnet_from_unet(shapes, new)
    with pytest.raises(ValueError, match=r"a hint for \(4, 4\) must have \(4, 4\) pixels, got \(8, 8\)"):
        jax.eval_shape(control.apply, new, x, T, jnp.zeros((2, 8, 8, 1)), vector, label)
    with pytest.raises(ValueError, match="hint_channels must name"):
        controlnet(hint_channels=())
