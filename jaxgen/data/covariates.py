"""Covariates: numbers that come with an image, such as age or a volume, in the units of the data."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.data import checks
from jaxgen.data.source import Source
from jaxgen.data.tables import NAMES, look_up, parts_of
from jaxgen.errors import UserError
from jaxgen.types import Key


def covariates_of(source: Source) -> np.ndarray:
    """The covariates of every example of a source; sources that know them without reading images are not read.

    Args:
        source: examples with an entry ``covariates [k]``.

    Returns:
        float32 ``[n, k]``.

    Example:
        >>> from jaxgen.data.source import ArraySource
        >>> covariates_of(ArraySource({"covariates": np.ones((2, 1))})).tolist()
        [[1.0], [1.0]]
    """
    known = getattr(source, "covariates", None)
    if known is None:
        known = np.stack([source[i]["covariates"] for i in range(len(source))])
    return np.asarray(known, np.float32)


def like(source: Source, n: int, names: Sequence[str], given: Mapping[str, float], key: Key) -> np.ndarray:
    """Covariates for n new examples: those given, and for the others those of examples drawn at random.

    Args:
        source: examples with covariates.
        n: how many.
        names: of the covariates.
        given: values by name.
        key: of the draw.

    Returns:
        ``[n, k]``.

    Example:
        >>> from jaxgen.data.source import ArraySource
        >>> known = ArraySource({"covariates": np.ones((3, 2))})
        >>> like(known, 2, ("age", "sex"), {"sex": 0.0}, jax.random.key(0)).tolist()
        [[1.0, 0.0], [1.0, 0.0]]
    """
    values = covariates_of(source)[np.asarray(jax.random.randint(key, (n,), 0, len(source)))]
    for name, value in given.items():
        values[:, names.index(name)] = value
    return values


def range_of(source: Source, names: Sequence[str], where: object) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The lowest and the highest value of each covariate.

    Args:
        source: examples with covariates.
        names: of the covariates; without any the ranges are empty.
        where: the data, for the message.

    Returns:
        ``(low, high)``, a number each per covariate.

    Raises:
        UserError: if a covariate has one value only.

    Example:
        >>> from jaxgen.data.source import ArraySource
        >>> range_of(ArraySource({"covariates": np.array([[50.0], [60.0]])}), ["age"], "here")
        ((50.0,), (60.0,))
    """
    if not names:
        return (), ()
    known = covariates_of(source)
    low, high = known.min(0).tolist(), known.max(0).tolist()
    for name, least, most in zip(names, low, high, strict=True):
        if least == most:
            raise UserError(f"{where}: {name} is {least:g} for every image; take that covariate out")
    return tuple(low), tuple(high)


def to_unit(values: Any, ranges: Sequence[Sequence[float]]) -> jax.Array:
    """Covariates ``[..., k]`` with their ranges ``(low, high)`` brought to [0, 1].

    Example:
        >>> to_unit(np.array([[55.0]]), ((50.0,), (60.0,))).tolist()
        [[0.5]]
    """
    low, high = (jnp.asarray(bound, jnp.float32) for bound in ranges)
    return (values - low) / (high - low)


def check_covariates(values: np.ndarray, names: Sequence[str], where: object) -> np.ndarray:
    """Make sure that covariates are finite numbers, one per name and example.

    Args:
        values: ``[n, k]``.
        names: k of them.
        where: the file, for the message.

    Returns:
        float32 ``[n, k]``.

    Raises:
        UserError: naming the fix.

    Example:
        >>> check_covariates(np.ones((2, 1)), ("age",), "a.npz").shape
        (2, 1)
    """
    if values.dtype.kind not in "buif" or values.ndim != 2:
        raise UserError(f"{where} has size {values.shape} and type {values.dtype}; save numbers [n, covariates]")
    if len(names) != values.shape[1] or len(set(names)) != len(names) or not all(names):
        raise UserError(
            f"{where} has {values.shape[1]} columns, but the names are {', '.join(names) or 'missing'}; save "
            "`covariate_names`, a name for each column"
        )
    found = values.astype(np.float32)
    if not np.isfinite(found).all():
        row, column = np.argwhere(~np.isfinite(found))[0]
        value = found[row, column]
        raise UserError(f"{where}: {names[column]} of example {row} is {value}; give every example a number")
    return found


def read_covariates(path: Path, names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """The table ``covariates.csv``: a header ``name,age,volume`` (names in any column), and a line for each image.

    Args:
        path: the file; commas, semicolons or tabs.
        names: of the images, with their folders if they have any.

    Returns:
        float32 ``[n, k]`` in the order of `names`, and the names of the columns.

    Raises:
        UserError: naming the line that cannot be read, or the image that has none.
    """
    with checks.reading(path, "a table of numbers"):
        lines = [line for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
        delimiter = max(",\t;", key=(lines[0] if lines else "").count)
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    if len(rows) < 2 or len(rows[0]) < 2:
        raise UserError(f"{path}: has no columns; write a header such as name,age,volume and a line for each image")
    plain = ["".join(c for c in cell.lower() if c.isalnum()) for cell in rows[0]]
    at = next((k for k, cell in enumerate(plain) if cell in NAMES), None)
    if at is None:
        raise UserError(f"{path}: no column of its header is called name; write a header such as name,age,volume")
    columns = [k for k in range(len(plain)) if k != at]
    for row in rows[1:]:
        if len(row) != len(plain) or not all(_is_number(row[k]) for k in columns):
            line = delimiter.join(row)
            raise UserError(f"{path}: the line {line!r} needs a name and {len(columns)} numbers; correct it")
    numbered = [(parts_of(row[at]), str(i)) for i, row in enumerate(rows[1:])]
    chosen = [int(k) for k in look_up(numbered, names, path, "line of covariates")]
    table = np.array([[float(row[k]) for k in columns] for row in rows[1:]])
    titles = tuple(rows[0][k] for k in columns)
    return check_covariates(table[chosen], titles, path), titles


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
