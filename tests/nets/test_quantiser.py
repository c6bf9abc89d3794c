import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.nets.quantiser import init_codebook, perplexity, quantise

RNG = np.random.default_rng(0)


def test_the_nearest_entry():
    book, x = RNG.normal(size=(7, 3)), RNG.normal(size=(2, 4, 5, 3))
    found = quantise(jnp.asarray(book, jnp.float32), jnp.asarray(x, jnp.float32))
    nearest = np.linalg.norm(x[..., None, :] - book, axis=-1).argmin(-1)
    np.testing.assert_array_equal(found.number, nearest)
    np.testing.assert_allclose(found.codes, book[nearest], rtol=1e-6)


def test_gradients_reach_the_chosen_entries_alone():
    book = jnp.asarray(RNG.normal(size=(5, 2)), jnp.float32)
    x = book[jnp.array([1, 1, 3])] + 0.01
    slope = jax.grad(lambda book: quantise(book, x).codes.sum())(book)
    np.testing.assert_array_equal(slope, [[0, 0], [2, 2], [0, 0], [1, 1], [0, 0]])


def test_perplexity_counts_entries_in_use():
    assert abs(float(perplexity(jnp.arange(6), 8)) - 6) < 1e-4
    assert abs(float(perplexity(jnp.zeros((2, 3), int), 8)) - 1) < 1e-6
    share = np.array([0.5, 0.25, 0.25])
    np.testing.assert_allclose(
        perplexity(jnp.array([0, 0, 1, 2]), 3), np.exp(-(share * np.log(share)).sum()), rtol=1e-5
    )


def test_the_codebook_starts_where_the_data_is():
    x = jnp.asarray(5 + RNG.normal(size=(4, 6, 6, 3)), jnp.float32)
    book = np.asarray(init_codebook(jax.random.key(0), x, 16))
    distance = np.linalg.norm(book[:, None] - np.asarray(x).reshape(1, -1, 3), axis=-1).min(1)
    assert (distance < 0.2).all()
    assert len(np.unique(book, axis=0)) == 16
    assert init_codebook(jax.random.key(0), x[:1, :2, :2], 16).shape == (16, 3)  # more entries than vectors
