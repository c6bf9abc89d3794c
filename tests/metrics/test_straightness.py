import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.metrics import straightness


def test_a_quarter_circle_in_closed_form():
    """At constant speed pi/2 round the unit circle: the mean square speed less that of the chord."""
    grid = np.linspace(0, 1, 2001)
    angle = np.pi / 2 * grid
    trajectory = 3 * np.stack([np.cos(angle), np.sin(angle)], -1)[:, None]
    np.testing.assert_allclose(
        straightness(jnp.asarray(trajectory), jnp.asarray(grid)), 9 * ((np.pi / 2) ** 2 - 2), rtol=1e-4
    )


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, 0.0), (0.0, 80.0)])
def test_straight_lines_at_constant_speed_and_only_those(ends):
    rng = np.random.default_rng(0)
    grid = np.array([0, 0.1, 0.5, 0.6, 1]) * (ends[1] - ends[0]) + ends[0]
    first, last = rng.normal(size=(2, 3, 2, 2, 1))
    share = ((grid - ends[0]) / (ends[1] - ends[0])).reshape(-1, 1, 1, 1, 1)
    line = first + share * (last - first)
    got = jax.jit(straightness)(line, grid)
    assert got.shape == (3,)
    np.testing.assert_allclose(got, 0, atol=1e-9)
    line[2, 1] += 0.5
    got = straightness(jnp.asarray(line), jnp.asarray(grid))
    assert got[1] > 1e-5
    np.testing.assert_allclose(got[::2], 0, atol=1e-9)


def test_one_time_a_point():
    with pytest.raises(ValueError, match="3 points and 4 times"):
        straightness(jnp.zeros((3, 1, 2)), jnp.arange(4.0))
