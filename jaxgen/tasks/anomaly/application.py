"""``jaxgen apply``: the map of anomalies of one image, and what the image would be were it healthy."""

from collections.abc import Callable, Sequence

import numpy as np

from jaxgen.data.image import Image
from jaxgen.data.square import to_square
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.medical.anomaly import Method, cleaned
from jaxgen.tasks.anomaly.data import PHANTOM
from jaxgen.tasks.anomaly.methods import at_chosen
from jaxgen.types import Key

Apply = Callable[[Key, Image], dict[str, np.ndarray]]


def make_apply(methods: Callable[[Run], Sequence[Method]], name: str = "") -> Callable[[Run], Apply]:
    """``apply`` of an experiment: one of its methods, at the setting that the run's evaluation chose.

    Args:
        methods: ``methods(run)``.
        name: of the method, which restores images; the first one if not given.
    """

    def apply(run: Run) -> Apply:
        found = methods(run)
        method = next((method for method in found if method.name == name), found[0])
        return applied(run, at_chosen(run, method))

    return apply


def applied(run: Run, method: Method) -> Apply:
    """What a method of one setting finds in an image: ``anomaly`` and ``restored``, ``[h, w]``.

    Of images of several channels there is one ``restored-0``, ``restored-1``, ... for each.

    An image is seen as an evaluation sees it: padded to a square with the lowest value, resized, brought to [-1, 1] and
    cut off there.
    """
    config, channels = run.config, run.facts.image_channels
    low, high = (np.asarray(bound, np.float32) for bound in run.facts.value_range)

    def apply(key: Key, image: Image) -> dict[str, np.ndarray]:
        raw = np.asarray(image.array)
        if raw.shape[-1] != channels:
            raise UserError(
                f"it has {raw.shape[-1]} channels, and the run was trained on {channels}; convert it, or train on such"
            )
        x, back = to_square(raw, config.size, low, high)
        x = (x if config.data == PHANTOM else np.clip(x, -1, 1))[None]
        score, restored = method.run(key, x)
        maps = {"anomaly": cleaned(np.asarray(score), x, erosion=config.erosion, median=config.median)[0]}
        if restored is not None:
            healthy = (np.asarray(restored)[0] + 1) / 2 * (high - low) + low
            names = ["restored"] if channels == 1 else [f"restored-{k}" for k in range(channels)]
            maps |= dict(zip(names, np.moveaxis(healthy, -1, 0), strict=True))
        return {name: back(value) for name, value in maps.items()}

    return apply
