import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.losses import bridge_matching, interpolants

SIGMA = 0.7
BRIDGES = {
    "straight": (interpolants.linear(), lambda t: 0 * t, lambda t: 0 * t),
    "brownian": (
        interpolants.brownian(SIGMA),
        lambda t: SIGMA * np.sqrt(t * (1 - t)),
        lambda t: SIGMA * (1 - 2 * t) / (2 * np.sqrt(t * (1 - t))),
    ),
    "bump": (
        interpolants.bump(SIGMA),
        lambda t: SIGMA * np.sin(np.pi * t) ** 2,
        lambda t: SIGMA * np.pi * np.sin(2 * np.pi * t),
    ),
}
ROWS = [pytest.param(*row, id=name) for name, row in BRIDGES.items()]


def _data(b=6, shape=(2, 1)):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(b, *shape)) for _ in range(3)] + [rng.uniform(0.05, 0.95, b)]


@pytest.mark.parametrize(("bridge", "gamma", "rate"), ROWS)
def test_the_formulas(bridge, gamma, rate):
    start, end, z, t = _data()
    c = t[:, None, None]
    with jax.enable_x64(True):
        arrays = [jnp.asarray(a) for a in (start, end, z, t)]
        x_t = interpolants.interpolate(bridge, *arrays)
        want = (1 - c) * start + c * end + gamma(c) * z
        np.testing.assert_allclose(x_t, want, rtol=1e-10)
        got = bridge_matching(
            lambda x, t: (jnp.sin(x), jnp.cos(x)), bridge, jax.random.key(0), *arrays[:2], z=arrays[2], t=arrays[3]
        )
        value = ((np.sin(want) - (end - start)) ** 2).mean((1, 2))
        if bridge.noise is not None:
            value += ((np.cos(want) - z) ** 2).mean((1, 2))
        np.testing.assert_allclose(got, value, rtol=1e-10)
        # With the exact pair the drift without diffusion is the speed of this very bridge.
        speed = interpolants.drift(bridge, arrays[1] - arrays[0], arrays[2], arrays[3])
        np.testing.assert_allclose(speed, end - start + rate(c) * z, rtol=1e-9, atol=1e-12)


def test_diffusion_pulls_along_the_score():
    """drift = probability flow + diffusion * score, with score = -z / gamma."""
    start, end, z, t = (jnp.asarray(a, jnp.float32) for a in _data())
    bridge, gamma, _ = BRIDGES["bump"]
    flow = interpolants.drift(bridge, end - start, z, t)
    diffuse = interpolants.drift(bridge, end - start, z, t, 0.3)
    np.testing.assert_allclose(diffuse - flow, -0.3 * z / gamma(np.asarray(t))[:, None, None], rtol=1e-3, atol=1e-4)


def test_the_ends_are_the_data():
    start, end, z, _ = (jnp.asarray(a, jnp.float32) for a in _data())
    for bridge, _, _ in BRIDGES.values():
        np.testing.assert_allclose(interpolants.interpolate(bridge, start, end, z, 0.0), start, atol=1e-6)
        np.testing.assert_allclose(interpolants.interpolate(bridge, start, end, z, 1.0), end, atol=1e-6)


def test_finite_with_gradients_at_the_ends_of_time():
    """The regressed targets are finite where the rate of a Brownian bridge is not."""
    start, end, z, _ = (jnp.asarray(a, jnp.float32) for a in _data())
    bridge = BRIDGES["brownian"][0]
    for t in (0.0, 1.0):
        value, gradient = jax.value_and_grad(
            lambda a, t=t: bridge_matching(
                lambda x, t: (a * x, a * x), bridge, jax.random.key(0), start, end, z=z, t=t
            ).sum()
        )(0.5)
        assert np.isfinite([value, gradient]).all()


def test_examples_own_their_keys():
    start, end, *_ = (jnp.asarray(a, jnp.float32) for a in _data(8))
    keys = jax.random.split(jax.random.key(1), 8)
    loss = jax.jit(
        lambda keys, start, end: bridge_matching(lambda x, t: (x, x), interpolants.bump(1.0), keys, start, end)
    )
    np.testing.assert_allclose(loss(keys, start, end)[4:], loss(keys[4:], start[4:], end[4:]), rtol=1e-5)
    half = bridge_matching(
        lambda x, t: (x.astype(jnp.bfloat16), x), interpolants.bump(1.0), jax.random.key(0), start, end
    )
    assert half.dtype == jnp.float32


def test_errors():
    start = jnp.ones((2, 3))
    with pytest.raises(ValueError, match="has noise"):
        bridge_matching(lambda x, t: (x, None), interpolants.bump(1.0), jax.random.key(0), start, start)
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 1\)"):
        bridge_matching(lambda x, t: (x, None), interpolants.linear(), jax.random.key(0), start, start[:, :1])
