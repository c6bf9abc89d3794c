import jax
import jax.numpy as jnp
import pytest

from jaxgen.flops import count_flops
from jaxgen.nets import mlp, ops, unet

X = jnp.ones((2, 8, 8, 3))
KERNEL = jnp.ones((3, 3, 3, 5))


def test_a_convolution():
    assert count_flops(ops.convolution, X, KERNEL) == 2 * 9 * 3 * (2 * 8 * 8 * 5)


def test_a_strided_convolution_costs_as_much_backwards_for_its_input():
    forward = lambda x: ops.convolution(x, KERNEL, stride=2)  # noqa: E731
    y, pull = jax.vjp(forward, X)
    assert count_flops(pull, y) == count_flops(forward, X)


def compiled_flops(function, *arguments):
    return jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]


def test_the_gradient_of_a_perceptron_agrees_with_the_compiled_program():
    """Which counts element-wise work too, and simplifies a little."""
    net, x, t = mlp(16, widths=(256, 256)), jnp.ones((64, 16)), jnp.ones(64)
    params = jax.jit(net.init)(jax.random.key(0), x, t)
    gradient = jax.grad(lambda params: jnp.sum(net.apply(params, x, t)))
    assert 0.95 < count_flops(gradient, params) / compiled_flops(gradient, params) < 1.05


def test_the_gradient_of_a_network_agrees_with_the_compiled_program():
    """Which leaves out what a window does beyond the border, 4 % of a 3x3 convolution at 64 pixels."""
    net, x, t = unet(1, channels=(32,), blocks=2), jnp.ones((2, 64, 64, 1)), jnp.ones(2)
    params = jax.jit(net.init)(jax.random.key(0), x, t)
    gradient = jax.grad(lambda params: jnp.sum(net.apply(params, x, t)))
    assert 0.9 < count_flops(gradient, params) / compiled_flops(gradient, params) < 1.05


def test_a_scan_counts_its_body_every_time():
    w = jnp.ones((4, 4))
    once = count_flops(lambda x: x @ w, jnp.ones((3, 4)))
    assert count_flops(lambda x: jax.lax.scan(lambda x, _: (x @ w, None), x, length=7)[0], jnp.ones((3, 4))) == 7 * once
    assert count_flops(lambda x: jax.lax.fori_loop(0, 7, lambda _, x: x @ w, x), jnp.ones((3, 4))) == 7 * once


def test_a_branch_counts_as_the_most_costly_one():
    w = jnp.ones((4, 4))

    def either(x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ w @ w, lambda x: x @ w, x)

    assert count_flops(either, jnp.ones((3, 4))) == 2 * (2 * 3 * 4 * 4)


def test_a_loop_of_unknown_length_is_refused_where_it_matters():
    w = jnp.ones((4, 4))
    loop = lambda x: jax.lax.while_loop(lambda x: x.sum() < 100, lambda x: x @ w, x)  # noqa: E731
    with pytest.raises(ValueError, match="unknown length"):
        count_flops(loop, jnp.ones((3, 4)))
    harmless = lambda x: jax.lax.while_loop(lambda x: x.sum() < 100, lambda x: x + 1, x)  # noqa: E731
    assert count_flops(harmless, jnp.ones((3, 4))) == 0
