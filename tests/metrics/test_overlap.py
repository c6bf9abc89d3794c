import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.metrics import dice, iou


def masks(shape=(40, 5, 6), seed=0):
    """Masks of every density, the empty one among them."""
    rng = np.random.default_rng(seed)
    level = rng.choice([0.0, 0.1, 0.5, 1.0], size=(shape[0],) + (1,) * (len(shape) - 1))
    return rng.random(shape) < level


def by_sets(prediction, target):
    a, b = (set(map(tuple, np.argwhere(m))) for m in (prediction, target))
    if not a and not b:
        return 1.0, 1.0
    return 2 * len(a & b) / (len(a) + len(b)), len(a & b) / len(a | b)


@pytest.mark.parametrize("shape", [(60, 7), (60, 5, 6), (60, 3, 4, 2)])
def test_each_example_against_sets_of_pixels(shape):
    prediction, target = masks(shape, 0), masks(shape, 1)
    expected = np.array([by_sets(a, b) for a, b in zip(prediction, target, strict=True)])
    np.testing.assert_allclose(jax.jit(dice)(prediction, target), expected[:, 0], rtol=1e-6)
    np.testing.assert_allclose(jax.jit(iou)(prediction, target), expected[:, 1], rtol=1e-6)
    assert (expected == 1).any()  # both empty did occur
    assert (expected == 0).any()


def test_pooling_counts_the_pixels_of_all_examples():
    prediction, target = masks(seed=2), masks(seed=3)
    expected = by_sets(prediction, target)
    np.testing.assert_allclose(dice(prediction, target, pooled=True), expected[0], rtol=1e-6)
    np.testing.assert_allclose(iou(prediction, target, pooled=True), expected[1], rtol=1e-6)
    assert abs(float(dice(prediction, target).mean()) - expected[0]) > 0.01


def test_all_empty_is_one_pooled_too():
    empty = jnp.zeros((3, 4, 4))
    assert dice(empty, empty, pooled=True) == 1
    assert iou(empty, empty).tolist() == [1, 1, 1]


def test_any_nonzero_label_is_foreground():
    assert dice(jnp.array([[0, 7, 255]]), jnp.array([[0, 1, 1]])).item() == 1


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="differ in shape"):
        dice(jnp.zeros((2, 4)), jnp.zeros((2, 5)))


@pytest.mark.peers
def test_monai_agrees():
    torch, metrics = pytest.importorskip("torch"), pytest.importorskip("monai.metrics")
    prediction, target = masks(seed=4), masks(seed=5)
    pair = [torch.tensor(m[:, None]).float() for m in (prediction, target)]
    theirs = metrics.compute_iou(*pair, ignore_empty=False)[:, 0].numpy()
    union = (prediction | target).any((1, 2))
    np.testing.assert_allclose(iou(prediction, target)[union], theirs[union], rtol=1e-5)
