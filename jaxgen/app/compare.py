"""How alike two sets of images are: ``jaxgen compare REAL GENERATED``."""

import math
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxgen.app import runs
from jaxgen.app.apply import find_inputs
from jaxgen.data import readers
from jaxgen.data.arrays import channels_first, check_arrays
from jaxgen.data.images import convert_channels, resize
from jaxgen.errors import UserError
from jaxgen.interop import inception, resnet
from jaxgen.metrics.bootstrap import Estimate, jackknife_error
from jaxgen.metrics.features import (
    Extractor,
    Features,
    Protocol,
    extract,
    frechet,
    pixels,
    protocol,
    random_projection,
)
from jaxgen.metrics.fidelity import frechet_distance, frechet_distance_infinity
from jaxgen.metrics.kernel_distance import kernel_distance
from jaxgen.metrics.precision_recall import density_coverage, precision_recall
from jaxgen.metrics.two_sample import classifier_test
from jaxgen.metrics.volumes import PLANES, extract_slices

FEATURES = ("pixels", "random", "inception", "radimagenet", "medicalnet")
"""Names of the feature spaces."""

WITH_WEIGHTS = FEATURES[2:]
"""Those that read a file of weights."""

_ARRAYS = ("images", "image", "samples", "volumes", "volume", "arr_0")
_LABELS = ("label", "mask", "segmentation", "annotation")
"""How the names of folders begin that hold no images."""
_LEAST = 20
_MOST_PIXELS = 4096
_CUT = 1e-3
"""The share of values out of the range from which on it is said."""


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        name: of the metric.
        value: its value.
        low: the lower end of its 95 % interval, NaN where there is none.
        high: the upper end.
        reading: how to read it.
    """

    name: str
    value: float
    low: float
    high: float
    reading: str


def compare(
    real: str,
    generated: str,
    *,
    features: str = "pixels",
    weights: str | None = None,
    size: int | None = None,
    value_range: tuple[float, float] | None = None,
    most: int | None = None,
    seed: int = 0,
    out: Path | None = None,
    say: Callable[[str], None] = print,
) -> list[Row]:
    """Read two sets of images, compare them, print a table, and write it with its protocol.

    Args:
        real: a folder of images (or of folders of them, such as one a class), a pattern, an ``.npz`` or ``.npy`` file,
            or a run of jaxgen or its ``samples/``.
        generated: the same.
        features: one of `FEATURES`.
        weights: the file of weights, for those that need one.
        size: bring images to that many pixels along each axis first.
        value_range: what goes to -1 and 1 in both sets. None for what the type of a set's numbers says: 0 and 255 for
            8 bits; -1 and 1 for the samples of a run of jaxgen, and for floats that are in that range and fill it.
        most: images of each set at most; else as many as the smaller set has.
        seed: of which images are taken, and of the metrics' subsets.
        out: a ``.json`` file for the numbers, or None.
        say: called with each line for the user.

    Returns:
        The rows of the table.

    Raises:
        UserError: naming what is missing or does not go together.
    """
    _check(features, weights, out)
    sets = [Images(text, load(text), value_range, size, sampled=_samples(text)) for text in (real, generated)]
    for s in sets:
        say(f"range     {s.name}: {s.scale.low:g} to {s.scale.high:g}, {s.scale.why}")
    sets = _alike(sets, say)
    count = min(*(len(s) for s in sets), most or math.inf)
    if count < _LEAST:
        raise UserError(f"{int(count)} images of each set say nothing; give {_LEAST} or more")
    rng = np.random.default_rng(seed)
    chosen = [s.take(np.sort(rng.permutation(len(s))[: int(count)])) for s in sets]
    extractor = _extractor(features, weights, chosen[0].shape)
    say(f"images    {len(chosen[0])} of {len(sets[0])} real, {len(chosen[1])} of {len(sets[1])} generated")
    if len(chosen[0].shape) == 4 and features in ("inception", "radimagenet"):
        rows, record = of_planes(extractor, chosen)
    else:
        found = [extract(extractor, s) for s in chosen]
        rows, record = table(*found, seed=seed), protocol(*found)
        if found[0].values.shape[1] >= int(count):
            say(
                f"note      {int(count)} images and {found[0].values.shape[1]} features: the Frechet distance of so "
                "few is far too large; trust the kernel distance"
            )
    for s in chosen:
        if s.share_cut >= _CUT:
            say(f"note      {s.name}: {s.share_cut:.1%} of its values are out of the range and were cut off")
    shape = " x ".join(map(str, record.shape))
    say(f"features  {record.features}, weights {record.weights}, images {shape}, resized {record.resize}\n")
    for line in lines(rows):
        say(line)
    if features in ("pixels", "random"):
        say("\nPixels say little of how images look: name weights for --features inception or radimagenet.")
    if out is not None:
        ranges = dict(zip(("real", "generated"), ([s.scale.low, s.scale.high] for s in chosen), strict=True))
        metrics = {row.name: row._asdict() for row in rows}
        runs.write_json(out, {"protocol": record._asdict(), "ranges": ranges, "metrics": metrics})
    return rows


def _check(features: str, weights: str | None, out: Path | None) -> None:
    if features not in FEATURES:
        raise UserError(f"--features {features}: no such features; choose one of {', '.join(FEATURES)}")
    if features in WITH_WEIGHTS and weights is None:
        raise UserError(f"--features {features} needs --weights FILE, a .pth or .safetensors file of that network")
    if features not in WITH_WEIGHTS and weights is not None:
        raise UserError(f"--features {features} has no weights; leave --weights out, or name other features")
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise UserError(f"--out {out}: it is a folder, or its folder is not there; give the name of a .json file")


def load(text: str) -> np.ndarray | list[Path]:
    """The images of a file of arrays, ``[n, ...]``, or the files of images that a folder or pattern stands for.

    A folder without images of its own stands for those in its folders (of classes, of train and test), but for those of
    masks and labels; a run of jaxgen, and its ``samples/``, for the samples.

    Raises:
        UserError: if there are none.
    """
    path = _samples(text) or Path(text)
    if path.is_dir():
        if runs.is_run(path) and (path / "checkpoints").is_dir():
            raise UserError(f"{text}: this run has no samples yet; draw some: jaxgen sample {text}")
        return _in_folders(path)
    if path.suffix.lower() not in (".npz", ".npy"):
        return find_inputs([text])
    try:
        check_arrays(path)
        held = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        why = runs.explain(error) if isinstance(error, OSError) else str(error)
        raise UserError(f"{text}: it cannot be read ({why})") from error
    if isinstance(held, np.ndarray):
        return _images(text, held)
    with held:
        names = [name for name in _ARRAYS if name in held] or [n for n in held if n.split("_")[-1] in _ARRAYS]
        if not names:
            raise UserError(f"{text}: holds no array called {', '.join(_ARRAYS)}; it holds {', '.join(held) or 'none'}")
        try:
            arrays = [_images(text, held[n]) for n in (names[:1] if names[0] in _ARRAYS else names)]
            if len({a.dtype for a in arrays}) > 1:
                types = ", ".join(f"{n} {a.dtype}" for n, a in zip(names, arrays, strict=True))
                raise UserError(f"{text}: its arrays are of several types ({types}); save them as one")
            return np.concatenate(arrays)
        except ValueError as error:
            raise UserError(f"{text}: its arrays cannot be read as one set of images ({error})") from error


def _images(text: str, x: np.ndarray) -> np.ndarray:
    if x.ndim not in (3, 4, 5) or x.dtype.kind not in "uif" or not x.size:
        raise UserError(f"{text}: an array {x.shape} of {x.dtype} is no set of images [n, height, width, channels]")
    if channels_first(x.shape[1:]):
        raise UserError(f"{text}: an array {x.shape} has its channels first; save numpy.moveaxis(images, 1, -1)")
    return x if x.ndim > 3 and x.shape[-1] <= 4 else x[..., None]


def _samples(text: str) -> Path | None:
    """The file of samples that a run of jaxgen, its ``samples/``, or their name stands for, if it does."""
    path = Path(text)
    for file in (path, path / "samples.npz", path / "samples" / "samples.npz"):
        if file.name == "samples.npz" and file.is_file() and (file.parent / "figures" / "captions.json").is_file():
            return file
    return None


def _in_folders(folder: Path) -> list[Path]:
    """The images of a folder; if it has none, those of the folders in it."""
    try:
        return find_inputs([str(folder)])
    except UserError:
        found = [path for inner in _folders(folder) for path in _in_some(inner)]
        if not found:
            raise
        return found


def _in_some(folder: Path) -> list[Path]:
    try:
        return _in_folders(folder)
    except UserError:
        return []  # a folder of something else


def _folders(folder: Path) -> list[Path]:
    if (folder / "images").is_dir():
        return [folder / "images"]
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    hidden = (".", "__MACOSX")
    inner = [e for e in entries if e.is_dir() and not e.is_symlink() and not e.name.startswith(hidden)]
    return [e for e in inner if not e.name.lower().startswith(_LABELS)]


class Scale(NamedTuple):
    """What a set's values mean.

    Attributes:
        low: what goes to -1.
        high: what goes to 1.
        why: how that is known, for the user.
        dtype: of the values that it is known of; None for any.
    """

    low: float
    high: float
    why: str
    dtype: np.dtype | None = None


class Images:
    """A set of images as a sequence that reads, scales and resizes them when they are asked for.

    Args:
        name: for messages.
        items: an array ``[n, *spatial, c]``, or files.
        value_range: see `compare`.
        size: see `compare`.
        channels: what they are converted to; None for no change.
        sampled: the file of samples of jaxgen that they come from, if they do.
        scale: what their values mean, if that is known: of a part of a set it is that of the set.

    Raises:
        UserError: if the range of values is not known.
    """

    def __init__(
        self,
        name: str,
        items: np.ndarray | Sequence[Path],
        value_range: tuple[float, float] | None,
        size: int | None,
        channels: int | None = None,
        *,
        sampled: Path | None = None,
        scale: Scale | None = None,
    ) -> None:
        self.name, self._items, self._size, self._channels = name, items, size, channels
        self.scale = scale or (
            Scale(*value_range, "as --range says") if value_range else _scale(name, items, sampled, self._raw)
        )
        self._values = self._cut = 0
        self.shape = self[0:1].shape[1:]
        self._values = self._cut = 0  # the first image comes again

    def _raw(self, i: int) -> np.ndarray:
        item = self._items[i]
        return readers.read_image(item).array if isinstance(item, Path) else np.asarray(item)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, part: slice) -> np.ndarray:
        low, high, _, dtype = self.scale
        found: list[np.ndarray] = []
        for i in range(*part.indices(len(self))):
            raw = self._raw(i)
            if dtype is not None and raw.dtype != dtype:
                raise UserError(
                    f"{self._items[i]}: {raw.dtype}, but other images of {self.name} are {dtype}; save all with one "
                    "depth, or say what is black and white in all of them: --range LOW HIGH"
                )
            if raw.dtype.kind == "f" and not np.isfinite(raw).all():
                where = self._items[i] if isinstance(self._items[i], Path) else f"{self.name}: image {i}"
                raise UserError(f"{where}: it holds NaN or infinity; leave it out (a model that diverged?)")
            x = convert_channels(raw, self._channels)
            x = x if self._size is None else resize(x, (self._size,) * (x.ndim - 1))
            x = 2 * (np.asarray(x, np.float32) - low) / (high - low) - 1
            self._values, self._cut = self._values + x.size, self._cut + int((np.abs(x) > 1 + 1e-5).sum())
            if found and x.shape != found[0].shape:
                if x.shape[-1] != found[0].shape[-1]:
                    raise UserError(
                        f"{self.name}: images of {found[0].shape[-1]} and of {x.shape[-1]} channels; save all alike"
                    )
                raise UserError(
                    f"{self.name}: images of sizes {found[0].shape} and {x.shape}; bring them to one: --size"
                )
            found.append(np.clip(x, -1, 1))
        return np.stack(found)

    @property
    def share_cut(self) -> float:
        """The share of the values read so far that lie out of the range."""
        return self._cut / max(self._values, 1)

    def take(self, chosen: np.ndarray) -> "Images":
        """Some of the images."""
        some = self._items[chosen] if isinstance(self._items, np.ndarray) else [self._items[i] for i in chosen]
        return Images(self.name, some, None, self._size, self._channels, scale=self.scale)

    def converted(self, channels: int) -> "Images":
        """The images with another number of channels."""
        return Images(self.name, self._items, None, self._size, channels, scale=self.scale)


def _scale(
    name: str, items: np.ndarray | Sequence[Path], sampled: Path | None, read: Callable[[int], np.ndarray]
) -> Scale:
    """What the type of the values says of them, once for the whole set."""
    whole = isinstance(items, np.ndarray)
    x = items if isinstance(items, np.ndarray) else read(0)
    if x.dtype == np.uint8:
        return Scale(0.0, 255.0, "8 bits", x.dtype)
    if x.dtype.kind == "f" and whole and sampled is not None:
        return Scale(-1.0, 1.0, "samples of jaxgen", x.dtype)
    if x.dtype.kind == "f" and whole and _fills(x):
        return Scale(-1.0, 1.0, "floats that fill it", x.dtype)
    raise UserError(f"{name}: {x.dtype} from {x.min()} to {x.max()}; say what is black and white: --range LOW HIGH")


def _fills(x: np.ndarray) -> bool:
    """Whether values are within [-1, 1] and use its lower half: a few values below 0 may be those of [0, 1], filtered.

    Example:
        >>> _fills(np.array([-1.0, 0.3, 1.0])), _fills(np.array([0.0, 0.3, 1.0])), _fills(np.array([-1.0, 0.3, 2.0]))
        (True, False, False)
    """
    return bool(x.min() >= -1 and x.max() <= 1 and np.mean(x < -0.25) >= 0.01)


def _alike(sets: list[Images], say: Callable[[str], None]) -> list[Images]:
    """Two sets of one shape; colour becomes grey where the other set is grey."""
    channels = [s.shape[-1] for s in sets]
    if sorted(channels) == [1, 3]:
        say(f"note      {sets[channels.index(3)].name}: made grey, as the other set is")
        sets = [s.converted(1) for s in sets]
    if sets[0].shape != sets[1].shape:
        raise UserError(
            f"{sets[0].name} has images {sets[0].shape} and {sets[1].name} {sets[1].shape}; bring them to one: --size N"
        )
    return sets


def _extractor(features: str, weights: str | None, shape: tuple[int, ...]) -> Extractor:
    if weights is not None:
        if features == "medicalnet" and (len(shape) != 4 or shape[-1] != 1):
            raise UserError("--features medicalnet is for volumes of one channel; use radimagenet for images")
        if features != "medicalnet" and shape[-1] not in (1, 3):
            raise UserError(f"--features {features} is for grey or colour images, not {shape[-1]} channels")
        read = {"inception": inception.extractor, "radimagenet": resnet.radimagenet, "medicalnet": resnet.medicalnet}
        return read[features](weights)
    if features == "random":
        if math.prod(shape) > 2**20:
            raise UserError(f"--features random: images {shape} are too large; make them smaller: --size N")
        return random_projection(jax.random.key(0), shape)
    rank = len(shape) - 1
    side = int((_MOST_PIXELS / shape[-1]) ** (1 / rank) + 1e-9)
    return pixels() if math.prod(shape) <= _MOST_PIXELS else pixels([min(n, side) for n in shape[:-1]])


def table(real: Features, generated: Features, *, seed: int = 0) -> list[Row]:
    """All metrics of two sets of features of equal number, with 95 % intervals.

    The error of the Frechet distance is a jackknife's; those of the shares are binomial, with the other set as it is.

    Args:
        real: features of real images.
        generated: of as many generated ones.
        seed: of subsets.

    Returns:
        The rows.

    Raises:
        UserError: if the sets cannot be compared.
    """
    a, b = real.values, generated.values
    n, width = a.shape
    value = frechet(real, generated).value
    rows = [_row("Frechet distance", Estimate(value, jackknife_error(frechet_distance, a, b, seed=seed)), _FRECHET)]
    if n > 2 * width:
        rows.append(_row("Frechet distance, unlimited n", frechet_distance_infinity(b, a, seed=seed), _UNLIMITED))
    rows.append(_row("Kernel distance", kernel_distance(a, b, seed=seed), "lower is better; 0 if equal; any n"))
    shares = zip(
        ("Precision", "Recall", "Density", "Coverage"), (*precision_recall(a, b), *density_coverage(a, b)), strict=True
    )
    for name, share in shares:
        error = math.nan if name == "Density" else math.sqrt(max(share * (1 - share), 0) / n)
        rows.append(_row(name, Estimate(share, error), _READINGS[name], ends=(0.0, 1.0)))
    test = classifier_test(a, b, seed=seed)
    error = math.sqrt(test.accuracy * (1 - test.accuracy) / (2 * test.number))
    reading = f"0.5 for equal distributions; p = {test.p_value:.3f}"
    return [*rows, _row("Classifier accuracy", Estimate(test.accuracy, error), reading, ends=(0.0, 1.0))]


_FRECHET = "lower is better; falls with n: compare equal n only"
_UNLIMITED = "extrapolated over the number of generated images"
_READINGS = {
    "Precision": "share of generated images among the real",
    "Recall": "share of real images among the generated",
    "Density": "how deep generated images lie among the real; 1",
    "Coverage": "share of real images with a generated one near",
}


def of_planes(extractor: Extractor, sets: Sequence[Images]) -> tuple[list[Row], Protocol]:
    """Frechet and kernel distances of the slices of volumes in three planes, and their means.

    There are no intervals, since the slices of a volume are not independent.

    Args:
        extractor: of images.
        sets: real and generated volumes.

    Returns:
        The rows, and the record of the slices.
    """
    volumes = [s[:] for s in sets]
    found = {name: [extract_slices(extractor, v, axis) for v in volumes] for axis, name in enumerate(PLANES)}
    rows = []
    for what, distance in (
        ("Frechet distance", lambda a, b: frechet(a, b).value),
        ("Kernel distance", lambda a, b: kernel_distance(a.values, b.values).value),
    ):
        values = {name: distance(*pair) for name, pair in found.items()}
        mean = float(np.mean(list(values.values())))
        rows.append(Row(f"{what}, mean of planes", mean, math.nan, math.nan, "lower is better"))
        rows += [Row(f"{what}, {name}", v, math.nan, math.nan, "") for name, v in values.items()]
    return rows, protocol(*found["xy"])


def _row(name: str, estimate: Estimate, reading: str, ends: tuple[float, float] = (-math.inf, math.inf)) -> Row:
    half = 1.96 * estimate.standard_error
    low, high = max(estimate.value - half, ends[0]), min(estimate.value + half, ends[1])
    return Row(name, estimate.value, *((low, high) if half == half else (math.nan, math.nan)), reading)


def lines(rows: Sequence[Row]) -> list[str]:
    """The table as text.

    Example:
        >>> rows = [Row("Density", 1.2, math.nan, math.nan, ""), Row("Recall", 0.5, 0.4, 0.6, "")]
        >>> [line.split() for line in lines(rows)]
        [['value', '95', '%', 'interval'], ['Density', '1.2'], ['Recall', '0.5', '0.4', 'to', '0.6']]
    """
    cells = [("", "value", "95 % interval", "")]
    for row in rows:
        between = "" if math.isnan(row.low) else f"{row.low:.4g} to {row.high:.4g}"
        cells.append((row.name, f"{row.value:.4g}", between, row.reading))
    wide = [max(len(cell[i]) for cell in cells) for i in range(3)]
    text = (f"{c[0]:<{wide[0]}}   {c[1]:>{wide[1]}}   {c[2]:>{wide[2]}}   {c[3]}" for c in cells)
    return [line.rstrip() for line in text]
