"""Data folders as nnU-Net has them.

::

    folder/imagesTr/case_0000.nii.gz  case_0001.nii.gz     one file for each channel of a case
    folder/labelsTr/case.nii.gz                            whole numbers
    folder/imagesTs  labelsTs                              the test split, if it has labels or none are wanted
    folder/dataset.json                                    `labels` by number (version 1) or by name (2); `file_ending`
    folder/splits_final.json                               optional: its fold 0 is train and validation

Channels are stacked in the order of their numbers; files without a number are single images, as in the Medical
Segmentation Decathlon. A case is a patient, unless patients.csv says otherwise. Splits that are missing are drawn from
imagesTr. Regions (labels that are lists) need ``--foreground`` any or a number.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxgen.data import checks
from jaxgen.data.options import Options
from jaxgen.data.pairs import Found, Pair, classes_of, files_of
from jaxgen.data.readers import file_suffix
from jaxgen.errors import UserError

_CHANNEL = re.compile(r"^(.+)_(\d{4})$")


def is_nnunet(inside: set[str]) -> bool:
    """Whether a folder that holds these names is laid out so.

    Example:
        >>> is_nnunet({"imagesTr", "labelsTr", "dataset.json"}), is_nnunet({"images"})
        (True, False)
    """
    return "imagesTr" in inside


def refuse_half(folder: Path, inside: set[str]) -> None:
    """Refuse a folder that has some of nnU-Net's folders but not that of the training images.

    Args:
        folder: for the message.
        inside: the names of what it holds.

    Raises:
        UserError: naming what is there and what is missing.
    """
    there = sorted(inside & {"imagesTs", "labelsTr", "labelsTs"})
    if there and not is_nnunet(inside):
        raise UserError(
            f"{folder}: has {there[0]}/ but no imagesTr/; put the training images there as nnU-Net has them, "
            "or use images/ and masks/"
        )


def find(folder: Path, inside: set[str], options: Options) -> tuple[dict[str, Found], dict[str, int]]:
    """The files of each split, and the values of the labels by name.

    Args:
        folder: laid out as this module's docstring says.
        inside: the names of what it holds.
        options: what each example holds.

    Returns:
        ``(parts, labels)``: "train", and "validation" and "test" where they are given; the value of each label's name.

    Raises:
        UserError: naming the file at fault and the fix.
    """
    about = _read(folder / "dataset.json") if "dataset.json" in inside else {}
    if not isinstance(about, dict):
        raise UserError(f"{folder / 'dataset.json'}: not an object of JSON; write it as nnU-Net does, or take it out")
    ending = about.get("file_ending", "")
    if not isinstance(ending, str) or (ending and not file_suffix(f"a{ending}")):
        raise UserError(
            f"{folder / 'dataset.json'}: file_ending {ending!r} is not a format that is read; "
            "convert the images, and correct it"
        )
    wanted = {"mask", "instances"}
    needed = bool(wanted & set(options.wants))
    masks = needed or (bool(wanted & set(options.optional)) and "labelsTr" in inside)
    labels = _labels(about.get("labels", {}), folder / "dataset.json", options) if masks else {}
    numbered = _numbered(folder, inside, ending)
    train = _pairs(folder, "Tr", ending, masks, numbered)
    parts = {"train": train}
    if "splits_final.json" in inside:
        parts = _fold(folder / "splits_final.json", train)
    if "imagesTs" in inside and (not masks or "labelsTs" in inside):
        parts["test"] = _pairs(folder, "Ts", ending, masks, numbered)
    return {s: Found(p, classes_of(folder, [x.name for x in p], options)) for s, p in parts.items()}, labels


def _numbered(folder: Path, inside: set[str], ending: str) -> bool:
    """Whether the names of images end in the numbers of channels: labels have none."""
    images = set(files_of(folder / "imagesTr", "images", ending=ending))
    labels = set(files_of(folder / "labelsTr", "labels", ending=ending)) if "labelsTr" in inside else set()
    channels = [match and match[2] for match in map(_CHANNEL.match, images)]
    return all(channels) and "0000" in channels and not labels >= images


def _pairs(folder: Path, split: str, ending: str, masks: bool, numbered: bool) -> list[Pair]:
    """The cases of imagesTr or imagesTs, their channels in order."""
    files = files_of(folder / f"images{split}", "images", ending=ending)
    labels = files_of(folder / f"labels{split}", "labels", ending=ending) if masks else {}
    cases: dict[str, dict[int, Path]] = {}
    for name, file in files.items():
        match = _CHANNEL.match(name) if numbered else None
        case, channel = (name, 0) if match is None else (match[1], int(match[2]))
        cases.setdefault(case, {})[channel] = file
    most = max(len(channels) for channels in cases.values())
    for case, channels in cases.items():
        for k in range(most):
            if k not in channels:
                beside = next(iter(channels.values()))
                raise UserError(
                    f"{beside}: the case {case} has no channel {k:04d} beside it; add it, or take the case out"
                )
        if masks and case not in labels:
            raise UserError(
                f"{channels[0]}: has no labels; add {folder / f'labels{split}' / case}{ending}, or take the case out"
            )
    for name, file in labels.items():
        if name not in cases:
            raise UserError(f"{file}: labels without an image; add it to images{split}/, or take the labels out")
    ordered = {case: [channels[k] for k in sorted(channels)] for case, channels in sorted(cases.items())}
    return [Pair(case, first, labels.get(case), more=tuple(more)) for case, (first, *more) in ordered.items()]


def _labels(given: Any, path: Path, options: Options) -> dict[str, int]:
    """Name -> value, of either version."""
    if not isinstance(given, Mapping):
        raise UserError(f'{path}: `labels` is not an object; write {{"background": 0, "tumour": 1}}')
    by_number = bool(given) and all(str(key).isdecimal() for key in given)
    pairs = [(value, key) if by_number else (key, value) for key, value in given.items()]
    found, regions = {}, []
    for name, value in pairs:
        if isinstance(value, list):
            regions.append(str(name))
            continue
        if not (isinstance(value, int) and not isinstance(value, bool)) and not str(value).isdecimal():
            raise UserError(f"{path}: the label {name} has the value {str(value)[:40]!r}; write a whole number")
        found[str(name)] = int(value)
    if "ignore" in found:
        raise UserError(
            f"{path}: the label `ignore` marks voxels without truth, which cannot be left out here; "
            "give a folder without it"
        )
    chosen = checks.parse_foreground(options.foreground)
    if regions and isinstance(chosen, str) and chosen != "any":
        raise UserError(
            f"{path}: the label {regions[0]} is a region of several values, which is not read; "
            "choose the foreground with --foreground (any, or one value)"
        )
    return found


def _fold(path: Path, train: list[Pair]) -> dict[str, list[Pair]]:
    """Train and validation of the first fold."""
    folds = _read(path)
    try:
        names = {
            split: [str(name) for name in folds[0][key]] for split, key in (("train", "train"), ("validation", "val"))
        }
    except (TypeError, KeyError, IndexError) as error:
        raise UserError(f"{path}: has no fold with train and val; write it as nnU-Net does, or take it out") from error
    by_name = {pair.name: pair for pair in train}
    for split, listed in names.items():
        if not listed:
            raise UserError(f"{path}: {split} of the first fold is empty; name at least one case")
        for name in listed:
            if name not in by_name:
                raise UserError(f"{path}: names the case {name}, which is not in imagesTr; correct it, or take it out")
    return {split: [by_name[name] for name in listed] for split, listed in names.items()}


def _read(path: Path) -> Any:
    with checks.reading(path, "JSON"):
        return json.loads(path.read_text("utf-8-sig"))
