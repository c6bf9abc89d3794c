"""Denoisers of volumes from those of planes: whose turn it is, memory, and what is drawn of Gaussian volumes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.paths import cosine
from jaxgen.samplers import alternating, ddim, grids, heun, plane_denoiser, sample

RNG = np.random.default_rng(0)


def network(x, t):
    """Something that mixes the pixels of an image, and depends on where they are."""
    rows = jnp.arange(x.shape[1], dtype=jnp.float32)[:, None, None]
    return jnp.tanh(x * rows + x.mean((1, 2), keepdims=True)) * t


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_slice_across_the_axis_is_denoised_alone(axis):
    x = jnp.asarray(RNG.normal(size=(2, 3, 4, 5, 1)), jnp.float32)
    found = plane_denoiser(network, axis)(x, 0.5)
    for b in range(2):
        for i in range(x.shape[1 + axis]):
            one = network(np.take(np.asarray(x)[b], i, axis)[None], 0.5)[0]
            np.testing.assert_allclose(np.take(np.asarray(found)[b], i, axis), one, atol=1e-6)


@pytest.mark.parametrize("together", [1, 4, 5, 10, 64])
def test_a_few_slices_at_a_time_give_the_same_answer_and_gradient(together):
    x = jnp.asarray(RNG.normal(size=(2, 5, 4, 3, 1)), jnp.float32)

    def squared(x, denoise):
        return jnp.sum(denoise(x, jnp.float32(0.5)) ** 2)

    plain, chunked = plane_denoiser(network, 0), plane_denoiser(network, 0, together=together)
    np.testing.assert_allclose(jax.jit(chunked)(x, 0.5), plain(x, 0.5), atol=1e-6)
    np.testing.assert_allclose(jax.grad(squared)(x, chunked), jax.grad(squared)(x, plain), atol=1e-5)


def test_no_more_slices_are_held_at_once_than_asked_for():
    seen = []

    def denoise(x, t):
        seen.append(x.shape)
        return x

    jax.make_jaxpr(plane_denoiser(denoise, 1, together=3))(jnp.zeros((2, 3, 7, 5, 1)), 0.5)
    assert set(seen) == {(3, 3, 5, 1)}


@pytest.mark.parametrize(("every", "turns"), [(2, "papapap"), (3, "ppappap"), (7, "ppppppa"), (8, "ppppppp")])
def test_every_kth_step_is_the_auxiliary_ones(every, turns):
    path = cosine()
    grid = grids.uniform(path, len(turns))
    turn = alternating(lambda x, t: 0 * x, lambda x, t: 0 * x + 1, grid, every=every)
    found = [float(turn(jnp.zeros(1), t)[0]) for t in grid[:-1]]
    assert found == [float(letter == "a") for letter in turns]

    def step(denoise, key, state, t, s):
        return state._replace(x=2 * state.x + denoise(state.x, t))

    counted = sample(ddim(path)._replace(step=step), turn, jax.random.key(0), jnp.zeros(1), grid)
    assert counted.item() == int("".join("01"[letter == "a"] for letter in turns), 2)


def test_only_the_denoiser_whose_turn_it_is_is_evaluated():
    def count(value):
        called.append(value.item())

    def telling(name):
        def denoise(x, t):
            jax.debug.callback(count, jnp.float32(name))
            return x

        return denoise

    called, path = [], cosine()
    grid = grids.uniform(path, 4)
    denoise = alternating(telling(0), telling(1), grid)
    jax.block_until_ready(jax.jit(lambda x: sample(heun(path), denoise, jax.random.key(0), x, grid))(jnp.ones(1)))
    jax.effects_barrier()
    assert len(called) == 7  # Heun asks twice a step, but for the last


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="axes 0, 1 and 2, not 3"):
        plane_denoiser(network, 3)
    with pytest.raises(ValueError, match=r"volumes \[b, x, y, z, c\] are needed"):
        plane_denoiser(network, 0)(jnp.zeros((1, 4, 4, 1)), 0.5)
    with pytest.raises(ValueError, match="every must be 2 or more"):
        alternating(network, network, jnp.arange(3.0), every=1)


# Gaussian volumes whose covariance is a product over the axes: what is drawn is known exactly


SIDES = (6, 4, 5)
DISTANCES = [np.abs(np.subtract.outer(np.arange(n), np.arange(n))) for n in SIDES]
AXES = [np.linalg.eigh(rho**d) for rho, d in zip((0.8, 0.6, 0.7), DISTANCES, strict=True)]
PATH = cosine()
STEPS = 30


def gain(values, t):
    """Of the exact denoiser, along an axis of the covariance with this variance."""
    alpha, sigma = float(PATH.alpha(t)), float(PATH.sigma(t))
    return alpha * values / (alpha**2 * values + sigma**2)


def exact(across):
    """The exact denoiser of the slices across an axis, whose diagonal variance is 1."""
    (a, u), (b, v) = (AXES[axis] for axis in range(3) if axis != across)
    values = jnp.asarray(np.outer(a, b), jnp.float32)
    u, v = jnp.asarray(u, jnp.float32), jnp.asarray(v, jnp.float32)

    def denoise(x, t):
        alpha, sigma = PATH.alpha(t), PATH.sigma(t)
        inside = jnp.einsum("nhwc,hi,wj->nijc", x, u, v) * (alpha * values / (alpha**2 * values + sigma**2))[..., None]
        return jnp.einsum("nijc,hi,wj->nhwc", inside, u, v)

    return plane_denoiser(denoise, across)


def recursion(turns):
    """The variance of DDIM's samples along each axis of the covariance ``[6, 4, 5]``: a product of factors.

    Along an axis of the covariance each denoiser multiplies by its gain: across an axis its variance is 1.
    """
    values = [values for values, _ in AXES]
    one, grid = np.ones_like, np.asarray(grids.uniform(PATH, STEPS), np.float64)
    experts = {
        "p": np.einsum("i,j,k->ijk", one(values[0]), values[1], values[2]),
        "a": np.einsum("i,j,k->ijk", values[0], values[1], one(values[2])),
    }
    factor = float(PATH.sigma(grid[0])) * np.ones(SIDES)
    for turn, t, s in zip(turns, grid[:-1], grid[1:], strict=True):
        kept = float(PATH.sigma(s)) / float(PATH.sigma(t))
        factor *= kept + (float(PATH.alpha(s)) - kept * float(PATH.alpha(t))) * gain(experts[turn], t)
    return factor**2


def between(variances, axis):
    """The mean covariance of neighbours along an axis."""
    weights = [np.mean(u**2, axis=0) for _, u in AXES]
    u = AXES[axis][1]
    weights[axis] = np.mean(u[1:] * u[:-1], axis=0)
    return np.einsum("ijk,i,j,k->", variances, *weights)


def drawn(denoise, n=1500):
    grid = grids.uniform(PATH, STEPS)
    noise = jax.random.normal(jax.random.key(0), (n, *SIDES, 1))
    x = jax.jit(lambda x: sample(ddim(PATH), denoise, jax.random.key(1), x, grid))(PATH.sigma(grid[0]) * noise)
    return np.asarray(x, np.float64)[..., 0]


def neighbours(x, axis):
    x = np.moveaxis(x, 1 + axis, 1)
    return np.mean(x[:, 1:] * x[:, :-1])


@pytest.mark.parametrize("every", [2, 3])
def test_both_planes_give_the_covariance_along_every_axis_that_the_recursion_says(every):
    turns = ["a" if i % every == every - 1 else "p" for i in range(STEPS)]
    variances = recursion(turns)
    x = drawn(alternating(exact(0), exact(2), grids.uniform(PATH, STEPS), every=every))
    for axis in range(3):
        assert neighbours(x, axis) == pytest.approx(between(variances, axis), rel=0.1)
    assert between(variances, 0) > 0.15, "slices of the primary prior fit each other"
    full = np.einsum("nxyz,xi,yj,zk->nijk", x, *(u for _, u in AXES)).var(0)
    np.testing.assert_allclose(full, variances, rtol=0.2, atol=1e-3)


def test_one_plane_alone_leaves_no_covariance_across_its_axis():
    x = drawn(exact(0))
    assert abs(neighbours(x, 0)) < 0.01
    for axis in (1, 2):
        assert neighbours(x, axis) == pytest.approx(between(recursion("p" * STEPS), axis), rel=0.1)
        assert neighbours(x, axis) > 0.5
