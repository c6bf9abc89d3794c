"""The tensors of MONAI's spatially adaptive norms."""

from collections.abc import Iterator

import numpy as np

from jaxgen.interop.tensors import Entry, convolution


def convolutions(path: tuple[str, ...], name: str) -> Iterator[Entry]:
    """The convolutions of a map: one for scale and shift here, one each there.

    Args:
        path: of our norm.
        name: of theirs.

    Yields:
        One entry for each parameter.
    """
    both = [f"{name}.mlp_gamma.conv", f"{name}.mlp_beta.conv"]
    yield from convolution((*path, "Conv_0"), f"{name}.mlp_shared.conv")
    yield Entry(
        (*path, "Conv_1", "kernel"),
        tuple(f"{one}.weight" for one in both),
        lambda *parts: np.moveaxis(np.concatenate(parts), (1, 0), (-2, -1)),
        lambda x: np.split(np.moveaxis(x, (-2, -1), (1, 0)), 2),
    )
    yield Entry(
        (*path, "Conv_1", "bias"),
        tuple(f"{one}.bias" for one in both),
        lambda *parts: np.concatenate(parts),
        lambda x: np.split(x, 2),
    )
