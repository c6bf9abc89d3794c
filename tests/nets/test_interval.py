import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.nets import interval, mlp, unet
from tests.nets.parameters import drawn


def test_both_times_matter_and_scalars_broadcast():
    net = interval(mlp(2, widths=(16,)), "condition")
    x = jnp.ones((4, 2))
    params = jax.jit(net.init)(jax.random.key(0), x, jnp.zeros(4), jnp.zeros(4))
    apply = jax.jit(net.apply)
    at = lambda t, s: np.asarray(apply(params, x, t, s))  # noqa: E731
    np.testing.assert_array_equal(at(0.2, 0.7), at(jnp.full(4, 0.2), jnp.full(4, 0.7)))
    assert np.abs(at(0.2, 0.7) - at(0.3, 0.7)).max() > 1e-3
    assert np.abs(at(0.2, 0.7) - at(0.2, 0.8)).max() > 1e-3


def test_other_arguments_are_handed_on():
    net = interval(unet(1, channels=(8,), blocks=1, classes=3))
    x, t = jnp.ones((2, 4, 4, 1)), jnp.zeros(2)
    params, apply = drawn(net.init, x, t, t, label=jnp.zeros(2, int)), jax.jit(net.apply)
    first, second = (apply(params, x, t, t, label=jnp.full(2, k)) for k in (0, 1))
    assert np.abs(first - second).max() > 1e-4


def test_the_rate_in_time_is_moderate():
    """MeanFlow's target holds it: the usual features of time would change a thousand times faster."""
    net = interval(mlp(2, widths=(64,)), "condition")
    x = jnp.ones((1, 2))
    params = jax.jit(net.init)(jax.random.key(0), x, 0.0, 1.0)
    times = jnp.linspace(0, 1, 200)
    rate = jax.vmap(lambda t: jax.jvp(lambda t: net.apply(params, x, t, 1.0), (t,), (jnp.ones(()),))[1])
    rates = jax.jit(rate)(times)
    assert 0.1 < float(jnp.abs(rates).max()) < 20
