"""Winograd's form of 3 x 3 convolutions and of their kernel's gradient: its values, and where it is used."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.nets import canonical_convolution as canonical
from jaxgen.nets import winograd

SHAPES = {
    "one part": (2, 8, 8, 3, 4),
    "odd sides": (3, 7, 5, 4, 2),
    "one pixel": (1, 1, 1, 2, 3),
    "several parts": (6, 64, 64, 3, 4),
    "parts of one image, odd": (2, 97, 101, 2, 3),
}


def plain(x, kernel):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=layout)


@pytest.fixture(params=SHAPES)
def arrays(request):
    b, h, w, c_in, c_out = SHAPES[request.param]
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (b, h, w, c_in))
    return x, jax.random.normal(keys[1], (3, 3, c_in, c_out)), jax.random.normal(keys[2], (b, h, w, c_out))


def wide(x):
    """In float64, of NumPy."""
    return np.asarray(x, np.float64)


def exact(x, kernel, cotangent):
    """The convolution and the gradient in its kernel by their definitions, in float64."""
    x, kernel, cotangent = wide(x), wide(kernel), wide(cotangent)
    h, w = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = [(i, j, padded[:, i : i + h, j : j + w]) for i in range(3) for j in range(3)]
    value = sum(window @ kernel[i, j] for i, j, window in windows)
    gradient = np.zeros(kernel.shape)
    for i, j, window in windows:
        gradient[i, j] = np.einsum("bhwc,bhwo->co", window, cotangent)
    return value, gradient


def test_values_are_those_of_the_definition(arrays):
    x, kernel, cotangent = arrays
    value, gradient = exact(x, kernel, cotangent)
    np.testing.assert_allclose(winograd.winograd_convolution(x, kernel), value, atol=2e-5 * value.std())
    found = winograd.winograd_kernel_gradient(x, cotangent)
    np.testing.assert_allclose(found, gradient, atol=2e-5 * gradient.std())


def test_few_tiles_are_taken_at_a_time():
    parts = winograd._in_parts(jnp.zeros((6, 64, 64, 3)))
    assert parts.shape == (3, 2, 64, 64, 3)
    assert winograd._in_parts(jnp.zeros((2, 97, 101, 2))).shape == (2, 1, 98, 102, 2)


def test_float32_is_kept_where_a_network_is_wide():
    """Relative to the standard deviation, at most ten times the error of the plain convolution in float32."""
    keys = jax.random.split(jax.random.key(1), 3)
    x, cotangent = (jax.random.normal(key, (2, 32, 32, 192)) for key in keys[:2])
    kernel = jax.random.normal(keys[2], (3, 3, 192, 192)) / np.sqrt(9 * 192)
    value, gradient = exact(x, kernel, cotangent)
    found = winograd.winograd_convolution(x, kernel), winograd.winograd_kernel_gradient(x, cotangent)
    by_plain = plain(x, kernel), jax.vjp(lambda kernel: plain(x, kernel), kernel)[1](cotangent)[0]
    for truth, ours, theirs in zip((value, gradient), found, by_plain, strict=True):
        worst = [float(np.abs(wide(y) - truth).max() / truth.std()) for y in (ours, theirs)]
        assert worst[0] < 2e-5
        assert worst[0] < 10 * worst[1] + 1e-6


def lowered(platform="cpu", dtype=jnp.float32, b=8, side=32, c_in=96, c_out=128, window=3):
    """Loops in the program of a convolution, and in that of the gradient in its kernel: Winograd's have one."""
    x, kernel = jnp.zeros((b, side, side, c_in), dtype), jnp.zeros((window, window, c_in, c_out), dtype)
    pads = ((window // 2,) * 2,) * 2

    def convolved(x, kernel):
        return canonical.canonical_convolution(x, kernel, (1, 1), pads)

    def gradient(x, kernel):
        return jax.grad(lambda kernel: jnp.sum(convolved(x, kernel)))(kernel)

    return tuple(
        jax.jit(f).trace(x, kernel).lower(lowering_platforms=(platform,)).as_text().count("stablehlo.while")
        for f in (convolved, gradient)
    )


def test_large_convolutions_take_it():
    assert lowered() == (1, 1)
    assert lowered(side=64, b=2) == (1, 1)


@pytest.mark.parametrize(
    "change",
    [{"platform": "cuda"}, {"platform": "tpu"}, {"dtype": jnp.bfloat16}, {"b": 1, "side": 16}, {"window": 5}],
    ids=str,
)
def test_others_stay_as_they_are(change):
    assert lowered(**change) == (0, 0)


def test_narrow_layers_take_it_for_the_gradient_alone():
    assert lowered(b=16, side=64, c_in=32, c_out=32)[0] == 0
    assert lowered(b=16, side=64, c_in=32, c_out=32)[1] == 1
    assert lowered(b=64, side=64, c_in=16, c_out=64) == (0, 0)


def test_what_takes_it_has_the_same_value_and_derivatives():
    keys = jax.random.split(jax.random.key(2), 2)
    x, kernel = jax.random.normal(keys[0], (8, 32, 32, 96)), 0.02 * jax.random.normal(keys[1], (3, 3, 96, 128))

    def everything(convolution):
        def total(x, kernel):
            return jnp.sum(jnp.sin(convolution(x, kernel)))

        return jax.jit(lambda x, kernel: (convolution(x, kernel), *jax.grad(total, (0, 1))(x, kernel)))(x, kernel)

    ours = everything(lambda x, kernel: canonical.canonical_convolution(x, kernel, (1, 1), ((1, 1), (1, 1))))
    for a, b in zip(ours, everything(plain), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * float(b.std()))
