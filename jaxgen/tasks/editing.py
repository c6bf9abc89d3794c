"""Editing of images ``[n, h, w, c]`` with a trained diffusion model, and how good the result is."""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import figures, guidance
from jaxgen.experiment import Figure, Metric, Run
from jaxgen.imaging.inpainting import harmonic_fill
from jaxgen.metrics import nearest_neighbours
from jaxgen.samplers import ddim, editing, grids, sample
from jaxgen.tasks import diffusion, generation, images
from jaxgen.types import Array, Denoise, Key, Params

Images = np.ndarray


class Editor:
    """A trained model with what it can do to images; programs are compiled once per method."""

    def __init__(self, run: Run, stage: str):
        self.run, self.config, self.path = run, run.config, diffusion.make_path(run.config)
        self._params = run.params[stage]["net"]

    def _apply(self, function: Callable[..., Array], key: Key, x: Images) -> Images:
        """``function(denoise, keys [b], x [b, h, w, c])`` in chunks of one compiled program."""

        @jax.jit
        def program(params: Params, keys: Key, x: Array) -> Array:
            return function(diffusion.denoise_with(self.run, params), keys, x)

        return images.in_chunks(
            lambda keys, x: program(self._params, keys, x), len(x), self.config.chunk, jax.random.split(key, len(x)), x
        )

    def invert(self, key: Key, x: Images, iterations: int = 0) -> Images:
        """The noise that DDIM would turn into the images, with fixed-point iterations more nearly exact."""
        grid, step = grids.uniform(self.path, self.config.sampler_steps)[::-1], editing.invert(self.path, iterations)
        return self._apply(lambda denoise, keys, x: sample(step, denoise, keys, x, grid), key, x)

    def draw(self, key: Key, noise: Images) -> Images:
        """The images that DDIM turns noise into."""
        grid, step = grids.uniform(self.path, self.config.sampler_steps), ddim(self.path)
        return self._apply(lambda denoise, keys, x: sample(step, denoise, keys, x, grid), key, noise)

    def edit(self, key: Key, guide: Images, begin: float) -> Images:
        """SDEdit of a guide, noised to this share of the way from the data to the noise."""
        path, start = self.path, diffusion.time_at(self.path, begin)
        grid = grids.uniform(path, max(2, round(begin * self.config.sampler_steps)), start=start)
        step = ddim(path, eta=1.0)
        return self._apply(lambda denoise, keys, x: editing.sdedit(step, path, denoise, keys, x, grid), key, guide)

    def inpaint(self, key: Key, method: str, known: Images, mask: np.ndarray) -> Images:
        """What the images may be where the mask is 0, by "projection", "replacement" or "RePaint"."""
        path, shape, seen = self.path, images.image_shape(self.run), jnp.asarray(mask)
        step, grid = ddim(path, eta=1.0), grids.uniform(path, self.config.sampler_steps)
        if method == "RePaint":
            grid = grids.repaint(grid, self.config.jump, self.config.resamples)

        def fill(denoise: Denoise, keys: Key, known: Array) -> Array:
            if method == "projection":
                return diffusion.from_noise(path, guidance.inpaint(denoise, known, seen), step, grid, keys, shape)
            wrap = editing.repaint if method == "RePaint" else editing.replacement
            return diffusion.from_noise(path, denoise, wrap(step, path, known, seen), grid, keys, shape)

        return self._apply(fill, key, known)


def filled_smoothly(known: Images, mask: np.ndarray) -> Images:
    """The baseline of inpainting: the harmonic function with the known values around it."""
    return np.asarray(harmonic_fill(jnp.asarray(known), jnp.asarray(mask)))


def square_hole(size: int) -> np.ndarray:
    """1 where known ``[h, w, 1]``: a square of half the side, off the centre, is missing."""
    mask = np.ones((size, size, 1), np.float32)
    first = size // 8
    mask[first : first + size // 2, size // 2 - size // 8 : size - size // 8] = 0
    return mask


def coarse(x: Images) -> Images:
    """Averages over blocks, 16 of them along a side."""
    n, h, w, c = x.shape
    factor = max(2, h // 16)
    small = x.reshape(n, h // factor, factor, w // factor, factor, c).mean((2, 4))
    return small.repeat(factor, 1).repeat(factor, 2)


def between(way: Callable[..., Array], a: Images, b: Images, fractions: tuple[float, ...]) -> list[Images]:
    """Points on the way from a to b, such as `jaxgen.samplers.editing.slerp` makes."""
    return [np.asarray(way(jnp.asarray(a), jnp.asarray(b), fraction)) for fraction in fractions]


def psnr(x: Images, truth: Images, where: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio ``10 log10(4 / mean squared error)``, the mean over images; NaN if any diverged.

    Args:
        x: ``[n, h, w, c]``, cut to [-1, 1].
        truth: of the same shape.
        where: 1 where pixels count, broadcastable to x; None for everywhere.
    """
    error = (np.where(np.isfinite(x), np.clip(x, -1, 1), np.nan) - truth) ** 2
    weight = np.ones_like(error) if where is None else np.broadcast_to(where, error.shape)
    axes = tuple(range(1, error.ndim))
    mean = np.maximum((error * weight).sum(axes) / weight.sum(axes), 1e-10)
    return float(np.mean(10 * np.log10(4 / mean)))


def realism_of(real: generation.RealImages) -> Callable[[Images], float]:
    """Median distance in features to the nearest training image, in units of a held-out image's.

    NaN if any image diverged.
    """

    def distance(x: Images) -> float:
        found = real.extract(x)
        if generation.diverged(x) or generation.diverged(found):
            return generation.NAN
        return np.median(nearest_neighbours(found, real.train_features)[0])

    held_out = distance(real.held_out)
    return lambda x: float(distance(x) / held_out)


def show(rows: Mapping[str, Images], caption: str) -> Figure:
    """The first six images of each set."""
    return figures.rows({name: x[:6] for name, x in rows.items()}, caption)


def show_ways(ways: Mapping[str, Sequence[Images]], fractions: Sequence[float]) -> Figure:
    """The first two pairs of images, and what each method puts between them."""
    return figures.rows(
        {name: [x[0] for x in way] + [x[1] for x in way] for name, way in ways.items()},
        "From one held-out image to another, two pairs.",
        heads=[f"{fraction:g}" for fraction in fractions] * 2,
    )


def realism_against_faithfulness(begins: Sequence[float], edits: Sequence[Mapping[str, float]]) -> Figure:
    """The metrics of SDEdit by where it begins."""
    return figures.curves(
        {
            "faithfulness: PSNR to the guide, dB / 10": (begins, [found["faithfulness"] / 10 for found in edits]),
            "distance to the training images": (begins, [found["realism"] for found in edits]),
        },
        "SDEdit: what is gained in realism is lost in faithfulness.",
        x="where SDEdit begins",
        y="",
        levels={"a held-out image": 1.0},
    )


DESCRIBE = {
    "psnr": Metric("PSNR", "higher", "dB to the true image; of inpainting in the hole alone"),
    "realism": Metric("Distance to real", "lower", "to the nearest training image, in features; held-out: 1"),
    "faithfulness": Metric("Faithfulness", "higher", "PSNR of the coarse result to the coarse guide, dB"),
    "latent_norm": Metric("Norm of the noise", "", "root mean square; 1 for Gaussian noise"),
}
