"""`load`: the one door to data, behind every ``--data`` flag."""

import os
import re
from pathlib import Path

from jaxgen.data import checks, limits
from jaxgen.data.checks import Foreground
from jaxgen.data.classes import require_trained
from jaxgen.data.everything import Everything, knows_everything
from jaxgen.data.folder import load_folder
from jaxgen.data.generated import GENERATED, load_generated
from jaxgen.data.npz import load_npz
from jaxgen.data.options import ENTRIES, Options
from jaxgen.data.source import Splits
from jaxgen.data.tfds import SHIPPED, load_shipped, load_tfds, nearest_name, tfds_names
from jaxgen.errors import UserError


def _forms(wants: tuple[str, ...]) -> str:
    """The kinds of data that hold these entries, in words."""
    if "source" in wants:
        return "a data set's name, a folder with source/ and target/, or an npz with `sources` and `images`"
    if "masks" in wants or "labels" in wants:
        return "a data set's name or an npz"
    if "mask" in wants or "instances" in wants:
        return "a data set's name, a folder with images/ and masks/, or an npz"
    if "label" in wants:
        return "a data set's name, a folder with a subfolder of images for each class, or an npz"
    return "a data set's name, a folder of images, or an npz"


@knows_everything
def load(
    spec: str | os.PathLike[str],
    *,
    seed: int = 0,
    wants: tuple[str, ...] = ("image", "mask"),
    optional: tuple[str, ...] = (),
    foreground: Foreground = "binary",
    slices: bool = False,
    spatial: int | None = None,
) -> Splits:
    """Open a data set, check it, and split it into train, validation and test.

    A single constant image is accepted as data where nothing is marked in it (blank slices exist); scale images by a
    range measured over the training set, never by an image's own, and no division by zero can occur. A constant image
    whose mask marks something, and a set of nothing but constant images, are refused. So is a given split that shares
    a patient or an image; where the split is drawn, what is shared stays together (see `jaxgen.data.groups`).

    Args:
        spec: a shipped or TFDS name, a computed set (see `jaxgen.data.generated`), a folder (see `jaxgen.data.folder`),
            or an npz file (see `jaxgen.data.npz`); as `jaxgen.data.Everything` it is not split, and all is test.
        seed: of the split, where the data come without one.
        wants: entries that each example must have: "image", "mask", "masks" (several raters), "instances", "label" (a
            class, numbered from 0) or "labels" (0 or 1 for each class, of images that may have several; from npz files
            only); the names are `Splits.label_names`. "covariates" are numbers such as age, their names
            `Splits.covariate_names`; "text" is a caption, "control" a hint: an image of bytes; "source" is an image to
            translate from, on the same grid; "spacing" is the size of a voxel along each axis, in millimetres.
        optional: entries that it has if the data have them.
        foreground: "binary" (masks must have 0 and one other value; given as 0 and 1), "any" (all but 0), one label by
            its number or, where the data name their labels, by its name, several separated by commas, "each" (every
            label is a class; masks then hold 1 to K, whose names are `Splits.mask_names`), or None (whole numbers as
            they are). The mask of a set with instances is always "any".
        slices: take volumes slice by slice (axial where the file says which axis that is, else along the last), split
            by volume.
        spatial: refuse examples that have not this many spatial axes.

    Returns:
        The three splits.

    Raises:
        UserError: naming the file or flag and the fix.

    Example:
        >>> splits = load("nuclei_dsb2018")
        >>> len(splits.train), splits.train[0]["image"].shape, splits.train[0]["mask"].max().item()
        (234, (128, 128, 1), 1)
    """
    unknown = [entry for entry in (*wants, *optional) if entry not in ENTRIES]
    if unknown:
        raise ValueError(f"unknown entries {unknown}; known are {ENTRIES}")
    options = Options(seed, tuple(wants), tuple(optional), checks.parse_foreground(foreground), slices, spatial)
    options = options._replace(whole=isinstance(spec, Everything))
    splits = _opened(os.fspath(spec), options)
    if splits.mask_names and not options.whole:
        require_trained(splits.train, splits.mask_names, f"--data {os.fspath(spec)}")
    return splits


def _opened(text: str, options: Options) -> Splits:
    forms = _forms(options.wants)
    if text in SHIPPED:
        return load_shipped(text, options)
    if text.split("/")[0] in GENERATED:
        return load_generated(text, options)
    if not text.strip():
        raise UserError(f"no data are named, and none come with this preset; give --data: {forms}")
    if "\0" in text:
        raise UserError(f"--data {text!r}: no file or data set can have this name; give {forms}")
    path = Path(text).expanduser()
    with checks.reading(f"--data {text}", "a data set"):
        exists = os.path.lexists(path)
        if exists:
            limits.require_file(path)
        if exists and path.is_dir():
            return load_folder(path, options)
        if exists and path.suffix.lower() == ".npz":
            return load_npz(path, options)
        if exists:
            raise UserError(f"--data {text}: a file, but not an npz; give {forms}")
    if re.split("[/:]", text)[0] in tfds_names():
        return load_tfds(text, options)
    near = nearest_name(path.stem, (*GENERATED, *SHIPPED))
    hint = f"did you mean {near}? Else give" if near else "give"
    raise UserError(f"--data {text}: no such data set, folder or file; {hint} {forms}")
