import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import draws, paths
from jaxgen.samplers import grids, kdpm2, sample

RATIOS = np.array([9.0, 4.0, 1.5, 0.3, 0.0])
X = np.array([[3.0, -8.0], [1.0, 12.0]])
KEY = jax.random.key(0)


def denoise(y, r):
    return np.tanh(y / (1 + r)) * 0.7


def dpm_solver_2(y, noises, eta):
    """DPM-Solver-2 of the paper in y = x / alpha, with ancestral noise, step by step."""
    for i, (r, s) in enumerate(itertools.pairwise(RATIOS)):
        up = eta * s * np.sqrt(1 - (s / r) ** 2)
        down = np.sqrt(s**2 - up**2)
        noise = (y - denoise(y, r)) / r
        if down > 0:
            h = np.log(r / down)
            middle = r * np.exp(-h / 2)
            half = y - middle * np.expm1(h / 2) * noise
            noise = (half - denoise(half, middle)) / middle
        y = y + (down - r) * noise + up * noises[i]
    return y


@pytest.mark.parametrize(
    ("path", "eta"), [(paths.variance_preserving(), 0.0), (paths.edm(), 0.6), (paths.variance_preserving(), 1.0)]
)
def test_every_path_takes_the_steps_of_the_paper(path, eta):
    noises = [np.asarray(draws.normal(jax.random.fold_in(KEY, i), X.shape)) for i in range(4)]
    want = dpm_solver_2(X, noises, eta)
    with jax.enable_x64(True):
        times = paths.time_of_log_snr(path, -2 * jnp.log(jnp.asarray(RATIOS)))

        def on_path(x, t):
            r = path.sigma(t) / path.alpha(t)
            return jnp.tanh(x / path.alpha(t) / (1 + r)) * 0.7

        x = jnp.asarray(X) * path.alpha(times[0])
        got = jax.jit(lambda x: sample(kdpm2(path, eta), on_path, KEY, x, times))(x)
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize(("path", "evaluations"), [(paths.rectified(), 8), (paths.edm(), 9)])
def test_evaluations_traces_and_the_ends(path, evaluations):
    """Five steps: one evaluation in the last, and in a first one from pure noise; one copy of the network."""
    traced, called = [], []

    def counted(x, t):
        traced.append(jnp.shape(t))
        jax.debug.callback(lambda t: called.append(float(t)), t)
        return 0.5 * x

    grid = grids.uniform(path, 5)
    end = jax.jit(lambda x: sample(kdpm2(path, 0.5), counted, KEY, x, grid))(jnp.ones((2, 2)))
    jax.effects_barrier()
    assert np.isfinite(end).all()
    assert len(called) == evaluations
    assert traced == [()]
    assert path.t_data not in called
