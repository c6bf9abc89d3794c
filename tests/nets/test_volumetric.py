"""Layers across slices: nothing at first, then what goes along the slices of one volume and into no other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.nets import UNetVariant, of_volumes, ops, split_volumetric, unet
from jaxgen.nets.volumetric import VolumetricLayer
from tests.nets.parameters import perturbed

RNG = np.random.default_rng(0)
X, T = jnp.asarray(RNG.normal(size=(2, 3, 8, 8, 2)), jnp.float32), jnp.array([0.2, 0.7])
OPTIONS = {"channels": (8,), "blocks": 1, "attention": (0,), "head_width": 4}


def of_slices(d, **variant):
    return unet(1, **OPTIONS, variant=UNetVariant(slices=d, groups=4, **variant))


VOLUMES = of_volumes(of_slices)
APPLY = jax.jit(VOLUMES.apply)


@pytest.fixture(scope="module")
def planar():
    """Trained parameters of the network without."""
    return perturbed(jax.jit(of_slices(0).init)(jax.random.key(0), X[0], T[:1]))


@pytest.fixture(scope="module")
def volumetric():
    return split_volumetric(jax.jit(VOLUMES.init)(jax.random.key(1), X, T))[1]


def test_a_layer_by_hand():
    h = jnp.asarray(RNG.normal(size=(6, 2, 2, 3)), jnp.float32)
    kernel, bias = (jnp.asarray(RNG.normal(size=shape), jnp.float32) for shape in ((3, 3, 3), (3,)))
    found = VolumetricLayer(3).apply({"params": {"kernel": kernel, "bias": bias}}, h)
    padded = np.pad(np.asarray(h).reshape(2, 3, 2, 2, 3), ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)))
    seen = sum(padded[:, i : i + 3] @ np.asarray(kernel[i]) for i in range(3))
    np.testing.assert_allclose(found, h + seen.reshape(h.shape) + bias, atol=1e-5)


@pytest.mark.parametrize("form", ["cpu", pytest.param("accelerator", marks=pytest.mark.thorough)])
def test_at_first_a_volume_is_what_its_slices_are_bit_for_bit(planar, volumetric, form):
    with ops.form(form):
        whole = jax.jit(VOLUMES.apply)(planar | volumetric, X, T)
        slices = jax.jit(of_slices(0).apply)(planar, X.reshape(6, 8, 8, 2), jnp.repeat(T, 3))
    assert np.abs(np.asarray(whole)).max() > 0.1
    np.testing.assert_array_equal(whole, slices.reshape(whole.shape))


def test_the_parameters_are_those_of_the_network_of_slices_and_new_ones(planar, volumetric):
    whole = jax.eval_shape(of_slices(3).init, jax.random.key(0), X[0], T[:1])
    old, new = split_volumetric(whole)
    assert jax.tree.map(jnp.shape, old) == jax.tree.map(jnp.shape, planar)
    assert jax.tree.map(jnp.shape, new) == jax.tree.map(jnp.shape, volumetric)
    # A block in the encoder, two in the decoder, each with attention; in the middle attention between two blocks.
    assert len(new) == 3 * 2 + 3
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(volumetric))
    # From the same key they are the same numbers.
    drawn = jax.jit(of_slices(3).init)(jax.random.key(0), X[0], T[:1])
    jax.tree.map(np.testing.assert_array_equal, perturbed(split_volumetric(drawn)[0]), planar)


def test_a_changed_layer_carries_along_slices_and_not_into_other_volumes(planar, volumetric):
    params = planar | perturbed(volumetric)

    def answer(x):
        return APPLY(params, x, T)

    moved = np.abs(answer(X.at[0, 2].add(1.0)) - answer(X)).max((2, 3, 4))
    assert (moved[0] > 1e-3).all(), "the whole volume sees the slice"
    assert (moved[1] == 0).all(), "the other volume does not"
    flipped = answer(X[:, ::-1])[:, ::-1]
    assert np.abs(flipped - answer(X)).max() > 1e-3, "kernels have a direction"


def test_volumes_of_another_depth_have_the_same_parameters_and_times_are_those_of_volumes(planar, volumetric):
    params = planar | perturbed(volumetric)
    one = APPLY(params, jnp.concatenate([X, X], 1)[:, :5], T)
    assert one.shape == (2, 5, 8, 8, 1)
    whole = APPLY(params, X, T)
    for i in range(2):
        np.testing.assert_allclose(APPLY(params, X[i : i + 1], T[i : i + 1])[0], whole[i], atol=1e-5)
    assert np.abs(APPLY(params, X, T[::-1]) - whole).max() > 1e-3


def test_dropout_of_each_slice_is_its_own(planar, volumetric):
    net = of_volumes(lambda d: unet(1, **OPTIONS, dropout=0.5, variant=UNetVariant(slices=d, groups=4)))
    same = jnp.broadcast_to(X[:1, :1], X.shape)
    keys = jax.random.split(jax.random.key(0), 2)
    dropped = jax.jit(net.apply)(planar | volumetric, same, jnp.full(2, 0.3), key=keys).reshape(6, -1)
    apart = np.abs(dropped[:, None] - dropped[None]).max(-1) > 1e-4
    assert apart[~np.eye(6, dtype=bool)].all()


def test_a_batch_that_holds_no_whole_volumes_is_refused(planar, volumetric):
    with pytest.raises(ValueError, match="4 slices holds no whole volumes of 3"):
        of_slices(3).apply(planar | volumetric, X.reshape(6, 8, 8, 2)[:4], jnp.repeat(T, 2))
