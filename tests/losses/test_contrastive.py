import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.losses import info_nce

KEY = jax.random.key(0)
A, B = jax.random.normal(KEY, (2, 5, 3))


def by_hand(a, b, owner, temperature):
    """The loss written out, pair by pair."""
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in map(np.asarray, (a, b)))
    likeness = np.exp(a @ b.T / temperature)
    found = []
    for i in range(len(a)):
        there = [j for j in range(len(a)) if j == i or owner[j] != owner[i]]
        forth = likeness[i, i] / sum(likeness[i, j] for j in there)
        back = likeness[i, i] / sum(likeness[j, i] for j in there)
        found.append(-(np.log(forth) + np.log(back)) / 2)
    return found


@pytest.mark.parametrize("owner", [[0, 1, 2, 3, 4], [0, 1, 0, 2, 1]])
def test_it_is_the_sum_written_out(owner):
    found = info_nce(A, B, jnp.array(owner), temperature=0.3)
    np.testing.assert_allclose(found, by_hand(A, B, owner, 0.3), rtol=1e-5)


def test_without_owners_all_differ_and_scale_does_not_matter():
    found = info_nce(A, B)
    np.testing.assert_allclose(found, info_nce(A, 7 * B, jnp.arange(5)), rtol=1e-5)


def test_images_of_the_same_person_are_not_pushed_apart():
    """Row 2 is the same person as row 0: moving it changes nothing for row 0."""
    owner = jnp.array([0, 1, 0, 2, 3])
    gradient = jax.grad(lambda b: info_nce(A, b, owner)[0])(B)
    assert (gradient[2] == 0).all()
    assert (gradient[1] != 0).any()
