"""Volumes and their slices: which slice goes where, adjoints by the inner product, interpolation between thick ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.imaging.mri import mri_operator
from jaxgen.imaging.operators import inner_product
from jaxgen.imaging.radon import radon_operator
from jaxgen.imaging.sampling_masks import MASKS
from jaxgen.imaging.volumes import interpolate_slices, slices_of, slicewise, thick_slices, volumes_of

RNG = np.random.default_rng(0)


def volumes(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_lie_across_their_axis_and_go_back(axis):
    x = volumes(2, 3, 4, 5, 1)
    slices, n = slices_of(x, axis), x.shape[1 + axis]
    for b in range(2):
        for i in range(n):
            np.testing.assert_array_equal(slices[b * n + i], np.take(np.asarray(x)[b], i, axis))
    np.testing.assert_array_equal(volumes_of(slices, axis, n), x)


def check_adjoint(operator, x):
    """``<A x, y> = <x, A' y>`` of each example, for a y of the range's shape that is no image of x."""
    y = operator.forward(volumes(*x.shape))
    y = y * (0.7 + 0.4j) if jnp.iscomplexobj(y) else y
    found, wanted = inner_product(operator.forward(x), y), inner_product(x, operator.adjoint(y))
    assert float(jnp.abs(wanted).min()) > 0.1
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)


def test_thick_slices_are_means_along_z():
    x, operator = volumes(2, 4, 3, 6, 1), thick_slices(3)
    check_adjoint(operator, x)
    y = operator.forward(x)
    np.testing.assert_allclose(y[..., 0, :], x[..., :3, :].mean(3), atol=1e-6)
    np.testing.assert_allclose(3 * operator.forward(operator.adjoint(y)), y, atol=1e-6)
    np.testing.assert_allclose(3 * operator.adjoint(y), interpolate_slices(y, 3, "nearest"), atol=1e-6)
    with pytest.raises(ValueError, match="7 slices cannot be averaged 3 at a time"):
        operator.forward(volumes(1, 2, 2, 7, 1))


@pytest.mark.parametrize("kind", ["ct", "mri"])
def test_an_operator_of_images_goes_over_every_slice(kind):
    if kind == "ct":
        plain = of_slice = radon_operator(6, np.arange(3) * np.pi / 3)
    else:
        masks = [MASKS["random"](key, (6, 6), 2) for key in jax.random.split(jax.random.key(0), 2)]
        plain, of_slice = mri_operator(jnp.repeat(jnp.stack(masks), 4, axis=0), channels=1), None
    x, operator = volumes(2, 6, 6, 4, 1), slicewise(plain, 4)
    check_adjoint(operator, x)
    y = operator.forward(x)
    assert y.shape[:2] == (2, 4)
    for b, k in ((0, 3), (1, 0)):
        one = of_slice or mri_operator(masks[b], channels=1)
        np.testing.assert_allclose(y[b, k], one.forward(x[b : b + 1, :, :, k])[0], atol=1e-4)
    if operator.normal is not None:
        np.testing.assert_allclose(operator.normal(x), operator.adjoint(y), atol=1e-4)


def test_interpolation_takes_slices_at_their_middles():
    """A ramp comes back exactly, but for the ends, where nothing lies beyond."""
    ramp = jnp.broadcast_to(jnp.arange(15.0).reshape(1, 1, 1, 15, 1), (1, 2, 2, 15, 1))
    thick = thick_slices(3).forward(ramp)
    for method in ("linear", "cubic"):
        found = interpolate_slices(thick, 3, method)
        np.testing.assert_allclose(found[:, :, :, 4:-4], ramp[:, :, :, 4:-4], atol=1e-4)
