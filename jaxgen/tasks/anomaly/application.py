"""``jaxgen apply``: the map of anomalies of one image, and what the image would be were it healthy."""

from collections.abc import Callable, Sequence

import numpy as np

from jaxgen.data.image import Image
from jaxgen.data.images import fit_shape, resize
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.tasks.anomaly.data import PHANTOM
from jaxgen.tasks.anomaly.methods import Method, at_chosen, cleaned
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
        sides = (config.size, config.size)
        whole = fit_shape(raw, sides, "pad", low)
        x = _to_unit(resize(whole, sides), low, high)
        x = (x if config.data == PHANTOM else np.clip(x, -1, 1))[None]
        score, restored = method.run(key, x)
        maps = {"anomaly": cleaned(np.asarray(score), x, erosion=config.erosion, median=config.median)[0]}
        if restored is not None:
            maps["restored"] = ((np.asarray(restored)[0] + 1) / 2 * (high - low) + low)[..., 0]
        return {name: _back(value, whole.shape[:-1], raw.shape[:-1]) for name, value in maps.items()}

    return apply


def _to_unit(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Low goes to -1 and high to 1; a channel of a single value is 0."""
    width = np.where(high > low, high - low, 1)
    return np.where(high > low, 2 * (x - low) / width - 1, 0).astype(np.float32)


def _back(value: np.ndarray, padded: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    """A map in the size of the image it belongs to, without the padding."""
    value = resize(value[..., None].astype(np.float32), padded)[..., 0]
    starts = [(p - n) // 2 for p, n in zip(padded, shape, strict=True)]
    return value[tuple(slice(s, s + n) for s, n in zip(starts, shape, strict=True))]
