import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import couplings
from jaxgen.data import planar
from jaxgen.families import interpolant_model
from jaxgen.losses import interpolants
from jaxgen.metrics.energy import energy_distance
from jaxgen.nets import mlp
from jaxgen.types import Net
from tests.families.planar import points, train

SIGMA, FROM, TO = 0.8, 0.5, 1.5
"""Noise of the bridge, and the deviations of two normal laws, the second shifted by 2, paired at random."""


def _exact(bridge):
    """The conditional means between independent N(0, FROM^2) and N(2, TO^2): linear in x_t."""

    def apply(params, x, t, key=None):
        t = jnp.asarray(t)
        gamma = 0.0 if bridge.noise is None else bridge.noise(t)
        variance = (1 - t) ** 2 * FROM**2 + t**2 * TO**2 + gamma**2
        off = (x - 2 * t) / variance
        velocity = 2 + (t * TO**2 - (1 - t) * FROM**2) * off
        return velocity if bridge.noise is None else jnp.concatenate([velocity, gamma * off], -1)

    return Net(lambda key, x, t: {}, apply)


@pytest.mark.parametrize(
    ("bridge", "options"),
    [
        (interpolants.linear(), {}),
        (interpolants.bump(SIGMA), {}),
        (interpolants.brownian(SIGMA), {}),
        (interpolants.brownian(SIGMA), {"diffusion": lambda t: 0.5 * SIGMA**2 + 0 * t}),
        (interpolants.bump(SIGMA), {"diffusion": lambda t: 0.4 * jnp.sin(jnp.pi * t) ** 2}),
    ],
    ids=["straight", "bump", "brownian", "Schrodinger", "bump with diffusion"],
)
def test_the_exact_answers_carry_one_law_to_the_other(bridge, options):
    n = 4000
    model = interpolant_model(_exact(bridge), bridge, steps=100, **options)
    start = FROM * jax.random.normal(jax.random.key(0), (n, 1))
    end = np.asarray(jax.jit(model.sample, static_argnums=2)({"net": {}}, jax.random.key(1), n, start))
    assert abs(end.mean() - 2) < 4 * TO / np.sqrt(n) + 0.01
    assert abs(end.std() - TO) < 4 * TO / np.sqrt(2 * n) + 0.02


def test_pairs_stay_pairs_unless_a_coupling_is_asked_for():
    seen = []

    def apply(params, x, t, key=None):
        seen.append(np.asarray(x))
        return 0 * x

    net = Net(lambda key, x, t: {}, apply)
    batch = {"source": jnp.array([[4.0], [1.0]]), "image": jnp.array([[0.0], [5.0]])}
    for coupling, want in ((couplings.independent, [4, -4]), (couplings.optimal_transport, [1, -1])):
        model = interpolant_model(net, interpolants.linear(), coupling=coupling)
        value, _ = model.objectives[0].loss({"net": {}}, jax.random.key(0), batch)
        np.testing.assert_allclose(value, np.square(want) if coupling is couplings.optimal_transport else [16, 16])


def test_a_schrodinger_bridge_learns_to_cross_from_moons_to_eight_gaussians():
    sigma = 0.5
    moons, ring = points(planar.moons(), 4096), points(planar.ring(), 4096, 1)
    model = interpolant_model(
        mlp(4, widths=(48, 48), time_scale=10.0),
        interpolants.brownian(sigma),
        data="x",
        coupling=couplings.entropic(2 * sigma**2, 20),
        diffusion=lambda t: 0.5 * sigma**2 + 0 * t,
    )

    @jax.jit
    def solve(key):
        params = train(model, {"source": moons, "x": ring}, key, 300, batch=64)
        return model.sample(params, jax.random.fold_in(key, 1), 1000, points(planar.moons(), 1000, 2))

    fresh = points(planar.ring(), 1000, 3)
    crossed = energy_distance(solve(jax.random.key(0)), fresh)
    assert crossed < 0.25 * energy_distance(points(planar.moons(), 1000, 2), fresh)


def test_errors():
    with pytest.raises(ValueError, match="no score"):
        interpolant_model(mlp(2), interpolants.linear(), diffusion=lambda t: 1.0)
    model = interpolant_model(mlp(2), interpolants.linear())
    for cond in (None, jnp.zeros((3, 2))):
        with pytest.raises(ValueError, match="2 sources"):
            model.sample({}, jax.random.key(0), 2, cond)
