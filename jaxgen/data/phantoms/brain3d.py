"""Phantom `brain3d`: a head of nested ellipsoids whose volumes are those that its covariates say, exactly.

Coordinates run from -1 to 1 over the volume along each axis, so that any shape will do. Intensity rises inwards
(`LEVELS`): a voxel on the border of two tissues has a value between theirs, which is that of no third one. Every tissue
can be measured by counting the voxels above a threshold (`measure_brain3d`).
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from jaxgen.data.phantoms.texture import generator

COVARIATES = {
    "age": (0.0, 1.0),
    "sex": (0.0, 1.0),
    "ventricles": (0.4, 2.0),
    "brain": (18.0, 30.0),
}
"""The covariates and their ranges: age, sex (0 or 1), volumes of ventricles and brain in percent of the array."""

REGIONS = ("background", "head", "grey matter", "white matter", "ventricles")
"""The name of each number in ``tissue``."""

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""The mean intensity of each region; that of white matter depends on sex, see `WHITE`."""

WHITE = (0.70, 0.80)
"""The intensity of white matter for a sex of 0 and of 1."""

THICKNESS = (0.28, 0.14)
"""Thickness of the cortex as a share of the brain's radius, at an age of 0 and of 1."""

NOISE = 0.015
"""Standard deviation of the white noise."""

_FINE = 2
"""Points per voxel along each axis: a voxel on a border holds the mean of what it covers."""

_HEAD, _BRAIN, _VENTRICLE, _APART = np.array([0.97, 0.97, 0.97]), np.array([1.0, 1.0, 0.95]), (1.0, 1.8, 1.3), 0.22


@dataclasses.dataclass(frozen=True)
class HeadShape:
    """What is random about a head besides its covariates; none of it changes a volume."""

    shift: np.ndarray
    aspect: np.ndarray
    ripples: tuple[float, int, float]
    turn: float


def brain3d_covariates(seed: int, index: int) -> np.ndarray:
    """The covariates of an example: independent, age and volumes uniform in their range, sex 0 or 1.

    Args:
        seed: of the set.
        index: of the example.

    Returns:
        float32 ``[4]`` in the order of `COVARIATES`.

    Example:
        >>> brain3d_covariates(0, 0).shape
        (4,)
    """
    rng = generator("brain3d covariates", seed, index)
    low, high = np.array(list(COVARIATES.values())).T
    drawn = rng.uniform(low, high)
    drawn[1] = rng.integers(2)
    return drawn.astype(np.float32)


