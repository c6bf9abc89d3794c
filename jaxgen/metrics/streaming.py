"""Means and covariances of features that come in parts: batch by batch, device by device, or from a file."""

import math
import stat
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import ArrayLike

from jaxgen.errors import UserError

_MOST_BYTES = 256 * 2**20


class Statistics(NamedTuple):
    """The first two moments of a set of features, in float64.

    Attributes:
        mean: ``[d]``.
        covariance: ``[d, d]``, unbiased.
        number: of examples; 0 where a file does not say.
    """

    mean: np.ndarray
    covariance: np.ndarray
    number: int


def statistics(batches: Iterable[ArrayLike]) -> Statistics:
    """Mean and covariance of features that come batch by batch, in memory that does not grow with their number.

    Args:
        batches: arrays ``[n, d]``, such as ``[features]`` or a generator.

    Returns:
        The moments, as `frechet_distance` takes them.

    Raises:
        ValueError: if there are fewer than two examples, batches are not ``[n, d]`` of one width, or a value is not
            finite.

    Reference:
        Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance", for joining two parts.

    Example:
        >>> whole = statistics([[[0.0], [2.0]], [[4.0]]])
        >>> whole.mean.tolist(), whole.covariance.tolist(), whole.number
        ([2.0], [[4.0]], 3)
    """
    mean, scatter, count = np.zeros(0), np.zeros((0, 0)), 0
    for batch in batches:
        x = np.asarray(batch, np.float64)
        if x.ndim != 2 or (count and x.shape[1] != len(mean)):
            raise ValueError(f"features need the shape [n, d] of one width, got {x.shape}")
        if not np.isfinite(x).all():
            raise ValueError("features hold NaN or infinity")
        if len(x):
            centre = x.mean(0)
            off = x - centre
            mean, scatter, count = _joined((mean, scatter, count), (centre, off.T @ off, len(x)))
    if count < 2:
        raise ValueError(f"{count} examples have no covariance: at least 2 are needed")
    return Statistics(mean, scatter / (count - 1), count)


def merge(a: Statistics, b: Statistics) -> Statistics:
    """The moments of two sets together, from those of each: the same as of all examples at once.

    ``C = ((n - 1) C_a + (m - 1) C_b + n m / (n + m) (m_a - m_b) (m_a - m_b)^T) / (n + m - 1)``

    Args:
        a: of one set.
        b: of another one.

    Returns:
        The moments of both.

    Raises:
        ValueError: if their widths differ, or a number of examples is not known.

    Reference:
        Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance".

    Example:
        >>> halves = statistics([[[0.0], [2.0]]]), statistics([[[4.0], [6.0]]])
        >>> merge(*halves).mean.item(), round(merge(*halves).covariance.item(), 3)
        (3.0, 6.667)
    """
    if a.mean.shape != b.mean.shape or min(a.number, b.number) < 2:
        raise ValueError(f"cannot join {a.number} examples {a.mean.shape} and {b.number} examples {b.mean.shape}")
    parts = ((s.mean, s.covariance * (s.number - 1), s.number) for s in (a, b))
    mean, scatter, count = _joined(*parts)
    return Statistics(mean, scatter / (count - 1), count)


def _joined(
    a: tuple[np.ndarray, np.ndarray, int], b: tuple[np.ndarray, np.ndarray, int]
) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean, scatter matrix and number of two parts together."""
    if not a[2]:
        return b
    count, shift = a[2] + b[2], b[0] - a[0]
    return a[0] + shift * (b[2] / count), a[1] + b[1] + np.outer(shift, shift) * (a[2] * b[2] / count), count


def save_statistics(path: str | Path, moments: Statistics) -> None:
    """Write moments to an ``.npz`` file with the entries ``mu``, ``sigma`` (as pytorch-fid's) and ``number``.

    Args:
        path: of the file; its folder must be there.
        moments: to write.
    """
    with Path(path).open("wb") as file:
        np.savez_compressed(file, mu=moments.mean, sigma=moments.covariance, number=np.int64(moments.number))


def load_statistics(path: str | Path) -> Statistics:
    """Read moments from an ``.npz`` file with the entries ``mu`` and ``sigma``, of pytorch-fid, TTUR or EDM, or ours.

    Such files of others do not say how many examples, nor which features: compare them only with the features that they
    were made of, and with as many examples.

    Args:
        path: of the file.

    Returns:
        The moments; `number` is 0 if the file does not say it.

    Raises:
        UserError: if the file is missing, damaged, or has no such entries.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_statistics(f"{folder}/real.npz", statistics([[[0.0], [2.0]]]))
        ...     load_statistics(f"{folder}/real.npz")
        Statistics(mean=array([1.]), covariance=array([[2.]]), number=2)
    """
    try:
        _check_size(Path(path))
        with np.load(path, allow_pickle=False) as held:
            mean, covariance = (np.asarray(held[name], np.float64) for name in ("mu", "sigma"))
            number = int(held["number"]) if "number" in held else 0
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: has no mean 'mu' and covariance 'sigma' that can be read ({error})") from error
    if mean.ndim != 1 or covariance.shape != (len(mean),) * 2 or not np.isfinite(covariance).all():
        raise UserError(f"{path}: 'mu' {mean.shape} and 'sigma' {covariance.shape} are no mean and covariance")
    return Statistics(mean, covariance, number)


def _check_size(path: Path) -> None:
    """Refuse what is no file, and arrays that unpack or announce more than a mean and a covariance do."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise UserError(f"{path}: no file; name a file of statistics")
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.filename not in ("mu.npy", "sigma.npy", "number.npy"):
                continue
            if info.file_size > _MOST_BYTES:
                raise UserError(
                    f"{path}: {info.filename} announces {info.file_size >> 20} MiB, more than the "
                    f"{_MOST_BYTES >> 20} MiB that statistics may have; make the file again"
                )
            with archive.open(info) as file:
                version = npy_format.read_magic(file)
                read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
                shape, _, dtype = read(file)
            if math.prod(shape) * dtype.itemsize > info.file_size:
                raise ValueError(f"{info.filename} of {info.file_size} bytes announces {shape} of {dtype}")
