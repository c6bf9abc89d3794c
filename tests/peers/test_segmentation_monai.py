"""Sliding windows and the distances between surfaces, compared with MONAI on the same volumes."""

import jax
import numpy as np
import pytest
from scipy import ndimage

from jaxgen.imaging.tiles import gaussian_window
from jaxgen.medical.segmentation.whole_image import by_tiles
from jaxgen.metrics.overlap import dice
from jaxgen.metrics.segmentation import average_surface_distance, hausdorff95

torch = pytest.importorskip("torch")
inferers = pytest.importorskip("monai.inferers")
metrics = pytest.importorskip("monai.metrics")
RNG = np.random.default_rng(0)
SPACING = (1.0, 0.8, 2.5)


@pytest.mark.parametrize(("shape", "tile"), [((16, 20, 12), (8, 8, 4)), ((8, 8, 9), (8, 8, 6))])
def test_windows_are_weighted_as_monai_does(shape, tile):
    """A function that depends on the place in the window shows the weights."""
    volume = RNG.normal(size=(*shape, 1)).astype(np.float32)
    place = RNG.normal(size=(*tile, 1)).astype(np.float32)
    overlap = [n // 2 for n in tile]
    (ours,) = by_tiles(
        lambda keys, x: x * place, jax.random.key(0), [volume], tile, overlap=overlap, window=gaussian_window
    )
    theirs = inferers.sliding_window_inference(
        torch.tensor(volume[None, None, ..., 0]), tile, 2, lambda x: x * torch.tensor(place[..., 0]), 0.5, "gaussian"
    )
    np.testing.assert_allclose(ours[..., 0], theirs[0, 0].numpy(), atol=1e-5)


def test_each_class_of_a_volume_has_monai_s_dice_and_distances():
    field = ndimage.gaussian_filter(RNG.normal(size=(3, 2, 14, 16, 10)), (0, 0, 2, 2, 2))
    first, second = field > 0.02, np.roll(field, (1, 2), (2, 3)) > 0.03
    pair = torch.tensor(first).float(), torch.tensor(second).float()
    shared = {"include_background": True, "spacing": SPACING}
    for ours, theirs in (
        (hausdorff95, metrics.compute_hausdorff_distance(*pair, percentile=95, **shared)),
        (average_surface_distance, metrics.compute_average_surface_distance(*pair, symmetric=True, **shared)),
    ):
        found = [ours(first[:, k], second[:, k], spacing=SPACING) for k in range(2)]
        np.testing.assert_allclose(np.stack(found, 1), theirs.numpy(), atol=1e-5)
    overlap = metrics.compute_dice(*pair, include_background=True)
    np.testing.assert_allclose(np.stack([dice(first[:, k], second[:, k]) for k in range(2)], 1), overlap, atol=1e-5)
