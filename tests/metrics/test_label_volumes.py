"""Volumes of labels, and covariates from them."""

import numpy as np

from jaxgen.metrics import label_volumes

RNG = np.random.default_rng(0)


def test_covariates_of_labels_come_back_from_masks_of_another_grid():
    """Volumes in voxels of a grid twice as fine, and their sum: both are linear in the voxels of this one."""
    masks = RNG.integers(0, 3, (20, 4, 5, 6)) * (RNG.uniform(size=(20, 4, 5, 6)) < RNG.uniform(size=(20, 1, 1, 1)))
    voxels = label_volumes.label_voxels(masks, 2)
    np.testing.assert_array_equal(voxels[:, 1], (masks == 2).sum((1, 2, 3)))
    covariates = np.stack([8 * voxels[:, 0], voxels.sum(1) + 3], axis=1)
    fitted = label_volumes.fit_covariates(masks, covariates)
    np.testing.assert_allclose(fitted, [[8, 1], [0, 1], [0, 3]], atol=1e-9)
    np.testing.assert_allclose(label_volumes.covariates_of_labels(masks[:3], fitted), covariates[:3])


def test_a_label_that_was_not_found_has_no_overlap():
    true = np.array([[1, 1, 2, 0], [0, 2, 2, 0]])
    found = np.where(true == 2, 0, true)
    assert label_volumes.label_dice(found, true, 2) == {"dice_1": 1.0, "dice_2": 0.0}
