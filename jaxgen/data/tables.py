"""Tables that say something of each image: ``labels.csv``, ``patients.csv``.

Two columns, ``name,value``, with or without a header; commas, semicolons or tabs. With a header that names the columns
(``patient_id,age,filename``) they may come in any order, among others. A name is a file with or without its suffix
and the folders in front of it.
"""

import csv
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from jaxgen.data import checks
from jaxgen.data.groups import as_texts
from jaxgen.data.readers import stem
from jaxgen.errors import UserError

NAMES = {"name", "names", "image", "images", "imageid", "imagename", "imageindex", "imagepath"}
NAMES |= {"file", "filename", "path", "filepath", "id"}
VALUES = {
    "patient": {"patient", "patients", "patientid", "patientids", "patientname", "subject", "subjects", "subjectid"}
    | {"participant", "participantid", "case", "caseid", "pid", "tciaid"},
    "label": {"label", "labels", "class", "classes"},
}

Row = tuple[tuple[str, ...], str]
"""The parts of an image's path without its suffix, and the value."""


def find_table(folder: Path, name: str) -> Path | None:
    """The table of this name (without suffix) in a folder, .csv or .tsv, whatever its capitals.

    Raises:
        UserError: if there are two.
    """
    found = sorted(f for f in folder.iterdir() if f.name.lower() in (f"{name}.csv", f"{name}.tsv"))
    if len(found) > 1:
        raise UserError(f"{folder}: has both {found[0].name} and {found[1].name}; keep one of them")
    return found[0] if found else None


def read_table(path: Path, what: str) -> list[Row]:
    """The rows of a table.

    Args:
        path: the file.
        what: "patient" or "label".

    Returns:
        The image and the value of each row.

    Raises:
        UserError: naming the row that cannot be read.
    """
    with checks.reading(path, "a table of two columns"):
        lines = path.read_text("utf-8-sig").splitlines()
        head = next((line for line in lines if line.strip()), "")
        delimiter = max(",\t;", key=head.count)
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    rows = [row for row in rows if any(row)]
    (name_at, value_at), width, rows = _columns(rows, what)
    found = []
    for row in rows:
        if len(row) <= max(name_at, value_at) or (width == 2 and len(row) != 2) or not row[name_at]:
            raise UserError(f"{path}: the line {delimiter.join(row)!r} has not two columns; write name,{what}")
        if not row[value_at]:
            raise UserError(f"{path}: the line {delimiter.join(row)!r} has no {what}; write name,{what}")
        found.append((parts_of(row[name_at]), row[value_at]))
    return found


def _columns(rows: list[list[str]], what: str) -> tuple[tuple[int, int], int, list[list[str]]]:
    """Which columns hold the names and the values, how many columns there are, and the rows below the header."""
    if not rows:
        return (0, 1), 2, rows
    head = ["".join(c for c in cell.lower() if c.isalnum()) for cell in rows[0]]
    value = next((k for k, cell in enumerate(head) if cell in VALUES[what]), None)
    name = next((k for k, cell in enumerate(head) if cell in NAMES and k != value), None)
    if name is not None and value is not None:
        return (name, value), len(head), rows[1:]
    if name == 0 and len(head) == 2:
        return (0, 1), 2, rows[1:]
    return (0, 1), 2, rows


def parts_of(text: str) -> tuple[str, ...]:
    """The folders and the stem of a path, without ``images``.

    Example:
        >>> parts_of("./train/images/a.nii.gz")
        ('train', 'a')
    """
    path = PurePosixPath(text.replace("\\", "/"))
    return (*(part for part in path.parts[:-1] if part not in ("/", ".", "images")), stem(path.name))


def look_up(rows: Sequence[Row], names: Sequence[str], path: Path, what: str) -> list[str]:
    """The value of each image: by its whole name, or else by its last parts.

    Args:
        rows: from `read_table`.
        names: of the images, with their folders if they have any.
        path: the table, for messages.
        what: "patient" or "label", for messages.

    Returns:
        One value for each name.

    Raises:
        UserError: if images have no row, or one has two that differ.

    Example:
        >>> look_up([(("train", "a"), "p1"), (("b",), "p2")], ["train/a", "test/b"], Path("t.csv"), "patient")
        ['p1', 'p2']
    """
    by_tail: dict[tuple[str, ...], list[int]] = {}
    for k, (parts, _) in enumerate(rows):
        for start in range(len(parts)):
            by_tail.setdefault(parts[start:], []).append(k)
    whole = {name: tuple(name.split("/")) for name in names}
    taken = {k for parts in whole.values() if len(parts) > 1 for k in by_tail.get(parts, ())}
    found, without = [], []
    for name in names:
        parts = whole[name]
        fitting = by_tail.get(parts, [])
        for start in range(1, len(parts)):
            # a row that names another image in full says nothing of this one
            fitting = fitting or [k for k in by_tail.get(parts[start:], []) if k not in taken]
        texts = [rows[k][1] for k in fitting]
        values = list(dict.fromkeys(as_texts(texts, str(path)) if what == "patient" and texts else texts))
        if not values:
            without.append(name)
        elif len(values) > 1:
            raise UserError(
                f"{path}: gives the image {name} more than one {what} ({values[0]} and {values[1]}); keep one of them, "
                "or write its name with its folder"
            )
        found.append(values[0] if values else "")
    if without:
        count = "" if len(without) == 1 else f" and {len(without) - 1} more of {len(names)}"
        raise UserError(f"{path}: has no line for the image {without[0]}{count}; add one for each image")
    return found
