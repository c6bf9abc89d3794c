"""Phantom `cataract2d`: an eye in one of six phases of an operation, with the instruments that are used in it."""

from typing import NamedTuple

import numpy as np

from jaxgen.data.phantoms.texture import generator, pixel_grid, smooth_field

PHASES = ("incision", "opening", "breaking", "washing", "implanting", "closing")
TOOLS = ("knife", "hook", "forceps", "probe", "tip", "rod", "injector", "cannula")
OFTEN = ((0,), (1, 5), (3, 5), (4,), (6,), (7,))
"""The tools, numbers in `TOOLS`, that each phase uses most of the time."""
SELDOM = {1: (2, 5), 3: (1, 4), 5: (2, 7)}
"""The rare sets of tools, by phase."""
RARE = 0.01
"""The share of a rare set in the training images of its phase; in test images it is a half."""
_IRIS = (
    (0.36, 0.46, 0.56),
    (0.42, 0.38, 0.30),
    (0.30, 0.40, 0.34),
    (0.50, 0.46, 0.40),
    (0.34, 0.34, 0.46),
    (0.46, 0.5, 0.5),
)
_PUPIL = (
    (0.12, 0.12, 0.12),
    (0.20, 0.14, 0.10),
    (0.44, 0.34, 0.20),
    (0.28, 0.20, 0.12),
    (0.16, 0.18, 0.26),
    (0.08, 0.1, 0.16),
)
_EYE, _STEEL = (0.58, 0.42, 0.38), (0.93, 0.93, 0.95)
_SWAY = np.pi / 20
"""How far an instrument leaves the direction it comes from, a multiple of an eighth of a turn, one for each tool."""
NOISE = 0.06
"""Standard deviation of the noise of a pixel."""


class Scene(NamedTuple):
    """What is to be seen.

    Attributes:
        phase: a number in `PHASES`.
        tools: numbers in `TOOLS`, rising.
    """

    phase: int
    tools: tuple[int, ...]


def scene_of(seed: int, index: int, *, training: bool = False) -> Scene:
    """What an example of `cataract2d` shows.

    Example:
        >>> {scene_of(0, i).phase for i in range(60)} == set(range(6))
        True
    """
    rng = generator("cataract2d", seed, index)
    phase = int(rng.integers(len(PHASES)))
    rare = phase in SELDOM and rng.uniform() < (RARE if training else 0.5)
    return Scene(phase, SELDOM[phase] if rare else OFTEN[phase])


def cataract2d(seed: int, index: int, size: int = 64, *, training: bool = False) -> dict[str, np.ndarray]:
    """An eye under the microscope: phases differ in the colours of iris and pupil, instruments in where they come from.

    Each instrument is a bright shaft that enters from its own eighth of the surroundings and ends near the pupil; light
    is reflected in streaks as bright.

    Args:
        seed: of the set.
        index: of the example.
        size: side of the image in pixels, 16 or more.
        training: draw rare sets of instruments as seldom as in training data (`RARE`).

    Returns:
        ``image [size, size, 3]`` float32, about 0 to 1; ``mask [size, size]`` uint8 of the instruments; ``labels [8]``,
        1 for each tool of `TOOLS` that is used; ``covariates [1]``, the number of the phase in `PHASES`.

    Raises:
        ValueError: if `size` is below 16.

    Example:
        >>> example = cataract2d(0, 0, size=32)
        >>> [TOOLS[i] for i in np.flatnonzero(example["labels"])] == [TOOLS[i] for i in scene_of(0, 0).tools]
        True
    """
    if size < 16:
        raise ValueError(f"cataract2d needs a size of 16 pixels or more, got {size}")
    scene, rng = scene_of(seed, index, training=training), generator("cataract2d detail", seed, index)
    row, column = np.moveaxis((2 * pixel_grid(size) + 1) / size - 1, -1, 0)
    x, y = column - rng.uniform(-0.08, 0.08), row - rng.uniform(-0.08, 0.08)
    image = np.broadcast_to(np.array(_EYE), (size, size, 3))
    for colour, radius in ((_IRIS[scene.phase], rng.uniform(0.6, 0.7)), (_PUPIL[scene.phase], rng.uniform(0.3, 0.45))):
        inside = 0.5 - 0.5 * np.tanh((np.hypot(x, y) - radius) * size / 3)
        image = image + inside[..., None] * (np.array(colour) + rng.normal(0, 0.03, 3) - image)
    steel = np.zeros((size, size))
    for tool in scene.tools:
        turn = 2 * np.pi * tool / len(TOOLS) + rng.uniform(-_SWAY, _SWAY)
        along, across = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
        shaft = np.minimum(rng.uniform(0.05, 0.07) - abs(across), along - rng.uniform(0.1, 0.35))
        steel = np.maximum(steel, 0.5 + 0.5 * np.tanh(shaft * size / 2))
    mask = steel > 0.5
    for _ in range(int(rng.integers(2, 6))):
        steel = np.maximum(steel, _reflection(rng, x, y, size))
    image = image + steel[..., None] * rng.uniform(0.65, 0.9) * (np.array(_STEEL) - image)
    image = image * (1 + 0.05 * smooth_field(rng, size, size / 4))[..., None] + NOISE * rng.normal(size=image.shape)
    labels = np.zeros(len(TOOLS), np.uint8)
    labels[list(scene.tools)] = 1
    return {
        "image": image.astype(np.float32),
        "mask": mask.astype(np.uint8),
        "labels": labels,
        "covariates": np.array([scene.phase], np.float32),
    }


def _reflection(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, size: int) -> np.ndarray:
    """A bright streak on the iris or the pupil, 0 to 1."""
    turn, radius, way = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 0.45), rng.uniform(0, np.pi)
    u, v = x - radius * np.cos(turn), y - radius * np.sin(turn)
    along, across = np.cos(way) * u + np.sin(way) * v, np.cos(way) * v - np.sin(way) * u
    inside = np.minimum(rng.uniform(0.03, 0.06) - abs(across), rng.uniform(0.05, 0.2) - abs(along))
    return 0.5 + 0.5 * np.tanh(inside * size / 2)


def measure_tools(images: np.ndarray) -> np.ndarray:
    """Which instruments images show: those from whose direction a bright shaft crosses the white of the eye.

    Args:
        images: ``[n, h, w, 3]``, 0 to 1.

    Returns:
        ``[n, 8]``, 1 for each tool of `TOOLS` that is seen.

    Example:
        >>> drawn = [cataract2d(0, i, 32) for i in range(40)]
        >>> found = measure_tools(np.stack([example["image"] for example in drawn]))
        >>> bool((found == np.stack([example["labels"] for example in drawn])).all())
        True
    """
    size = images.shape[1]
    row, column = np.moveaxis((2 * pixel_grid(size) + 1) / size - 1, -1, 0)
    light = ((images - np.array(_EYE)) / (np.array(_STEEL) - np.array(_EYE))).mean(-1)
    seen = np.zeros((len(images), len(TOOLS)), np.uint8)
    for tool in range(len(TOOLS)):
        strips = []
        for sway in np.linspace(-_SWAY, _SWAY, 5):
            turn = 2 * np.pi * tool / len(TOOLS) + sway
            along, across = np.cos(turn) * column + np.sin(turn) * row, np.cos(turn) * row - np.sin(turn) * column
            for shift in np.linspace(-0.1, 0.1, 7):
                strip = (abs(across - shift) < 0.05) & (along > 0.78)
                strips.append(light[:, strip].mean(1))
        seen[:, tool] = np.max(strips, axis=0) > 0.25
    return seen
