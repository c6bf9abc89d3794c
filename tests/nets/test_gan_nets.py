"""Generators, discriminators, and what they are made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.losses.adversarial import squared_gradient
from jaxgen.nets import (
    dcgan_discriminator,
    dcgan_generator,
    mlp,
    ops,
    resampling,
    residual_discriminator,
    residual_generator,
    spectral_norm,
)
from jaxgen.nets.fixup import FixupBlock
from jaxgen.nets.spectral import spectral_radius
from tests.nets.parameters import drawn

SPATIAL = {1: (8,), 2: (8, 12), 3: (4, 4, 8)}
SMALL = {"channels": (8, 4), "blocks": 1, "group_width": 4}
GENERATORS = {
    "dcgan": lambda shape, **options: dcgan_generator(shape, channels=(8, 4), **options),
    "residual": lambda shape, **options: residual_generator(shape, **SMALL, **options),
}
CRITICS = {
    "dcgan": lambda **options: dcgan_discriminator(channels=(4, 8), **options),
    "residual": lambda **options: residual_discriminator(**SMALL, **options),
}


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def check_contract(net, inputs, shape):
    """One trace, a gradient for every parameter, no example that depends on another, half precision where asked."""
    params = drawn(net.init, *inputs)

    traced = []

    @jax.jit
    def both(params, inputs):
        traced.append(1)

        def weighed(params):
            out = net.apply(params, *inputs)
            return jnp.sum(out * normal(*out.shape, seed=9)), out

        return jax.grad(weighed, has_aux=True)(params)

    gradient, out = both(params, inputs)
    assert out.shape == shape
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.abs(leaf).max() > 0, path
    turned = [None if x is None else x[::-1] for x in inputs]
    np.testing.assert_allclose(both(params, turned)[1], out[::-1], rtol=1e-3, atol=1e-4)
    assert len(traced) == 1
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    return jax.eval_shape(net.apply, half, *inputs).dtype


CASES = [(1, None, False), (2, 3, True), (3, None, False)]


@pytest.mark.parametrize(("rank", "classes", "condition"), CASES)
@pytest.mark.parametrize("name", GENERATORS)
def test_generators(name, rank, classes, condition):
    net = GENERATORS[name]((*SPATIAL[rank], 2), classes=classes)
    label = None if classes is None else jnp.array([0, 2, 1])
    inputs = [normal(3, 5), label, normal(3, *SPATIAL[rank], 4) if condition else None]
    assert check_contract(net, inputs, (3, *SPATIAL[rank], 2)) == jnp.float32


@pytest.mark.parametrize(
    ("rank", "classes", "condition", "patch"),
    [(*case, patch) for case in CASES for patch in (False, True) if case[0] > 1 or not patch],  # patches are of images
)
@pytest.mark.parametrize("name", CRITICS)
def test_discriminators(name, rank, classes, condition, patch):
    net = CRITICS[name](classes=classes, patch=patch)
    label = None if classes is None else jnp.array([0, 2, 1])
    inputs = [normal(3, *SPATIAL[rank], 2), label, normal(3, *SPATIAL[rank], 4) if condition else None]
    levels = 2 if name == "dcgan" else 1
    map_shape = tuple(n // 2**levels for n in SPATIAL[rank]) if patch else ()
    assert check_contract(net, inputs, (3, *map_shape)) == jnp.float32


def test_the_features_of_the_dcgan_critic_are_what_its_logits_are_made_from():
    critic, features = (dcgan_discriminator(channels=(4, 8), features=f) for f in (False, True))
    x = normal(3, 8, 12, 2)
    params = drawn(critic.init, x)
    found = features.apply(params, x)
    assert found.shape == (3, 2, 3, 8)
    assert (found < 0).any()
    last = params["Dense_0"]
    expected = found.reshape(3, -1) @ last["kernel"] + last["bias"]
    np.testing.assert_allclose(critic.apply(params, x), expected[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("smooth", [True, False])
def test_forms_agree_and_penalties_of_the_gradient_differentiate(smooth):
    net, x = residual_discriminator(**SMALL, smooth=smooth), normal(2, *SPATIAL[3], 2)
    params = drawn(net.init, x)

    def penalty(params, x):
        return squared_gradient(lambda x: net.apply(params, x), x)[1].sum()

    found = []
    for form in ("cpu", "accelerator"):
        with ops.form(form):
            found.append(jax.jit(jax.grad(lambda params, x: penalty(params, x)))(params, x))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), *found)
    # Biases but move the kinks of a piecewise linear network, which its gradient does not feel.
    kernels = [leaf for leaf in jax.tree.leaves(found[0]) if leaf.ndim > 1]
    assert all(bool(jnp.any(leaf != 0)) for leaf in kernels)


def test_labels_project_features_on_their_embedding():
    """The difference of two labels' logits is linear in the features, here made equal for all pixels."""
    net, x = residual_discriminator(**SMALL, classes=3), normal(2, 8, 8, 1)
    label, table = jnp.array([0, 1]), normal(3, 4, seed=3)
    params = drawn(net.init, x, label)
    apply = jax.jit(lambda k: net.apply({**params, "ClassEmbedding_0": {"kernel": k * table}}, x, label))
    base, one, two = (apply(k) for k in (0.0, 1.0, 2.0))
    one, two = one - base, two - base
    np.testing.assert_allclose(two, 2 * one, rtol=1e-3)
    assert np.abs(one).min() > 1e-3


