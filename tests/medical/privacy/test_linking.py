import numpy as np
import pytest

from jaxgen.medical.privacy import linking

RNG = np.random.default_rng(0)
KNOWN = RNG.normal(size=(20, 3))


def same(a, b):
    return -np.linalg.norm(a - b, axis=1)


def test_the_person_retrieved_is_the_one_verified():
    """The embedding looks at the first number alone: the verifier then refuses what only that agrees on."""
    seen = []

    def verify(a, b):
        seen.append(b)
        return same(a, b)

    link = linking.two_stages(lambda x: x[:, :1], verify, KNOWN, -0.1)
    images = KNOWN[[3, 7]] + np.array([[0, 0.01, 0], [0, 5, 0]])
    found = link(images)
    assert found.nearest.tolist() == [3, 7]
    assert found.linked.tolist() == [True, False]
    np.testing.assert_array_equal(seen[-1], KNOWN[[3, 7]])


def test_what_cannot_be_compared_is_linked():
    link = linking.two_stages(lambda x: x, lambda a, b: np.full(len(a), np.nan), KNOWN, 0.0)
    assert link(KNOWN + 9).linked.all()
    diverged = np.full((1, 3), np.nan)
    assert linking.two_stages(lambda x: x, same, KNOWN, -1.0)(diverged).linked.all()


def test_a_score_at_the_threshold_is_a_match():
    link = linking.two_stages(lambda x: x, lambda a, b: np.zeros(len(a)), KNOWN, 0.0)
    assert link(KNOWN).linked.all()


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.1])
def test_the_threshold_misses_as_many_as_it_may_and_no_higher_one_does(rate):
    score = RNG.normal(size=1000)
    threshold = linking.threshold_at_miss_rate(score, rate)
    assert np.mean(score < threshold) == pytest.approx(rate)
    higher = np.min(score[score > threshold])
    assert np.mean(score < higher) > rate


@pytest.mark.parametrize("score", [[], [1.0, np.nan]])
def test_no_threshold_without_scores(score):
    with pytest.raises(ValueError, match="finite scores"):
        linking.threshold_at_miss_rate(np.array(score))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_equal_acceptance(share):
    score = RNG.permutation(np.arange(50.0))
    threshold = linking.threshold_at_acceptance(score, share)
    assert np.mean(score < threshold) == share


def test_distance_in_pixels_is_euclidean():
    images = 10 * KNOWN.reshape(20, 3, 1)
    found = linking.pixel_distance(images, 0.5)(images[:2] + np.array([[[0.3], [0.4], [0.0]]] * 2))
    np.testing.assert_allclose(found.score, -0.5)
