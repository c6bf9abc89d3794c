import jax
import numpy as np

from jaxgen.medical.privacy.linking import Links
from jaxgen.medical.privacy.sampling import acceptance, private_samples

KEY = jax.random.key(0)


def draw(keys, label):
    """A uniform number for each key, plus its class."""
    return np.asarray(jax.vmap(jax.random.uniform)(keys))[:, None] + label[:, None]


def link(images):
    """Half of class 0, all of class 2, nothing of class 1 is linked."""
    x = images[:, 0]
    return Links(x, np.zeros(len(x), int), (x < 0.5) | (x >= 2))


def test_only_what_is_linked_to_nobody_is_let_through():
    label = np.repeat([0, 1, 2], 100)
    found = private_samples(draw, link, KEY, label, most=20)
    assert not link(found.images).linked.any()
    assert found.accepted.tolist() == [True] * 200 + [False] * 100
    assert found.label.tolist() == label[:200].tolist()
    assert (found.draws[100:200] == 1).all()
    assert (found.draws[200:] == 20).all()
    assert 1.6 < found.draws[:100].mean() < 2.5, "a geometric number of draws, of mean 2"


def test_what_passes_has_the_distribution_of_what_is_not_linked():
    found = private_samples(draw, link, KEY, np.zeros(2000, int), most=50)
    assert abs(found.images.mean() - 0.75) < 0.02
    np.testing.assert_array_equal(found.first_linked, found.first[:, 0] < 0.5)
    assert abs(found.first.mean() - 0.5) < 0.03


def test_an_image_does_not_depend_on_the_others():
    whole = private_samples(draw, link, KEY, np.zeros(40, int), most=9)
    some = private_samples(draw, link, KEY, np.zeros(10, int), most=9)
    np.testing.assert_array_equal(whole.images[: len(some.images)], some.images)


def test_the_cap_of_one_draw_is_rejection_without_a_second_try():
    found = private_samples(draw, link, KEY, np.zeros(50, int), most=1)
    np.testing.assert_array_equal(found.accepted, ~found.first_linked)
    np.testing.assert_array_equal(found.images, found.first[found.accepted])


def test_acceptance_counts_draws_by_class():
    found = private_samples(draw, link, KEY, np.repeat([0, 2], [60, 5]), most=4)
    rows = acceptance(found, ("a", "b", "c"))
    assert list(rows) == ["a", "c"]
    assert rows["c"] == {"asked": 5, "drawn": 20, "accepted": 0, "rate": 0.0}
    assert rows["a"]["drawn"] == found.draws[:60].sum()
    assert rows["a"]["rate"] == rows["a"]["accepted"] / rows["a"]["drawn"]
