import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.data.phantoms.ambiguous import ambiguous_raters
from jaxgen.metrics.ambiguity import collective_insight, combined_sensitivity, diversity_agreement, nearest_raters
from jaxgen.metrics.distribution import maximum_dice_matching


@pytest.fixture(scope="module")
def raters():
    return ambiguous_raters(0, 0, size=32)["masks"]


def test_an_image_has_raters_of_each_kind_as_often_as_is_known(raters):
    sizes, counts = np.unique(raters.sum((1, 2)), return_counts=True)
    assert sizes[0] == 0
    assert counts.tolist() == [2, 5, 8, 5]  # by size: none, 0.7 r, r, 1.35 r


def test_samples_with_the_raters_distribution_are_told_from_others(raters):
    assert nearest_raters(raters, raters) == pytest.approx(np.full(20, 0.05))
    found = nearest_raters(raters[:8], raters)  # the first kind alone
    assert np.abs(found - 0.05).sum() / 2 == pytest.approx(0.6)


def test_the_parts_of_collective_insight_on_masks_counted_by_hand():
    references = jnp.array([[1, 1, 0, 0], [1, 0, 0, 0]])
    samples = jnp.array([[1, 0, 0, 0], [0, 0, 1, 0]])
    assert combined_sensitivity(samples, references).item() == 0.5  # of pixels 0 and 1, pixel 0
    # V of the samples: (1, 0, -1, 0) has variance 1/2; of the references: (0, 1, 0, 0) has 3/16.
    assert diversity_agreement(samples, references).item() == pytest.approx(1 - (0.5 - 0.1875))
    parts = 0.5, maximum_dice_matching(samples, references).item(), 0.6875
    assert parts[1] == pytest.approx((2 / 3 + 1) / 2)
    printed, harmonic = 3 * np.prod(parts) / np.sum(parts), 3 / np.sum(1 / np.array(parts))
    assert collective_insight(samples, references).item() == pytest.approx(printed)
    assert collective_insight(samples, references, harmonic=True).item() == pytest.approx(harmonic)


def test_nothing_marked_by_anyone():
    empty = jnp.zeros((2, 3))
    assert combined_sensitivity(empty, empty).item() == 1
    assert collective_insight(empty, jnp.ones((1, 3))).item() == 0
    assert collective_insight(empty, jnp.ones((1, 3)), harmonic=True).item() == 0
