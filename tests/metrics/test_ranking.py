import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.metrics import auroc, average_precision


def cases():
    rng = np.random.default_rng(0)
    for n, values in ((50, 5), (200, 1000), (37, 2), (30, 1)):
        label = rng.random(n) < 0.3
        label[:2] = [True, False]
        yield (rng.integers(0, values, n) + label * (values > 1)).astype(np.float32), label


@pytest.mark.parametrize(("score", "label"), cases())
def test_auroc_counts_the_pairs(score, label):
    positive, negative = score[label][:, None], score[~label][None]
    expected = np.mean((positive > negative) + 0.5 * (positive == negative))
    np.testing.assert_allclose(jax.jit(auroc)(score, label), expected, rtol=1e-6)
    np.testing.assert_allclose(auroc(-score, label), 1 - expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("score", "label"), cases())
def test_average_precision_steps_over_the_thresholds(score, label):
    expected, recall = 0.0, 0.0
    for threshold in np.unique(score)[::-1]:
        chosen = score >= threshold
        expected += (label[chosen].sum() / label.sum() - recall) * label[chosen].mean()
        recall = label[chosen].sum() / label.sum()
    np.testing.assert_allclose(jax.jit(average_precision)(score, label), expected, rtol=1e-5)


def test_a_score_that_says_nothing():
    label = jnp.array([0, 1, 1, 0, 1])
    assert auroc(jnp.zeros(5), label) == 0.5
    np.testing.assert_allclose(average_precision(jnp.zeros(5), label), 0.6, rtol=1e-6)


def test_a_perfect_score_of_images():
    label = jnp.arange(24).reshape(2, 3, 4) % 5 == 0
    assert auroc(label * 1.0, label) == 1
    assert average_precision(label * 1.0, label) == 1


@pytest.mark.parametrize("label", [np.zeros(4), np.ones(4)])
def test_one_class_alone_has_no_area(label):
    assert np.isnan(auroc(np.arange(4.0), label))
    assert np.isnan(average_precision(np.arange(4.0), label)) == (not label.any())


def test_many_pixels_keep_their_precision():
    n = 1_000_000
    rng = np.random.default_rng(1)
    label = rng.random(n) < 0.1
    score = (rng.normal(size=n) + label).astype(np.float32)
    order = np.argsort(score)
    ranks = np.empty(n)
    ranks[order] = np.arange(n)  # a million float32 scores have few ties: their effect is below 1e-7
    p = label.sum()
    expected = (ranks[label].sum() - p * (p - 1) / 2) / (p * (n - p))
    np.testing.assert_allclose(auroc(score, label), expected, atol=2e-6)


def test_sizes_must_agree():
    with pytest.raises(ValueError, match="labels"):
        auroc(jnp.zeros(3), jnp.zeros(4))


@pytest.mark.peers
def test_scikit_learn_agrees():
    metrics = pytest.importorskip("sklearn.metrics")
    for score, label in cases():
        np.testing.assert_allclose(auroc(score, label), metrics.roc_auc_score(label, score), rtol=1e-5)
        np.testing.assert_allclose(
            average_precision(score, label), metrics.average_precision_score(label, score), rtol=1e-5
        )


LABEL = np.array([0, 1, 0, 1, 1, 0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, jnp.bfloat16])
@pytest.mark.parametrize("place", [0, 1, slice(None)])
def test_what_is_no_number_has_no_order(bad, dtype, place):
    score = np.linspace(0, 1, 6).astype(dtype)
    score[place] = bad
    for one in (score, jnp.asarray(score)):
        assert np.isnan(auroc(one, LABEL))
        assert np.isnan(average_precision(one, LABEL))
        assert np.isnan(jax.jit(auroc)(one, LABEL))
        assert np.isnan(jax.jit(average_precision)(one, LABEL))


@pytest.mark.parametrize(
    "score",
    [
        1 + 1e-12 * np.arange(6),  # equal in float32
        -1e300 * np.arange(6, 0, -1),  # infinite in float32
        1e-40 * np.arange(1, 7, dtype=np.float32),  # subnormal: 0 to XLA
        2**53 + np.arange(6),
        np.uint64(2**63) + np.arange(6, dtype=np.uint64),
        np.longdouble(1) + np.finfo(np.longdouble).eps * np.arange(6),
        np.arange(6, dtype=np.uint8),
        list(1 + 1e-12 * np.arange(6)),
    ],
)
def test_scores_are_ranked_in_their_own_precision(score):
    label = np.array([0, 0, 0, 1, 1, 1])
    assert auroc(score, label) == 1
    assert average_precision(score, label) == 1
    assert auroc(score, 1 - label) == 0


def test_ties_of_short_floats_stay_ties():
    for dtype in (jnp.bfloat16, np.float16):
        score = np.array([1, 1.0001, 2, 2.0001]).astype(dtype)
        assert auroc(score, np.array([0, 1, 0, 1])) == 0.5
        assert auroc(jnp.asarray(score), np.array([0, 1, 0, 1])) == 0.5
