import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import metrics


def nested(*counts, size=20):
    """Masks of the first k pixels of a row: the IoU of two of them is the ratio of their counts."""
    return jnp.arange(size)[None] < jnp.array(counts)[:, None]


def random_masks(n, seed):
    rng = np.random.default_rng(seed)
    masks = rng.random((n, 4, 5)) < rng.uniform(0, 1, (n, 1, 1))
    masks[0] = False
    return masks


def distance(a, b):
    return 1 - (a & b).sum() / (a | b).sum() if (a | b).any() else 0.0


def test_pairs():
    a, b = random_masks(6, 0), random_masks(4, 1)
    expected = [[1 - distance(x, y) for y in b] for x in a]
    np.testing.assert_allclose(jax.jit(metrics.pairwise_iou)(a, b), expected, rtol=1e-6)


@pytest.mark.parametrize("unbiased", [False, True])
def test_energy_distance_against_loops(unbiased):
    s, y = random_masks(6, 2), random_masks(4, 3)

    def within(masks):
        pairs = itertools.permutations(masks, 2) if unbiased else itertools.product(masks, masks)
        return np.mean([distance(a, b) for a, b in pairs])

    expected = 2 * np.mean([distance(a, b) for a in s for b in y]) - within(s) - within(y)
    found = jax.jit(lambda a, b: metrics.generalized_energy_distance(a, b, unbiased=unbiased))(s, y)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


READERS, LAW = (10, 5, 20, 0), np.array([0.40, 0.25, 0.25, 0.10])  # r, r / 2, 2 r and absent


def test_the_closed_form_of_one_blob_and_four_readers():
    """Samples that always give reader 0, against the exact law: D^2 = 2 sum_i p_i d_0i - sum_ij p_i p_j d_ij."""
    d = np.array([[0, 1 / 2, 1 / 2, 1], [1 / 2, 0, 3 / 4, 1], [1 / 2, 3 / 4, 0, 1], [1, 1, 1, 0]])
    expected = 2 * LAW @ d[0] - LAW @ d @ LAW
    for unbiased in (False, True):
        found = metrics.generalized_energy_distance(
            nested(10, 10, 10), nested(*READERS), reference_weights=LAW, unbiased=unbiased
        )
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_samples_in_the_proportions_of_the_law_are_at_distance_zero():
    samples = nested(*np.repeat(READERS, (LAW * 20).astype(int)))
    found = metrics.generalized_energy_distance(samples, nested(*READERS), reference_weights=LAW)
    np.testing.assert_allclose(found, 0, atol=1e-6)
    np.testing.assert_allclose(metrics.generalized_energy_distance(samples, samples), 0, atol=1e-6)


def test_the_unbiased_form_has_mean_zero_for_equal_laws_and_the_other_its_known_bias():
    rng, n = np.random.default_rng(0), 4
    draws = nested(*READERS)[rng.choice(4, p=LAW, size=(2, 2000, n))]
    d = 1 - np.asarray(metrics.pairwise_iou(nested(*READERS), nested(*READERS)))
    for unbiased, mean in ((True, 0.0), (False, 2 * LAW @ d @ LAW / n)):
        form = jax.jit(jax.vmap(lambda s, y, u=unbiased: metrics.generalized_energy_distance(s, y, unbiased=u)))
        found = np.asarray(form(*draws))
        assert abs(found.mean() - mean) < 4 * found.std() / np.sqrt(2000)


def test_one_mask_has_no_unbiased_form():
    with pytest.raises(ValueError, match="two masks"):
        metrics.generalized_energy_distance(nested(3), nested(3, 4), unbiased=True)
    with pytest.raises(ValueError, match="two masks"):
        metrics.generalized_energy_distance(nested(3, 4), nested(3), unbiased=True)


def test_best_dice_against_loops():
    s, y = random_masks(5, 4), random_masks(4, 5)

    def dice(a, b):
        return 2 * (a & b).sum() / (a.sum() + b.sum()) if (a | b).any() else 1.0

    expected = np.mean([max(dice(a, b) for a in s) for b in y])
    np.testing.assert_allclose(metrics.maximum_dice_matching(s, y), expected, rtol=1e-6)


def test_matched_iou_against_all_pairings():
    s, y = random_masks(4, 6), random_masks(4, 7)
    score = np.asarray(metrics.pairwise_iou(s, y))
    expected = max(score[range(4), list(order)].mean() for order in itertools.permutations(range(4)))
    np.testing.assert_allclose(metrics.matched_iou(s, y), expected, rtol=1e-6)


def test_matched_iou_of_sets_of_different_sizes_sees_the_shares():
    assert metrics.matched_iou(nested(4, 4, 8, 8), nested(4, 8)) == 1
    np.testing.assert_allclose(metrics.matched_iou(nested(4, 4, 4, 8), nested(4, 8)), (3 + 0.5) / 4)
    np.testing.assert_allclose(metrics.matched_iou(nested(4, 8, 8), nested(4, 8)), (2 + 3 + 0.5) / 6)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="differ in shape"):
        metrics.pairwise_iou(nested(1), nested(1, size=21))
