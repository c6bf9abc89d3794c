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