def brain3d(
    seed: int,
    index: int,
    size: int | Sequence[int] = (32, 48, 32),
    *,
    covariates: Mapping[str, float] | None = None,
) -> dict[str, np.ndarray]:
    """A brain volume with its covariates, tissues and exact volumes.

    Within a head lies a brain with ripples, whose volume is ``brain`` percent of the array; its outer shell is the
    cortex, of thickness ``0.28 - 0.14 age`` of the brain's radius; within the white matter lie two ventricles, together
    of ``ventricles`` percent. White matter has the intensity 0.70 or 0.80 by sex, grey matter 0.5. Shift, aspect ratio,
    a small rotation and the ripples differ from one example to the next and change no volume. White noise of standard
    deviation 0.015 is added.

    Args:
        seed: of the set.
        index: of the example.
        size: of the array, three axes of 16 voxels or more, or one number for a cube.
        covariates: some of `COVARIATES` by name, instead of those drawn; all else stays the same.

    Returns:
        ``image [*size, 1]`` float32, about 0 to 1; ``tissue [*size]`` uint8, see `REGIONS`; ``covariates [4]`` float32;
        and the truth, float32 numbers: ``ventricles`` and ``brain`` in percent, ``thickness`` and ``ratio`` (of white
        to grey matter), as `measure_brain3d` gives them.

    Raises:
        ValueError: if the size is too small, or a covariate is unknown.

    Reference:
        Pinaya et al. 2022, "Brain imaging generation with latent diffusion models", arXiv 2209.07162, for the
        covariates.

    Example:
        >>> example = brain3d(0, 0, 16, covariates={"brain": 24})
        >>> example["image"].shape, example["brain"].item()
        ((16, 16, 16, 1), 24.0)
    """
    shape = (size,) * 3 if isinstance(size, int) else tuple(size)
    if len(shape) != 3 or min(shape) < 16:
        raise ValueError(f"brain3d needs three axes of 16 voxels or more, got {size}")
    values = dict(zip(COVARIATES, map(float, brain3d_covariates(seed, index)), strict=True))
    for name, value in (covariates or {}).items():
        if name not in values:
            raise ValueError(f"brain3d has no covariate {name!r}; it has {', '.join(values)}")
        values[name] = float(value)
    rng = generator("brain3d", seed, index)
    form = draw_shape(rng)
    thickness = THICKNESS[0] + (THICKNESS[1] - THICKNESS[0]) * values["age"]
    white = WHITE[0] + (WHITE[1] - WHITE[0]) * values["sex"]
    fine = regions(form, values["brain"], values["ventricles"], thickness, tuple(_FINE * n for n in shape))
    levels = np.array([*LEVELS[:3], white, LEVELS[4]], np.float32)
    blocks = [k for n in shape for k in (n, _FINE)]
    image = levels[fine].reshape(blocks).mean((1, 3, 5)) + NOISE * rng.standard_normal(shape, np.float32)
    centre = fine.reshape(blocks)[:, _FINE // 2, :, _FINE // 2, :, _FINE // 2]
    truth = {
        "ventricles": values["ventricles"],
        "brain": values["brain"],
        "thickness": thickness,
        "ratio": white / LEVELS[2],
    }
    return {
        "image": image[..., None].astype(np.float32),
        "tissue": np.ascontiguousarray(centre),
        "covariates": np.array(list(values.values()), np.float32),
        **{name: np.float32(value) for name, value in truth.items()},
    }


def brain3d_tissues(seed: int, index: int, size: int | Sequence[int] = 32) -> dict[str, np.ndarray]:
    """A volume of `brain3d` with its regions as the mask.

    Args:
        seed: of the set.
        index: of the example.
        size: of the array, three axes of 16 voxels or more, or one number for a cube.

    Returns:
        ``image [*size, 1]`` float32 and ``mask [*size]`` uint8, see `REGIONS`.

    Example:
        >>> np.unique(brain3d_tissues(0, 0, 16)["mask"]).tolist()
        [0, 1, 2, 3, 4]
    """
    example = brain3d(seed, index, size)
    return {"image": example["image"], "mask": example["tissue"]}


def measure_brain3d(images: np.ndarray) -> dict[str, np.ndarray]:
    """Measure brains by counting voxels above thresholds: no network, nothing fitted.

    The medians of grey and of white matter are taken within their bands of intensity (`LEVELS`); the thresholds lie
    half-way between neighbouring levels, those two being as measured.

    Args:
        images: ``[n, *spatial, 1]``, as of `brain3d`: 0 is the background and 1 the ventricles.

    Returns:
        float64 arrays ``[n]``: ``ventricles`` and ``brain`` in percent of the whole volume; ``thickness`` of the cortex
        as a share of the brain's radius, ``1 - (white / brain)^(1/3)`` with white matter and ventricles as white;
        ``ratio``, the median of white matter over that of grey matter, NaN where one has no voxel; ``head`` in percent;
        ``grey`` and ``white``, the medians themselves.

    Example:
        >>> measure_brain3d(brain3d(0, 0, covariates={"brain": 24})["image"][None])["brain"].round().tolist()
        [24.0]
    """
    flat = np.asarray(images, np.float32).reshape(len(images), -1)
    least, low, middle, high = ((a + b) / 2 for a, b in itertools.pairwise(LEVELS))
    grey, white = _medians(flat, low, middle), _medians(flat, middle, high)
    edges = {"brain": (LEVELS[1] + grey) / 2, "inner": (grey + white) / 2, "ventricles": (white + LEVELS[4]) / 2}
    volumes = {name: 100 * np.mean(flat > edge[:, None], axis=1) for name, edge in edges.items()}
    inner, brain = volumes["inner"], volumes["brain"]
    return {
        "ventricles": volumes["ventricles"],
        "brain": brain,
        "thickness": 1 - np.cbrt(np.divide(inner, brain, out=np.zeros_like(inner), where=brain > 0)),
        "ratio": white / grey,
        "head": 100 * np.mean(flat > least, axis=1),
        "grey": grey,
        "white": white,
    }


def features_of_brain3d(images: np.ndarray) -> np.ndarray:
    """Seven volumes and intensities of each brain, by `measure_brain3d`: features in which sets can be compared.

    Args:
        images: as of `measure_brain3d`.

    Returns:
        ``[n, 7]``.

    Example:
        >>> features_of_brain3d(brain3d(0, 0, 16)["image"][None]).shape
        (1, 7)
    """
    return np.stack(list(measure_brain3d(images).values()), axis=-1)


def covariates_of_brain3d(images: np.ndarray) -> np.ndarray:
    """The covariates that measured brains have: thickness and ratio are brought back to age and sex.

    Args:
        images: as of `measure_brain3d`.

    Returns:
        float64 ``[n, 4]`` in the order and the units of `COVARIATES`, not cut to their ranges.

    Example:
        >>> image = brain3d(0, 0, covariates={"sex": 1, "brain": 24})["image"]
        >>> covariates_of_brain3d(image[None])[0, [1, 3]].round().tolist()
        [1.0, 24.0]
    """
    found = measure_brain3d(images)
    age = (found["thickness"] - THICKNESS[0]) / (THICKNESS[1] - THICKNESS[0])
    sex = (found["ratio"] * LEVELS[2] - WHITE[0]) / (WHITE[1] - WHITE[0])
    return np.stack([age, sex, found["ventricles"], found["brain"]], axis=-1)


def _medians(flat: np.ndarray, low: float, high: float) -> np.ndarray:
    within = (row[(row > low) & (row <= high)] for row in flat)
    return np.array([np.median(row) if row.size else np.nan for row in within], float)


def draw_shape(rng: np.random.Generator) -> HeadShape:
    """Draw what is random about a head besides its covariates."""
    stretch = np.exp(rng.normal(0, 0.02, 3))
    ripples = (rng.uniform(0.015, 0.035), int(rng.integers(6, 10)), rng.uniform(0, 2 * np.pi))
    return HeadShape(rng.uniform(-0.03, 0.03, 3), stretch / np.cbrt(stretch.prod()), ripples, rng.normal(0, 0.05))


def _axes(percent: float, proportions: np.ndarray) -> np.ndarray:
    """The semi-axes of an ellipsoid of this volume, in percent of the cube from -1 to 1."""
    return proportions * np.cbrt(8 * percent / 100 / (4 / 3 * np.pi * proportions.prod()))


def regions(form: HeadShape, brain: float, ventricles: float, thickness: float, shape: tuple[int, ...]) -> np.ndarray:
    """The region of each point, uint8 ``[*shape]``, see `REGIONS`.

    Args:
        form: the shape of the head.
        brain: its volume in percent of the array.
        ventricles: theirs.
        thickness: of the cortex, as a share of the brain's radius.
        shape: of the array.
    """
    x, y, z = (
        ((np.arange(n, dtype=np.float32) + 0.5) * 2 / n - 1 - shift).reshape([-1 if k == axis else 1 for k in range(3)])
        for axis, (n, shift) in enumerate(zip(shape, form.shift.astype(np.float32), strict=True))
    )
    cos, sin = np.float32(np.cos(form.turn)), np.float32(np.sin(form.turn))
    x, y = cos * x + sin * y, cos * y - sin * x

    def radius(axes: np.ndarray, at: float = 0.0) -> np.ndarray:
        a, b, c = axes.astype(np.float32)
        return np.sqrt(((x - np.float32(at)) / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)

    outer = _axes(brain, _BRAIN * form.aspect)
    height, waves, phase = form.ripples
    angle = np.arctan2(y / np.float32(outer[1]), x / np.float32(outer[0]))
    # The cube of 1 + h cos has the mean 1 + 3 h^2 / 2 over a turn: divided by its root, ripples change no volume.
    factor = (1 + height * np.cos(waves * angle + phase)) / np.cbrt(1 + 1.5 * height**2)
    reach = radius(outer) / factor.astype(np.float32)
    region = (radius(_HEAD) < 1).astype(np.uint8)
    region[reach < 1] = 2
    region[reach < 1 - thickness] = 3
    half = _axes(ventricles / 2, np.array(_VENTRICLE))
    region[(radius(half, _APART) < 1) | (radius(half, -_APART) < 1)] = 4
    return region
