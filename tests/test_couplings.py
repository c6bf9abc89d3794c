import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxgen import couplings

transport = jax.jit(couplings.optimal_transport)


def _batch(b, shape=(3, 2, 1), seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(b, *shape)) * 2 + rng.integers(0, 3, (b, *(1,) * len(shape)))
    return rng.normal(size=(b, *shape)).astype(np.float32), x.astype(np.float32)


def _cost(noise, x):
    return ((np.asarray(noise, np.float64) - np.asarray(x, np.float64)) ** 2).sum()


def _order(noise, paired):
    """The permutation that was applied; fails if it is none."""
    order = [int(np.flatnonzero((noise == row).reshape(len(noise), -1).all(1))[0]) for row in np.asarray(paired)]
    assert sorted(order) == list(range(len(noise)))
    return np.array(order)


def test_optimal_among_all_permutations():
    noise, x = _batch(6)
    best = min(_cost(noise[list(p)], x) for p in itertools.permutations(range(6)))
    np.testing.assert_allclose(_cost(transport(noise, x), x), best, rtol=1e-6)


@pytest.mark.parametrize("b", [1, 2, 33, 64])
def test_equals_scipy(b):
    noise, x = _batch(b, seed=b)
    cost = ((x.reshape(b, 1, -1) - noise.reshape(1, b, -1)).astype(np.float64) ** 2).sum(-1)
    _, column = scipy.optimize.linear_sum_assignment(cost)
    np.testing.assert_array_equal(_order(noise, transport(noise, x)), column)


@pytest.mark.parametrize("seed", range(2))
def test_labels_split_the_problem_into_one_a_label(seed):
    b = 40
    noise, x = _batch(b, seed=seed)
    labels = np.random.default_rng(seed).integers(0, 5, b)
    labels[0] = 99  # alone with its label
    order = _order(noise, transport(noise, x, labels=labels))
    np.testing.assert_array_equal(labels[order], labels)
    for label in np.unique(labels):
        group = np.flatnonzero(labels == label)
        cost = ((x[group].reshape(len(group), 1, -1) - noise[group].reshape(1, len(group), -1)) ** 2).sum(-1)
        _, column = scipy.optimize.linear_sum_assignment(cost)
        np.testing.assert_array_equal(order[group], group[column])


def test_labels_of_several_numbers_are_compared_whole():
    noise, x = _batch(8)
    labels = np.array([[0, 0], [0, 1]] * 4)
    order = _order(noise, transport(noise, x, labels=labels))
    assert (order % 2 == np.arange(8) % 2).all()


def test_labels_keep_the_noise_of_each_condition_standard_normal():
    """The trap: data whose place depends on the condition pull the noise of a condition off centre."""
    rng = np.random.default_rng(0)
    labels = np.arange(32) % 2
    x = jnp.asarray(6.0 * labels[:, None] - 3.0, jnp.float32)
    noise = jnp.asarray(rng.normal(size=(20, 32, 1)), jnp.float32)
    free = jax.vmap(lambda n: transport(n, x))(noise)[:, labels == 1].mean()
    within = jax.vmap(lambda n: transport(n, x, labels=labels))(noise)[:, labels == 1].mean()
    assert float(free) > 0.6  # the upper half of a normal has mean 0.8
    assert abs(float(within)) < 4 / np.sqrt(20 * 16)


def test_the_data_and_what_belongs_to_them_stay_in_place():
    """Only the noise is returned, so x and its condition cannot part; and it is a cheaper reordering."""
    noise, x = _batch(16)
    paired = transport(noise, x)
    assert paired.shape == x.shape
    _order(noise, paired)
    assert _cost(paired, x) < _cost(noise, x)
    np.testing.assert_array_equal(couplings.independent(noise, x, labels=np.zeros(16)), noise)


def test_one_trace_and_the_same_under_jit_and_vmap():
    noise, x = _batch(12)
    jitted = jax.jit(chex.assert_max_traces(couplings.optimal_transport, n=1))
    plain = couplings.optimal_transport(noise, x)
    jitted(noise + 1, x)
    np.testing.assert_array_equal(jitted(noise, x), plain)
    other, _ = _batch(12, seed=5)
    both = jax.vmap(couplings.optimal_transport, (0, None))(np.stack([noise, other]), x)
    np.testing.assert_array_equal(both[0], plain)
    np.testing.assert_array_equal(both[1], jitted(other, x))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(3, 2\).*\(3, 4\)"):
        couplings.optimal_transport(jnp.ones((3, 2)), jnp.ones((3, 4)))


