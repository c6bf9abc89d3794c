"""Volumes of the labels of segmented images, and the covariates that they stand for."""

import numpy as np

from jaxgen.metrics.overlap import dice


def label_voxels(masks: np.ndarray, labels: int) -> np.ndarray:
    """How many voxels have each label.

    Args:
        masks: whole numbers ``[n, *spatial]``, 0 for the background.
        labels: how many labels there are, 1 to `labels`.

    Returns:
        Float64 ``[n, labels]``.

    Example:
        >>> label_voxels(np.array([[0, 1, 1], [2, 0, 0]]), 2).tolist()
        [[2.0, 0.0], [0.0, 1.0]]
    """
    flat = masks.reshape(len(masks), -1)
    return np.stack([(flat == label).sum(1) for label in range(1, labels + 1)], axis=1).astype(np.float64)


def fit_covariates(masks: np.ndarray, covariates: np.ndarray) -> np.ndarray:
    """The least-squares map from the volumes of labels, and 1, to covariates: ``c = [v, 1] M``.

    Volumes in voxels of resized images become the covariates' own units so, be these millilitres or sums of labels.

    Args:
        masks: whole numbers ``[n, *spatial]``, the labels of training images.
        covariates: ``[n, k]``.

    Returns:
        ``M [labels + 1, k]``.

    Example:
        >>> masks = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]])
        >>> fit_covariates(masks, np.array([[8.0], [5.0], [2.0]])).round(3).tolist()
        [[3.0], [2.0]]
    """
    return np.linalg.lstsq(_design(masks, int(masks.max())), np.asarray(covariates, np.float64), rcond=None)[0]


def covariates_of_labels(masks: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """The covariates of segmented images.

    Args:
        masks: whole numbers ``[n, *spatial]``.
        fitted: ``[labels + 1, k]`` of `fit_covariates`.

    Returns:
        ``[n, k]``.

    Example:
        >>> covariates_of_labels(np.array([[1, 0, 0]]), np.array([[3.0], [2.0]])).tolist()
        [[5.0]]
    """
    return _design(masks, len(fitted) - 1) @ fitted


def label_dice(found: np.ndarray, true: np.ndarray, labels: int) -> dict[str, float]:
    """The Dice coefficient of each label, the mean over images.

    Args:
        found: whole numbers ``[n, *spatial]``.
        true: of the same shape.
        labels: how many labels there are, 1 to `labels`.

    Returns:
        ``dice_<label>`` of each.

    Example:
        >>> label_dice(np.array([[1, 1, 2, 0]]), np.array([[1, 0, 2, 0]]), 2)
        {'dice_1': 0.6667, 'dice_2': 1.0}
    """
    numbers = range(1, labels + 1)
    return {f"dice_{i}": round(float(np.mean(dice(found == i, true == i))), 4) for i in numbers}


def _design(masks: np.ndarray, labels: int) -> np.ndarray:
    return np.concatenate([label_voxels(masks, labels), np.ones((len(masks), 1))], axis=1)
