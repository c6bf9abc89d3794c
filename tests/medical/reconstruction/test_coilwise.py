import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.imaging.coils import normalise_coils
from jaxgen.imaging.fourier import to_complex
from jaxgen.imaging.mri import mri_operator
from jaxgen.imaging.operators import inner_product
from jaxgen.medical.reconstruction.coilwise import coilwise_operator, couple_coils, join_channels, split_channels
from jaxgen.paths import variance_exploding
from jaxgen.samplers import Sample
from jaxgen.types import Step

B, H, W, COILS = 2, 6, 5, 3
RE, IM = (jax.random.normal(key, (H, W, COILS)) for key in jax.random.split(jax.random.key(0)))
SENSITIVITIES = normalise_coils(RE + 1j * IM)
MASK = jnp.asarray(np.random.default_rng(0).integers(0, 2, (H, W)), jnp.float32)


def test_coil_images_and_their_operator():
    x = jax.random.normal(jax.random.key(1), (B, H, W, 2 * COILS))
    np.testing.assert_array_equal(split_channels(join_channels(x)), x)
    operator = coilwise_operator(MASK)
    y = operator.forward(x)
    z = y * jnp.exp(1j * jnp.arange(COILS)) + 0.3
    np.testing.assert_allclose(inner_product(y, z), inner_product(x, operator.adjoint(z)), rtol=1e-4)
    one = mri_operator(MASK, channels=2).forward(x[..., 2:4])
    np.testing.assert_allclose(y[..., 1:2], one, atol=1e-6)
    with pytest.raises(ValueError, match="two channels a coil"):
        operator.forward(x[..., 1:])


def test_coils_are_coupled_when_it_is_due_with_the_strength_that_falls():
    """Each time by the formula, from coil images that no single image explains."""
    path = variance_exploding()
    grid = jnp.linspace(path.t_noise, path.t_data, 6)
    x = jax.random.normal(jax.random.key(2), (B, H, W, 2 * COILS))
    operator = mri_operator(MASK, SENSITIVITIES, channels=2)
    truth = jax.random.normal(jax.random.key(3), (B, H, W, 2))
    y = operator.forward(truth)
    stay = Step(lambda x, grid: Sample(x), lambda denoise, key, state, t, s: state)
    step = couple_coils(stay, MASK, SENSITIVITIES, y, grid, every=2)
    moved = jax.jit(lambda t, s: step.step(None, None, Sample(x), t, s).x)
    for index in range(5):
        found = moved(grid[index], grid[index + 1])
        if index not in (1, 3, 4):
            np.testing.assert_array_equal(found, x)
            continue
        image = np.sum(np.conj(SENSITIVITIES) * join_channels(x), -1)
        image = np.stack([image.real, image.imag], -1)
        image = image + (1 - 0.8 * index / 4) * operator.adjoint(y - operator.forward(image))
        np.testing.assert_allclose(join_channels(found), SENSITIVITIES * to_complex(image)[..., None], atol=1e-5)