@pytest.mark.peers
def test_equals_torchcfm():
    torch = pytest.importorskip("torch")
    peer = pytest.importorskip("torchcfm.optimal_transport")
    noise, x = _batch(24)
    # Exact plans between equal weights are permutation matrices, whatever pairs torchcfm then samples from them.
    plan = peer.OTPlanSampler(method="exact").get_map(torch.tensor(noise), torch.tensor(x))
    np.testing.assert_array_equal(_order(noise, transport(noise, x)), plan.argmax(0))


def _sinkhorn(cost, regularisation, iterations=2000):
    """The plan by alternating scalings, in float64."""
    kernel = np.exp(-(cost - cost.min()) / regularisation)
    b = len(cost)
    u, v = np.ones(b), np.ones(b)
    for _ in range(iterations):
        u = 1 / (b * kernel @ v)
        v = 1 / (b * kernel.T @ u)
    return u[:, None] * kernel * v


def _squares(noise, x):
    b = len(x)
    return ((x.reshape(b, 1, -1) - noise.reshape(1, b, -1)).astype(np.float64) ** 2).sum(-1)


@pytest.mark.parametrize("regularisation", [2.0, 20.0])
def test_the_entropic_plan(regularisation):
    noise, x = _batch(12)
    plan = jax.jit(couplings.entropic_plan, static_argnums=(2, 3))(noise, x, regularisation, 1000)
    np.testing.assert_allclose(plan, _sinkhorn(_squares(noise, x), regularisation), atol=1e-6)
    for axis in (0, 1):
        np.testing.assert_allclose(plan.sum(axis), 1 / 12, rtol=1e-4)


def test_the_entropic_plan_keeps_to_labels():
    noise, x = _batch(12)
    labels = np.arange(12) % 3
    plan = np.asarray(couplings.entropic_plan(noise, x, 5.0, labels=labels))
    assert (plan[labels[:, None] != labels] == 0).all()
    one = labels == 1
    np.testing.assert_allclose(plan[one][:, one], _sinkhorn(_squares(noise[one], x[one]), 5.0) / 3, atol=1e-5)
    np.testing.assert_allclose(plan.sum(0), 1 / 12, rtol=1e-4)


def test_an_entropic_coupling_draws_from_the_rows_of_its_plan():
    noise, x = _batch(5)
    plan = np.asarray(couplings.entropic_plan(noise, x, 8.0))
    rows = plan / plan.sum(1, keepdims=True)
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = jax.jit(jax.vmap(lambda key: couplings.entropic(8.0)(noise, x, key=key)))(keys)
    frequency = (np.asarray(drawn)[:, :, None] == noise[None, None]).reshape(4000, 5, 5, -1).all(-1).mean(0)
    assert rows.max() < 0.99
    assert (np.abs(frequency - rows) <= 4 * np.sqrt(rows * (1 - rows) / 4000) + 1e-9).all()


def test_an_entropic_coupling_lies_between_the_others():
    noise, x = _batch(16)
    near = x[::-1] + 0.01 * noise
    sharp = couplings.entropic(0.2, 200)(near, x, key=jax.random.key(0))
    np.testing.assert_array_equal(sharp, transport(near, x))
    plan = couplings.entropic_plan(noise, x, 1e6)
    np.testing.assert_allclose(plan, 1 / 16**2, rtol=1e-3)


def test_an_entropic_coupling_gives_examples_keys_of_their_own():
    noise, x = _batch(8)
    coupling = couplings.entropic(50.0)
    keys = jax.random.split(jax.random.key(0), 8)
    first = coupling(noise, x, key=keys)
    other = coupling(noise, x, key=keys.at[0].set(jax.random.key(9)))
    np.testing.assert_array_equal(first[1:], other[1:])
    with pytest.raises(ValueError, match="give it a key"):
        coupling(noise, x)
    with pytest.raises(ValueError, match="above 0"):
        couplings.entropic(0.0)


@pytest.mark.peers
def test_the_entropic_plan_is_torchcfm_s():
    """And POT's, which torchcfm asks."""
    torch = pytest.importorskip("torch")
    peer = pytest.importorskip("torchcfm.optimal_transport")
    noise, x = _batch(24)
    sampler = peer.OTPlanSampler(method="sinkhorn", reg=10.0)
    plan = sampler.get_map(torch.tensor(noise), torch.tensor(x))  # a row for each noise
    np.testing.assert_allclose(couplings.entropic_plan(noise, x, 10.0, 2000), plan.T, atol=1e-6)
