"""The convolution with derivatives of canonical layout, against the one of JAX, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.nets.canonical_convolution import canonical_convolution

CASES = {
    "same": ((2, 8, 7, 3), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "strided": ((2, 9, 7, 3), (4, 4), (2, 2), ((1, 1), (1, 1))),
    "strided, a row left over": ((2, 8, 8, 3), (3, 3), (2, 2), ((1, 1), (1, 1))),
    "line": ((2, 7, 2), (3,), (2,), ((0, 2),)),
    "volume": ((1, 4, 5, 4, 2), (3, 3, 3), (1, 1, 1), ((1, 1),) * 3),
    "one pixel, strided": ((2, 5, 5, 2), (1, 1), (2, 2), ((0, 0), (0, 0))),
}


def of_jax(x, kernel, strides, padding):
    spatial = "DHW"[3 - len(strides) :]
    layout = ("N" + spatial + "C", spatial + "IO", "N" + spatial + "C")
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=layout)


@pytest.fixture(params=CASES)
def case(request):
    shape, window, strides, padding = CASES[request.param]
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0))
        x = jax.random.normal(keys[0], shape, jnp.float64)
        yield x, jax.random.normal(keys[1], (*window, shape[-1], 4), jnp.float64), strides, padding


def everything(convolution, x, kernel, strides, padding):
    """The value, both gradients, the gradient of a gradient, that of a derivative, and mapped forms of some."""

    def total(x, kernel):
        return jnp.sum(jnp.sin(convolution(x, kernel, strides, padding)))

    def penalty(x, kernel):
        return jnp.sum(jax.grad(total)(x, kernel) ** 2)

    def speed(x, kernel):
        return jnp.sum(jax.jvp(lambda x: convolution(x, kernel, strides, padding), (x,), (jnp.cos(x),))[1] ** 2)

    def each(x, kernel):
        return jax.vmap(lambda x: convolution(x[None], kernel, strides, padding))(x)

    def ensemble(x, kernels):
        return jnp.sum(jax.vmap(lambda kernel: convolution(x, kernel, strides, padding))(kernels) ** 2)

    return (
        convolution(x, kernel, strides, padding),
        jax.grad(total, (0, 1))(x, kernel),
        jax.grad(penalty, (0, 1))(x, kernel),
        jax.grad(speed, (0, 1))(x, kernel),
        each(x, kernel),
        jax.grad(lambda x, kernel: jnp.sum(each(x, kernel) ** 2), (0, 1))(x, kernel),
        jax.grad(ensemble, (0, 1))(x, jnp.stack([kernel, 2 * kernel])),
    )


def test_it_is_the_convolution_of_jax_with_all_its_derivatives(case):
    ours, theirs = (
        jax.jit(lambda x, kernel, f=f: everything(f, x, kernel, *case[2:]))(*case[:2])
        for f in (canonical_convolution, of_jax)
    )
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_no_derivative_permutes_axes():
    """In a loop XLA leaves permuted convolutions to a slow path on CPU: there must be none."""

    def total(x, kernel):
        return jnp.sum(jnp.sin(canonical_convolution(x, kernel, (2, 2), ((1, 1), (1, 1)))))

    def penalty(x, kernel):
        return jnp.sum(jax.grad(total)(x, kernel) ** 2)

    x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((4, 4, 3, 5))
    text = jax.jit(jax.grad(penalty, (0, 1))).lower(x, kernel).as_text()
    layouts = [
        line.split("dim_numbers = ")[1].split(",  window")[0] for line in text.splitlines() if "convolution(" in line
    ]
    assert len(layouts) >= 5
    assert all(layout.startswith("[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]") for layout in layouts)


def test_no_derivative_of_a_gradient_has_a_kernel_larger_than_its_image():
    """Such as R1 asks of a strided critic: the image would be spread with zeros, and take many times as long."""

    def penalty(x, kernel):
        def total(x):
            return jnp.sum(jnp.sin(canonical_convolution(x, kernel, (2, 2), ((1, 1), (1, 1)))))

        return jnp.sum(jax.grad(total)(x) ** 2)

    made = jax.make_jaxpr(jax.grad(penalty, (0, 1)))(jnp.ones((2, 16, 16, 3)), jnp.ones((4, 4, 3, 5)))
    used = [equation for equation in made.eqns if equation.primitive.name == "canonical_convolution"]
    shapes = [(x.aval.shape[1:-1], kernel.aval.shape[:-2]) for x, kernel in (equation.invars for equation in used)]
    assert len(used) >= 5
    assert all(kernel <= image for image, kernel in shapes), shapes