@pytest.mark.parametrize("name", GENERATORS)
def test_a_label_that_does_not_exist_gives_nan(name):
    net, z = GENERATORS[name]((8, 8, 1), classes=3), normal(2, 5)
    params = jax.jit(net.init)(jax.random.key(0), z, jnp.array([0, 1]))
    out = jax.jit(net.apply)(params, z, jnp.array([3, 1]))
    assert np.isnan(out[0]).all()
    assert np.isfinite(out[1]).all()


def test_folding_answers_and_sees_blocks_of_pixels():
    generator, critic = residual_generator((8, 16, 1), fold=2, **SMALL), residual_discriminator(fold=2, **SMALL)
    z = normal(2, 5)
    params = jax.eval_shape(generator.init, jax.random.key(0), z)
    assert params["basis"].shape == (2, 4, 8)
    x = jax.eval_shape(generator.apply, params, z)
    assert x.shape == (2, 8, 16, 1)
    params = jax.eval_shape(critic.init, jax.random.key(0), x)
    assert params["Conv_0"]["kernel"].shape == (1, 1, 4, 8)
    assert jax.eval_shape(critic.apply, params, x).shape == (2,)


@pytest.mark.parametrize("name", GENERATORS)
def test_sizes_that_cannot_be_halved_are_refused(name):
    with pytest.raises(ValueError, match="multiples of"):
        GENERATORS[name]((9, 8, 1)).init(jax.random.key(0), normal(2, 5))


def test_without_normalisation_the_variance_stays():
    """Fixup: at the start a deep stack is the identity, and after a step of unit size it has not blown up."""
    x = normal(2, 8, 8, 16)
    block = FixupBlock(depth=10, group_width=4)
    params = jax.jit(block.init)(jax.random.key(0), x)
    np.testing.assert_array_equal(block.apply(params, x), x)
    kernels = [params["params"][f"Conv_{i}"]["kernel"] for i in range(3)]
    gain = 2 / (1 + 0.2**2) / np.sqrt(10)
    for kernel, fan_in in zip(kernels[:2], (16, 9 * 4), strict=True):
        assert kernel.var() * fan_in == pytest.approx(gain, rel=4 * np.sqrt(2 / kernel.size))
    assert kernels[1].shape == (3, 3, 4, 32)  # 8 groups of 4 channels


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_halving_is_the_transpose_of_doubling(rank):
    x, y = normal(2, *(4,) * rank, 3), normal(2, *(8,) * rank, 3, seed=1)
    (transposed,) = jax.jit(lambda y: jax.linear_transpose(resampling.double, x)(y))(y)
    np.testing.assert_allclose(jax.jit(resampling.halve)(y), transposed / 2**rank, rtol=1e-5, atol=1e-6)


