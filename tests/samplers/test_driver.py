import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws, paths
from jaxgen.samplers import Sample, ddim, euler, grids, heun, sample, start
from jaxgen.types import Step

PATH = paths.rectified()


def _noisy_step():
    """Adds the noise of the step's key, and nothing else."""
    return Step(start, lambda denoise, key, state, t, s: Sample(state.x + draws.normal(key, state.x.shape)))


def test_each_step_folds_its_number_into_the_key():
    key, x = jax.random.key(7), jnp.zeros((3, 2))
    want = sum(jax.random.normal(jax.random.fold_in(key, i), (3, 2)) for i in range(4))
    np.testing.assert_allclose(sample(_noisy_step(), None, key, x, grids.uniform(PATH, 4)), want, atol=1e-6)


def test_keys_by_example_do_not_depend_on_the_split():
    keys, x = jax.random.split(jax.random.key(7), 6), jnp.zeros((6, 2))
    grid = grids.uniform(PATH, 3)
    whole = sample(_noisy_step(), None, keys, x, grid)
    np.testing.assert_array_equal(whole[3:], sample(_noisy_step(), None, keys[3:], x[3:], grid))
    assert len(np.unique(whole)) == 12


def test_keep_returns_the_trajectory():
    x, grid = jnp.ones((3, 2)), grids.uniform(PATH, 4)

    def denoise(x, t):
        return jnp.cos(x) + t

    kept = sample(euler(PATH), denoise, jax.random.key(0), x, grid, keep=True)
    assert kept.shape == (5, 3, 2)
    np.testing.assert_array_equal(kept[0], x)
    for n in range(1, 5):
        part = sample(euler(PATH), denoise, jax.random.key(0), x, grid[: n + 1])
        np.testing.assert_allclose(kept[n], part, rtol=1e-6)


def test_one_trace_for_two_calls_and_vmap_over_keys():
    grid = grids.uniform(PATH, 4)

    @chex.assert_max_traces(n=1)
    def draw(scale, key):
        x = jax.random.normal(key, (3, 2))
        return sample(heun(PATH), lambda x, t: scale * jnp.tanh(x), key, x, grid)

    jitted = jax.jit(draw)
    keys = jax.random.split(jax.random.key(0), 2)
    singles = [jitted(scale, key) for scale, key in zip(jnp.array([0.5, 0.7]), keys, strict=True)]
    assert float(jnp.abs(singles[0] - singles[1]).max()) > 0.1
    mapped = jax.vmap(jitted)(jnp.array([0.5, 0.7]), keys)
    np.testing.assert_allclose(mapped, jnp.stack(singles), rtol=1e-5)


def test_spatial_rank_is_data():
    for shape in ((2, 5, 1), (2, 4, 3, 1), (2, 3, 4, 2, 1)):
        end = sample(heun(PATH), lambda x, t: 0.5 * x, jax.random.key(0), jnp.ones(shape), grids.uniform(PATH, 2))
        assert end.shape == shape


def test_sampling_keeps_one_state_and_no_trajectory():
    """More steps take no more memory, unless they are all to be kept."""
    x = jnp.zeros((4, 64, 64, 4))

    def memory(steps, keep):
        grid = grids.uniform(PATH, steps)
        run = jax.jit(lambda key, x: sample(ddim(PATH, eta=1.0), lambda x, t: 0.5 * x, key, x, grid, keep=keep))
        taken = run.lower(jax.random.key(0), x).compile().memory_analysis()
        return (taken.temp_size_in_bytes + taken.output_size_in_bytes) / x.nbytes

    few = memory(4, keep=False)
    assert memory(400, keep=False) - few < 1
    assert memory(400, keep=True) - few > 400
