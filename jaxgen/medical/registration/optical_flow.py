"""TV-L1 optical flow of scikit-image, the iterative registration that a trained network must beat in time."""

import importlib.util

import numpy as np

from jaxgen.errors import UserError

NEEDED = "TV-L1 optical flow needs scikit-image: pip install 'jaxgen[registration]'"


def has_optical_flow() -> bool:
    """Whether scikit-image is installed.

    Example:
        >>> has_optical_flow() in (True, False)
        True
    """
    return importlib.util.find_spec("skimage") is not None


def optical_flow(moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Fields that minimise ``|warp(moving, u) - fixed|_1 + TV(u)``, from coarse to fine, with the library's defaults.

    Args:
        moving: ``[n, *spatial, 1]`` in [-1, 1].
        fixed: the same shape.

    Returns:
        Float32 ``[n, *spatial, r]`` in voxels.

    Raises:
        UserError: without scikit-image.

    Reference:
        Zach, Pock & Bischof 2007, "A duality based approach for realtime TV-L1 optical flow".
    """
    if not has_optical_flow():
        raise UserError(NEEDED)
    from skimage.registration import optical_flow_tvl1

    pairs = zip((fixed[..., 0] + 1) / 2, (moving[..., 0] + 1) / 2, strict=True)
    return np.stack([np.moveaxis(optical_flow_tvl1(*pair), 0, -1) for pair in pairs]).astype(np.float32)
