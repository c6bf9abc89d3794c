"""A sampler keeps one state, however many its steps, unless told to keep them all."""

import jax
import jax.numpy as jnp
import pytest

from jaxgen import paths
from jaxgen.samplers import ddim, dpm_solver_2m, grids, heun, sample

PATH = paths.cosine()
SHAPE = (2, 32, 32, 4)
BYTES = 4 * 2 * 32 * 32 * 4


def memory(step, steps, keep=False):
    """Bytes of temporary buffers of a compiled sampler with a small convolution for a network, and of its output."""

    def run(kernel, key, x):
        def denoise(x, t):
            return jax.lax.conv_general_dilated(
                jnp.tanh(x), kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            ) + jnp.sin(t)

        return sample(step(PATH), denoise, key, x, grids.uniform(PATH, steps), keep=keep)

    arguments = jnp.ones((3, 3, 4, 4)), jax.random.key(0), jnp.ones(SHAPE)
    analysis = jax.jit(run).lower(*arguments).compile().memory_analysis()
    return analysis.temp_size_in_bytes, analysis.output_size_in_bytes


@pytest.mark.parametrize("step", [ddim, heun, dpm_solver_2m])
def test_memory_does_not_grow_with_the_steps(step):
    few, many = memory(step, 10), memory(step, 200)
    # All that grows is the times: two numbers a step, and up to four more of a multistep method. A state is 8192.
    assert many[0] - few[0] <= 190 * 6 * 4
    assert many[1] == few[1] == BYTES


def test_keeping_the_trajectory_costs_its_size():
    few, many = memory(ddim, 10, keep=True), memory(ddim, 200, keep=True)
    assert many[1] - few[1] == 190 * BYTES