def test_doubling_is_linear_interpolation_between_centres():
    x = normal(2, 5, 7, 3)
    np.testing.assert_allclose(
        resampling.double(x), jax.image.resize(x, (2, 10, 14, 3), "linear"), rtol=1e-5, atol=1e-6
    )


def test_halving_an_odd_axis_is_refused():
    with pytest.raises(ValueError, match="odd"):
        resampling.halve(normal(1, 5, 4, 1))


def test_convolution_in_groups_is_a_convolution_of_each():
    x, kernel = normal(2, 5, 6, 4, 4), normal(3, 3, 3, 2, 6, seed=1)
    halves = [ops.convolution(x[..., 2 * i : 2 * i + 2], kernel[..., 3 * i : 3 * i + 3]) for i in (0, 1)]
    for form in ("cpu", "accelerator"):
        with ops.form(form):
            both = ops.convolution(x, kernel, groups=2)
        np.testing.assert_allclose(both, jnp.concatenate(halves, -1), rtol=1e-4, atol=1e-4)


def test_the_gradient_of_a_convolution_in_groups_is_that_of_xla():
    x, kernel, away = normal(2, 6, 5, 12), normal(3, 3, 4, 6, seed=1), normal(2, 3, 3, 6, seed=2)

    def gradient(form):
        with ops.form(form):
            value = lambda x, kernel: jnp.sum(away * ops.convolution(x, kernel, None, 2, groups=3))  # noqa: E731
            return jax.grad(value, (0, 1))(x, kernel)

    for ours, want in zip(gradient("cpu"), gradient("accelerator"), strict=True):
        np.testing.assert_allclose(ours, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(256, 256), (3, 3, 64, 128), (4, 4, 3, 64), (30, 200), (64, 1)], ids=str)
def test_the_spectral_radius_is_the_largest_singular_value(shape):
    kernel = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    exact = np.linalg.svd(kernel.reshape(-1, shape[-1]).astype(np.float64), compute_uv=False)
    found = float(jax.jit(spectral_radius)(kernel))
    assert exact[0] * (1 - 1e-3) < found <= exact[0] * (1 + 1e-5)


def test_the_gradient_of_the_radius_is_u_v():
    kernel = np.diag([1.0, 3.0, 2.0]) + 0.2 * np.random.default_rng(0).normal(size=(3, 3))
    u, _, v = np.linalg.svd(kernel)
    np.testing.assert_allclose(jax.grad(spectral_radius)(jnp.asarray(kernel)), np.outer(u[:, 0], v[0]), atol=1e-3)


def test_a_network_under_spectral_norm_stretches_by_at_most_one():
    net = spectral_norm(mlp(1, widths=(16, 16)))
    apply = jax.jit(net.apply)
    x, y = normal(64, 4), normal(64, 4, seed=1)
    params = jax.tree.map(lambda leaf: 5 * leaf, jax.jit(net.init)(jax.random.key(0), x))
    ratio = jnp.abs(apply(params, x) - apply(params, y))[:, 0] / jnp.linalg.norm(x - y, axis=-1)
    # SiLU itself stretches by up to 1.1.
    assert 0 < float(ratio.max()) < 1.1**2
    gradient = jax.jit(jax.grad(lambda params: net.apply(params, x).sum()))(params)
    kernel, slope = params["Dense_0"]["kernel"], gradient["Dense_0"]["kernel"]
    assert abs(float(jnp.vdot(kernel, slope))) < 1e-3 * float(jnp.linalg.norm(kernel) * jnp.linalg.norm(slope))


def test_zero_kernels_and_biases_are_left_alone():
    net, x = spectral_norm(residual_discriminator(channels=(4,), blocks=1, group_width=4), squarings=2), normal(2, 4, 1)
    params = jax.jit(net.init)(jax.random.key(0), x)
    out, gradient = jax.jit(jax.value_and_grad(lambda params: net.apply(params, x).sum()))(params)
    assert np.isfinite([np.abs(leaf).max() for leaf in (out, *jax.tree.leaves(gradient))]).all()
