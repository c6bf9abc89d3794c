import numpy as np
import pytest

from jaxgen.metrics import within_class_distance


def test_the_mean_is_over_pairs_of_a_class_and_then_over_classes():
    rng = np.random.default_rng(0)
    x, label = rng.normal(size=(40, 3)), rng.integers(0, 3, 40)
    x[0], label[0] = 1e6, 7  # a class of one has no pairs
    means = []
    for k in range(3):
        pairs = [np.linalg.norm(a - b) for i, a in enumerate(x) for b in x[:i] if label[i] == k]
        of_class = [label[j] == k for i in range(40) for j in range(i) if label[i] == k]
        means.append(np.mean(np.array(pairs)[of_class]))
    np.testing.assert_allclose(within_class_distance(x, label), np.mean(means), rtol=1e-12)
    np.testing.assert_allclose(
        within_class_distance(x[1:]),
        np.mean([np.linalg.norm(a - b) for i, a in enumerate(x[1:]) for b in x[1 : i + 1]]),
    )


def test_one_image_a_class_has_no_variety():
    x = np.repeat(np.eye(4), 5, axis=0)
    assert within_class_distance(x, np.repeat(np.arange(4), 5)) == 0
    assert within_class_distance(x) > 1


def test_no_pairs():
    with pytest.raises(ValueError, match="two members"):
        within_class_distance(np.eye(3), np.arange(3))
