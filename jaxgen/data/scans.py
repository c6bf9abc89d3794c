"""Clean CT slices as a scanner shows them at a low and at the full dose."""

import zlib

import jax

from jaxgen.data.source import ChangedSource, Example, Source
from jaxgen.errors import UserError
from jaxgen.imaging.low_dose import scans_at_doses


class Scanned(ChangedSource):
    """Clean slices as a scanner shows them: ``source`` at the low dose, ``image`` at the full one, and ``clean``.

    The noise of a slice is a function of the seed and its name.

    Args:
        source: slices in Hounsfield units.
        doses: the low and the full dose, photons per ray; 0 for no noise.
        views: over half a circle.
        field: width of an image in mm.
        seed: of the noise.
    """

    def __init__(self, source: Source, doses: tuple[float, float], *, views: int, field: float, seed: int) -> None:
        super().__init__(source)
        self._doses, self._views, self._field, self._seed = doses, views, field, seed

    def __getitem__(self, i: int) -> Example:
        example, name = self._source[i], str(self.names[i])
        height, width, channels = example["image"].shape
        if height != width or channels != 1:
            raise UserError(f"{name}: {height} x {width} pixels of {channels} channels; CT slices are square and grey")
        key = jax.random.fold_in(jax.random.key(self._seed), zlib.crc32(name.encode()))
        doses = (*self._doses, 0.0)
        found = scans_at_doses(key, example["image"][None], doses, views=self._views, field=self._field)
        low, full, clean = (x[0] for x in found)
        return {**example, "source": low, "image": full, "clean": clean}
