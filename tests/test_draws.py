import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import draws

KEYS = jax.random.split(jax.random.key(0), 6)


@pytest.mark.parametrize(
    "draw",
    [
        draws.normal,
        draws.uniform,
        lambda key, shape: draws.bernoulli(key, 0.4, shape),
        lambda key, shape: draws.normal(draws.fold_in(key, 3), shape),
        lambda key, shape: draws.uniform(draws.split(key, 3)[2], shape),
    ],
    ids=["normal", "uniform", "bernoulli", "fold_in", "split"],
)
def test_an_example_draws_from_its_own_key(draw):
    whole = np.asarray(draw(KEYS, (6, 5, 2)))
    np.testing.assert_array_equal(whole[4:], draw(KEYS[4:], (2, 5, 2)))
    np.testing.assert_array_equal(whole[1], draw(KEYS[1], (5, 2)))
    assert len(np.unique(whole.reshape(6, -1), axis=0)) == 6


def test_keys_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="one key an example"):
        draws.normal(KEYS, (5, 2))


def test_laws():
    x, u = draws.normal(KEYS, (6, 4000)), draws.uniform(KEYS, (6, 4000))
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=0.03)
    np.testing.assert_allclose([u.mean(), u.var()], [1 / 2, 1 / 12], atol=0.015)
    assert 0 <= u.min() <= u.max() < 1
    np.testing.assert_allclose(draws.bernoulli(KEYS, 0.3, (6, 4000)).mean(), 0.3, atol=0.02)


def test_derived_keys_differ():
    # fold_in(key, i) is split(key, n)[i] in JAX, so a number above n is folded in here
    keys = jnp.concatenate([draws.split(KEYS, 3).ravel(), KEYS, draws.fold_in(KEYS, 7), draws.fold_in(KEYS, 8)])
    assert len(np.unique(jax.random.key_data(keys), axis=0)) == len(keys) == 36
