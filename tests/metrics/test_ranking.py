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


def test_scikit_learn_agrees():
    metrics = pytest.importorskip("sklearn.metrics")
    for score, label in cases():
        np.testing.assert_allclose(auroc(score, label), metrics.roc_auc_score(label, score), rtol=1e-5)
        np.testing.assert_allclose(
            average_precision(score, label), metrics.average_precision_score(label, score), rtol=1e-5
        )
