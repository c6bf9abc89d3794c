import numpy as np
import pytest
from scipy import ndimage

from jaxgen.metrics import segmentation

SPACINGS = [1.0, (0.5, 2.0)]


def blobs(n=25, shape=(14, 11), seed=0):
    rng = np.random.default_rng(seed)
    return ndimage.gaussian_filter(rng.normal(size=(n, *shape)), (0,) + (1.5,) * len(shape)) > 0.05


def surface_points(mask, spacing):
    """Pixels with a face neighbour outside, the frame counting as outside: straight from the definition."""
    points = []
    for p in np.argwhere(mask):
        neighbours = [p + s * e for e in np.eye(mask.ndim, dtype=int) for s in (1, -1)]
        if any((q < 0).any() or (q >= mask.shape).any() or not mask[tuple(q)] for q in neighbours):
            points.append(p * np.broadcast_to(spacing, mask.ndim))
    return np.array(points, float)


def both_ways(a, b, spacing):
    a, b = surface_points(a, spacing), surface_points(b, spacing)
    pairs = np.linalg.norm(a[:, None] - b[None], axis=-1)
    return pairs.min(1), pairs.min(0)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_surface_metrics_against_all_pairs_of_surface_pixels(spacing):
    prediction, target = blobs(seed=0), blobs(seed=1)
    distances = [both_ways(a, b, spacing) for a, b in zip(prediction, target, strict=True)]
    np.testing.assert_allclose(
        segmentation.hausdorff95(prediction, target, spacing=spacing),
        [max(np.percentile(ab, 95), np.percentile(ba, 95)) for ab, ba in distances],
    )
    np.testing.assert_allclose(
        segmentation.hausdorff95(prediction, target, spacing=spacing, percentile=100),
        [max(ab.max(), ba.max()) for ab, ba in distances],
    )
    np.testing.assert_allclose(
        segmentation.average_surface_distance(prediction, target, spacing=spacing),
        [np.mean([*ab, *ba]) for ab, ba in distances],
    )
    np.testing.assert_allclose(
        segmentation.surface_dice(prediction, target, 1.0, spacing=spacing),
        [np.mean([*(ab <= 1), *(ba <= 1)]) for ab, ba in distances],
    )


def test_volumes():
    prediction, target = blobs(4, (6, 7, 5), 2), blobs(4, (6, 7, 5), 3)
    spacing = (3.0, 1.0, 0.5)
    expected = [np.mean(np.concatenate(both_ways(a, b, spacing))) for a, b in zip(prediction, target, strict=True)]
    found = segmentation.average_surface_distance(prediction, target, spacing=spacing)
    np.testing.assert_allclose(found, expected)


def test_a_shift_of_a_square():
    square = np.zeros((1, 20, 20), bool)
    square[0, 5:10, 5:10] = True
    moved = np.roll(square, 3, axis=2)
    assert segmentation.hausdorff95(square, moved, percentile=100) == 3
    assert segmentation.hausdorff95(square, moved, percentile=100, spacing=(1, 0.5)) == 1.5
    assert segmentation.hausdorff95(square, square) == 0
    assert segmentation.surface_dice(square, moved, 3.0) == 1


def test_empty_masks():
    empty, full = np.zeros((3, 4, 4)), np.zeros((3, 4, 4))
    empty[2, 0, 0] = 1
    full[1:] = 1
    for metric, one_empty in (
        (segmentation.hausdorff95, np.inf),
        (segmentation.average_surface_distance, np.inf),
        (lambda a, b: segmentation.surface_dice(a, b, 1.0), 0.0),
    ):
        for pair in ((empty, full), (full, empty)):
            found = metric(*pair)
            assert np.isnan(found[0])
            assert found[1] == one_empty
            assert np.isfinite(found[2])


@pytest.mark.parametrize("metric", [segmentation.hausdorff95, segmentation.average_surface_distance])
def test_the_metrics_are_symmetric(metric):
    a, b = blobs(seed=4), blobs(seed=5)
    np.testing.assert_allclose(metric(a, b), metric(b, a), rtol=1e-12)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="differ in shape"):
        segmentation.hausdorff95(np.zeros((1, 3, 3)), np.zeros((1, 3, 4)))


def test_components():
    mask = np.array([[[1, 0, 1], [0, 1, 0], [0, 0, 0]], np.eye(3), np.zeros((3, 3))])
    assert segmentation.component_count(mask).tolist() == [3, 3, 0]
    assert segmentation.component_count(mask, connectivity=2).tolist() == [1, 1, 0]
    ones = np.ones((3, 3, 3))
    assert segmentation.component_count_error(mask, ones).tolist() == [2, 2, 1]
    assert segmentation.component_count_error(ones, mask).tolist() == [2, 2, 1]


@pytest.mark.peers
@pytest.mark.parametrize("spacing", SPACINGS)
def test_monai_agrees(spacing):
    torch, metrics = pytest.importorskip("torch"), pytest.importorskip("monai.metrics")
    prediction, target = blobs(seed=6), blobs(seed=7)
    pair = [torch.tensor(m[:, None]) for m in (prediction, target)]
    space = tuple(np.broadcast_to(spacing, 2).tolist())
    hausdorff = metrics.compute_hausdorff_distance(*pair, percentile=95, spacing=space)[:, 0]
    mean = metrics.compute_average_surface_distance(*pair, symmetric=True, spacing=space)[:, 0]
    np.testing.assert_allclose(segmentation.hausdorff95(prediction, target, spacing=spacing), hausdorff, rtol=1e-5)
    np.testing.assert_allclose(
        segmentation.average_surface_distance(prediction, target, spacing=spacing), mean, rtol=1e-5
    )
