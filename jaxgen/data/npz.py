"""One npz file with everything in memory; nothing in it is ever unpickled.

==========================================  ==================================================================
array (other names)                         shape
==========================================  ==================================================================
``images`` (image, volumes, volume, hu)     ``[n, *spatial]`` or ``[n, *spatial, c]``
``masks`` (mask, segmentations)             ``[n, *spatial]``, or ``[n, raters, *spatial]``
``instances``                               ``[n, *spatial]``; the mask is then ``instances > 0``
``labels`` (label)                          [n] or [n, 1], numbers or names of classes; [n, classes] of 0 and 1 (entry
                                            "labels" where an image may have several); with a value a voxel, masks
``label_names``                             [classes], the name of each number in ``labels``
``split``                                   [n] of "train", "validation" (or "val", "valid"), "test"
``patient`` (patients, subject)             [n], numbers or names, also as patient_id, case_id and others; a patient is
                                            in one split only
``names`` (name), ``image_id``              [n]; examples of one name or image are in one split only
``rater_names`` (raters)                    [raters], the name of each rater in ``masks``
``texts`` (text, captions, reports)         [n], a caption for each image; or, in place of it,
``finding``, ``view``, ``sex``, ``age``     [n], what is known of a radiograph: its caption is written from them
``control`` (controls)                      [n, height, width] or [n, height, width, c] with 1 or 3 channels, a hint for
                                            each image: 0 to 255, or 0 to 1
``covariates``                              [n, covariates], numbers such as age; with
``covariate_names``                         [covariates], the name of each
``sources`` (source)                        ``[n, *spatial]`` or ``[n, *spatial, c]``, images to translate from
``spacing`` (voxel_spacing, voxel_size)     [n, axes] or [axes], millimetres of a voxel along each axis
==========================================  ==================================================================

Channels come last: images as PyTorch has them, ``[n, c, *spatial]``, are refused with the fix.

Or a part of its own for each split: ``train_images``, ``train_labels``, ``val_images``, ``test_images`` and so on. A
split that is missing is taken from train. Without splits or patients, classes have equal shares in all splits.

A given split in which two parts share a patient, a name, an image_id, or an image pixel for pixel, is refused; where
the split is drawn, what is shared stays together. Blank images are not compared.
"""

from collections.abc import Iterable, Set
from pathlib import Path

import numpy as np

from jaxgen.data import captions, checks, groups
from jaxgen.data.arrays import channels_first, npz_headers, read_npz
from jaxgen.data.classes import Classes, choose_classes, majority
from jaxgen.data.covariates import check_covariates
from jaxgen.data.groups import as_texts
from jaxgen.data.labels import number_classes, require_classes, require_trained, split_by_class
from jaxgen.data.options import Options
from jaxgen.data.source import SHARES, ArraySource, Example, Splits, complete
from jaxgen.errors import UserError

_NAMES = {
    "image": ("images", "image", "volumes", "volume", "hu"),
    "mask": ("masks", "mask", "segmentations", "segmentation"),
    "instances": ("instances",),
    "label": ("labels", "label"),
    "split": ("split", "splits"),
    "patient": (
        *("patient", "patients", "patient_id", "patient_ids", "patientid", "case_id", "case_ids", "caseid", "tcia_id"),
        *("subject", "subjects", "subject_id", "subject_ids", "subjectid", "participant", "participant_id"),
    ),
    "names": ("names", "name"),
    "image_id": ("image_id", "image_ids", "imageid"),
    "label_names": ("label_names", "class_names"),
    "rater_names": ("rater_names", "raters"),
    "text": ("texts", "text", "captions", "caption", "reports", "report"),
    "control": ("control", "controls"),
    "covariates": ("covariates",),
    "covariate_names": ("covariate_names",),
    "spacing": ("spacing", "voxel_spacing", "voxel_size"),
    "source": ("sources", "source"),
}
_MOST_CHANNELS = 16
_TEXTS = ("split", "patient", "names", "image_id", "text")
_FIELDS = ("finding", "view", "sex", "age")
"""Arrays of one value per image that a caption is written from, the first of them needed."""
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
    "testing": "test",
}


def load_npz(path: Path, options: Options) -> Splits:
    """Read, check and split an npz file.

    Args:
        path: the file; its arrays are named as this module's docstring says.
        options: what each example holds. With several raters and "mask" wanted, the mask is their majority (ties are
            foreground).

    Returns:
        The three splits, in memory. Slices are taken along the last spatial axis.

    Raises:
        UserError: naming the file, the array and the fix.
    """
    wanted = options.wants + options.optional
    found, parts, shapes = _headers(path, options.whole, {"text", "control", "spacing", "source"} - {*wanted})
    masks_are_named = "label" not in found
    _require(path, found, parts, shapes, options)
    with checks.reading(path, "npz"):
        held = read_npz(path, {name for entry in found for name in parts[entry]})
        data = {entry: [held[name] for name in parts[entry]] for entry in found}
    label_names = tuple(str(v) for v in data.pop("label_names")[0].ravel()) if "label_names" in found else ()
    raters_given = data.pop("rater_names", [None])[0]
    covariate_names = tuple(str(v) for v in data.pop("covariate_names", [np.array([])])[0].ravel())
    for entry in _TEXTS:
        if entry in data:
            texts = [as_texts(a, f"{path}: `{name}`") for a, name in zip(data[entry], parts[entry], strict=True)]
            data[entry] = [np.array(text, dtype=str) for text in texts]
    spacing = data.pop("spacing", None)
    joined = {entry: _join(path, parts[entry], arrays) for entry, arrays in data.items()}
    n = len(joined["image"])
    for entry, array in joined.items():
        if array.ndim == 0 or len(array) != n:
            count = "no" if array.ndim == 0 else len(array)
            raise UserError(
                f"{path}: `{found[entry]}` has {count} examples, but `{found['image']}` has {n}; make them equal"
            )
    if n == 0:
        raise UserError(f"{path}: `{found['image']}` holds no examples; add some")
    where = {entry: f"{path}: `{name}`" for entry, name in found.items()}
    if "mask" in found:
        values = {name: k for k, name in enumerate(label_names)} if masks_are_named else {}
        options = options._replace(foreground=checks.name_foreground(options.foreground, values, where["mask"]))
        masks = joined["mask"]
        chosen_classes = choose_classes(options.foreground, values, lambda: np.unique(masks), where["mask"])
        options = options if chosen_classes is None else options._replace(foreground=chosen_classes)
    arrays, raters = _shapes(joined, where, options)
    classes, label_names = _classes(arrays, label_names, where, options)
    example = _examples(arrays, raters, where, options)
    if "text" in joined or (_FIELDS[0] in shapes and "text" in wanted):
        example["text"] = joined["text"] if "text" in joined else _written(path, shapes, n)
    if "covariates" in arrays and "covariates" in options.wants + options.optional:
        example["covariates"] = check_covariates(arrays["covariates"], covariate_names, where["covariates"])
    if spacing is not None:
        example["spacing"] = _spacing(path, found["spacing"], spacing, example["image"].shape)
    if "control" in arrays:
        example["control"] = checks.hint_values(arrays["control"], example["image"].shape, where["control"])
    if "source" in arrays:
        example["source"] = _source(arrays["source"], example["image"].shape, where["source"])
    given = None if options.whole else _given_split(path, joined, found)
    if len(parts["image"]) > 1:
        given = np.repeat([_split_of(name) for name in parts["image"]], [len(a) for a in data["image"]])
    known = _known(path, joined, found, example["image"])
    chosen = _split(
        path, given, joined, known, _shown(joined, data["image"], parts["image"]), classes, label_names, options
    )
    named = next((joined[entry].tolist() for entry in ("names", "image_id") if entry in joined), [""] * n)
    patients = joined["patient"].tolist() if "patient" in joined else None
    source = ArraySource(example, [name or str(i) for i, name in enumerate(named)], patients)
    return _splits(source, chosen, path, options)._replace(
        label_names=label_names if "label" in example or "labels" in example else (),
        rater_names=_rater_names(path, raters_given, found, example),
        covariate_names=covariate_names if "covariates" in example else (),
        mask_names=options.foreground.names if isinstance(options.foreground, Classes) else (),
    )


def _spacing(path: Path, name: str, parts: list[np.ndarray], images: tuple[int, ...]) -> np.ndarray:
    """Millimetres of a voxel along each axis ``[n, rank]``, of all examples alike where one is given."""
    n, rank = images[0], len(images) - 2
    spacing = parts[0] if parts[0].ndim == 1 else np.concatenate(parts)
    if spacing.shape not in ((rank,), (n, rank)):
        raise UserError(f"{path}: `{name}` has size {spacing.shape}; save [{rank}] or [{n}, {rank}], in millimetres")
    if spacing.dtype.kind not in "iuf" or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise UserError(f"{path}: `{name}` holds other values than numbers above 0; save millimetres of a voxel")
    return np.broadcast_to(spacing.astype(np.float32), (n, rank)).copy()


def _source(source: np.ndarray, images: tuple[int, ...], where: str) -> np.ndarray:
    """Sources ``[n, *spatial, c]`` on the grid of the images."""
    source = source[..., None] if source.ndim == len(images) - 1 else source
    if source.shape[:-1] != images[:-1]:
        raise UserError(
            f"{where} has size {source.shape}, but the images {images}; save both as [n, height, width], volumes as "
            "[n, *spatial]"
        )
    return checks.image_values(source, where)


def _written(path: Path, shapes: dict[str, tuple[int, ...]], n: int) -> np.ndarray:
    """Captions written from what is known of each image."""
    fields = [name for name in _FIELDS if name in shapes]
    for name in fields:
        if shapes[name] != (n,):
            raise UserError(
                f"{path}: `{name}` has size {shapes[name]}, but there are {n} images; save one value for each"
            )
    with checks.reading(path, "npz"):
        held = read_npz(path, set(fields))
    said = {name: as_texts(held[name], f"{path}: `{name}`") for name in fields if name != "age"}
    age = held.get("age")
    if age is not None and age.dtype.kind not in "buif":
        raise UserError(f"{path}: `age` has values of type {age.dtype}; save numbers of years")
    return np.array(captions.table_captions(**said, age=age), dtype=str)


def _known(path: Path, joined: Example, found: dict[str, str], images: np.ndarray) -> list[groups.Identity]:
    """What binds examples together."""
    patients = joined["patient"].tolist() if "patient" in joined else None
    kinds = [joined[entry].tolist() for entry in ("image_id", "names") if entry in joined]
    if patients is not None:
        first = kinds[-1] if kinds else [f"example {i}" for i in range(len(patients))]
        groups.require_patients(patients, first, f"{path}: `{found['patient']}`")
    return groups.identities(patients, kinds, [groups.digest(image) for image in images])


def _shown(joined: Example, images: list[np.ndarray], arrays: list[str]) -> list[str]:
    """How messages name each example."""
    for entry in ("names", "image_id"):
        if entry in joined:
            return joined[entry].tolist()
    return [f"{name}[{i}]" for name, array in zip(arrays, images, strict=True) for i in range(len(array))]


def _rater_names(path: Path, given: np.ndarray | None, found: dict[str, str], example: Example) -> tuple[str, ...]:
    """The names of the raters; an array ``raters`` that is something else is left alone."""
    if given is None or "masks" not in example:
        return ()
    raters = example["masks"].shape[1]
    if given.shape == (raters,):
        return tuple(as_texts(given, f"{path}: `{found['rater_names']}`"))
    if found["rater_names"] == "raters":
        return ()
    raise UserError(
        f"{path}: `{found['rater_names']}` has size {given.shape}, but masks are by {raters} raters; name each of them"
    )


def _headers(
    path: Path, whole: bool, unwanted: Set[str]
) -> tuple[dict[str, str], dict[str, list[str]], dict[str, tuple[int, ...]]]:
    """Which array is which, from the headers alone: a name for messages, the arrays it is joined from, all shapes."""
    with checks.reading(path, "npz"):
        heads = npz_headers(path)
    shapes = {name: head.shape for name, head in heads.items()}
    prefixes = _prefixes(path, shapes, whole)
    found, parts = {}, {}
    for entry, names in _NAMES.items():
        if entry in unwanted:
            continue
        shared = entry in ("label_names", "rater_names", "covariate_names", "split") or not prefixes
        if entry in _TEXTS:  # whatever their capitals
            names = tuple(
                dict.fromkeys(_spelled(p + name, shapes).removeprefix(p) for name in names for p in prefixes or [""])
            )
        present = [name for name in names if name in shapes]
        if not shared:
            present = [name for name in names if any(p + name in shapes for p in prefixes)]
        if len(present) > 1:
            raise UserError(f"{path}: holds both `{present[0]}` and `{present[1]}`; keep one of them")
        if not present:
            continue
        parts[entry] = [present[0]] if shared else [p + present[0] for p in prefixes]
        found[entry] = parts[entry][0]
        for name in parts[entry]:
            if name not in shapes:
                raise UserError(f"{path}: has no array `{name}` beside `{_other(parts[entry], shapes)}`; add it")
            if heads[name].dtype.hasobject:
                raise UserError(
                    f"{path}: `{name}` holds Python objects, which are never unpickled; save it as a plain array"
                )
    if prefixes and "split" in found:
        raise UserError(f"{path}: has `{found['split']}` beside `{found['image']}`; keep one way to give the split")
    if "mask" not in found and "instances" not in found and len(shapes.get(found.get("label", ""), ())) > 2:
        found["mask"], parts["mask"] = found.pop("label"), parts.pop("label")  # a label a voxel is a mask
    return found, parts, shapes


def _prefixes(path: Path, shapes: dict[str, tuple[int, ...]], all_wanted: bool) -> list[str]:
    """The prefixes of arrays that come split by split, train first; none where they come whole."""
    prefixes = [p + "_" for p in _SPLIT_NAMES if any(f"{p}_{name}" in shapes for name in _NAMES["image"])]
    whole = next((name for name in _NAMES["image"] if name in shapes), None)
    if not prefixes:
        return []
    part = next(p + name for p in prefixes for name in _NAMES["image"] if p + name in shapes)
    if whole is not None:
        raise UserError(f"{path}: holds both `{whole}` and `{part}`; keep one of them")
    if "train_" not in prefixes and not all_wanted:
        raise UserError(f"{path}: has `{part}` but no train_{part.split('_', 1)[1]}; add it")
    splits = [_split_of(p) for p in prefixes]
    for split in splits:
        if splits.count(split) > 1:
            both = [p for p in prefixes if _split_of(p) == split]
            raise UserError(f"{path}: holds arrays both of {both[0]}... and {both[1]}...; keep one of them")
    return prefixes


def _spelled(name: str, shapes: Iterable[str]) -> str:
    """The array of this name, whatever its capitals; the name itself if there is none."""
    return next((given for given in shapes if given.lower() == name and name not in shapes), name)


def _split_of(name: str) -> str:
    return _SPLIT_NAMES[name.split("_", 1)[0]]


def _other(names: list[str], shapes: dict[str, tuple[int, ...]]) -> str:
    return next(name for name in names if name in shapes)


def _join(path: Path, names: list[str], arrays: list[np.ndarray]) -> np.ndarray:
    """The arrays of all splits after one another."""
    for name, array in zip(names, arrays, strict=True):
        if len(arrays) > 1 and array.shape[1:] != arrays[0].shape[1:]:
            raise UserError(
                f"{path}: `{name}` has size {array.shape}, but `{names[0]}` has {arrays[0].shape}; "
                "bring all splits to one size"
            )
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _require(
    path: Path,
    found: dict[str, str],
    parts: dict[str, list[str]],
    shapes: dict[str, tuple[int, ...]],
    options: Options,
) -> None:
    holds = ", ".join(sorted(shapes)) or "nothing"
    for entry in ("image", *options.wants):
        by = {"mask": ("mask", "instances"), "masks": ("mask",), "labels": ("label",)}.get(entry, (entry,))
        if entry == "text" and _FIELDS[0] in shapes:
            continue
        if not any(name in found for name in by):
            raise UserError(f"{path}: has no array `{_NAMES[by[0]][0]}` (it holds {holds}); add it or rename one")
    wanted = options.wants + options.optional
    for entry in ("mask", "instances"):
        uses = ("mask", "masks") if entry == "mask" else ("instances", "mask")
        if not any(use in wanted for use in uses):
            found.pop(entry, None)
    if (
        "label" in found and "label" not in wanted and "labels" not in wanted
    ):  # one per image, they still guide the split
        for label, image in zip(parts["label"], parts["image"], strict=True):
            if shapes[label] not in (shapes[image][:1], (*shapes[image][:1], 1)):
                found.pop("label", None)


def _shapes(data: Example, where: dict[str, str], options: Options) -> tuple[Example, bool]:
    """Images as [n, *spatial, c], and whether masks are by several raters."""
    images = data["image"]
    if images.ndim not in (3, 4, 5):
        raise UserError(f"{where['image']} has size {images.shape}; save [n, height, width] or [n, *spatial, channels]")
    _require_channels_last(data, where, options)
    other = next((data[e] for e in ("mask", "instances") if e in data), None)
    entry = next((e for e in ("mask", "instances") if e in data), None)
    flat = images.ndim > 4 or options.spatial != 3  # a last axis of 1 is a channel, of a mask too
    if other is not None and entry is not None and flat and images.shape[-1] == 1 and other.shape == images.shape:
        other = data[entry] = other[..., 0]
    if other is not None and entry is not None and other.shape[-1] == 1 != images.shape[-1] and other.ndim > 3:
        other = data[entry] = other[..., 0] if other.shape[:-1] in (images.shape, images.shape[:-1]) else other
    raters = False
    if other is not None and entry is not None:
        plain, with_channels = images.shape[1:], images.shape[1:-1]
        if other.shape[1:] == with_channels and images.ndim > 3:
            channels = True
        elif other.shape[1:] == plain:
            channels = False
        elif entry == "mask" and other.shape[2:] == plain:
            channels, raters = False, True
        elif entry == "mask" and other.shape[2:] == with_channels and images.ndim > 3:
            channels, raters = True, True
        else:
            raise UserError(
                f"{where[entry]} has size {other.shape}, which does not fit {where['image'].split(': ')[-1]} of "
                f"{images.shape}; save masks as [n, *spatial] and channels last"
            )
    elif options.spatial is not None and not options.slices:
        channels = images.ndim == 5 or images.ndim == options.spatial + 2
        if other is None and options.spatial == 2 and images.ndim == 4 and images.shape[-1] > _MOST_CHANNELS:
            raise UserError(
                f"{where['image']} has size {images.shape}, volumes or images of {images.shape[-1]} channels, of which "
                f"at most {_MOST_CHANNELS} are read; add --slices to take volumes slice by slice"
            )
    else:
        channels = images.ndim == 5 or (images.ndim == 4 and images.shape[-1] <= 4)
    images = images if channels else images[..., None]
    rank = images.ndim - 2
    wanted = 2 if options.spatial == 2 else 3
    thin = rank == 3 and min(images.shape[1:3]) <= 4 < images.shape[3]
    if thin and options.slices:
        raise UserError(
            f"{where['image']} has size {images.shape[:-1]}, and slices are taken along the last axis: of "
            f"{checks.describe(images.shape[1:3])} pixels each; save [n, height, width, slices]"
        )
    if options.spatial is not None and rank != options.spatial and not (rank == 3 and options.slices and wanted == 2):
        fix = "add --slices to take volumes slice by slice" if rank == 3 else "give volumes"
        if thin or (rank == 3 and images.shape[3] == 1):
            fix = "save [n, height, width], or [n, height, width, channels]"
        raise UserError(
            f"{where['image']} has {rank} spatial axes {images.shape[1:-1]}, but {wanted} are wanted; {fix}"
        )
    return {**data, "image": images}, raters


def _require_channels_last(data: Example, where: dict[str, str], options: Options) -> None:
    """Refuse images as PyTorch has them, ``[n, c, *spatial]``, which would be taken for c pixels, or for slices."""
    shape = data["image"].shape[1:]
    masks = [data[entry].shape[1:] for entry in ("mask", "instances") if entry in data]
    first = channels_first(shape) or any(mask == shape[1:] != shape[:-1] for mask in masks)
    if len(shape) == 3 and options.spatial == 2 and not options.slices and not masks:
        first = first or shape[0] < shape[1] == shape[2]  # or it were as many channels as columns
    if len(shape) == 3 and options.slices and all(mask[-3:] == shape for mask in masks):
        first = first or 2 * shape[0] <= shape[1] == shape[2]  # square slices, a few of them, first
    if len(shape) == 4 and shape[0] <= 16 < shape[3]:
        first = first or shape[0] < min(shape[1:])
    if not first:
        return
    fix = f"np.moveaxis({where['image'].split('`')[1]}, 1, -1)"
    for entry in ("mask", "instances"):
        if entry in data and data[entry].shape[1:] in (shape, (1, *shape[1:])) and data[entry].shape[1] == 1:
            fix += f", and {where[entry].split('`')[1]}[:, 0]"
    raise UserError(
        f"{where['image']} has size {data['image'].shape}, with channels first (or slices first); save it with them "
        f"last: {fix}"
    )


def _examples(data: Example, raters: bool, where: dict[str, str], options: Options) -> Example:
    wanted = options.wants + options.optional
    foreground = options.foreground
    images = checks.image_values(data["image"], where["image"])
    example: Example = {"image": images}
    if "instances" in data:
        instances = checks.mask_values(data["instances"], where["instances"])
        if "instances" in wanted:
            example["instances"] = instances
        if "mask" in wanted and "mask" not in data:
            checks.refuse_choice(options.foreground, where["instances"])
            example["mask"] = (instances > 0).astype(np.uint8)
    if "masks" in options.wants and not raters:
        raise UserError(f"{where['mask']} is by one rater; save [n, raters, *spatial]")
    if "mask" in data:
        masks = checks.mask_values(data["mask"], where["mask"])
        if isinstance(foreground, int) and not (masks == foreground).any():
            raise checks.absent_foreground(foreground, np.unique(masks).tolist(), where["mask"])
        if raters and isinstance(foreground, Classes):
            each = (
                checks.apply_foreground(masks[:, k], foreground, f"{where['mask']} of rater {k}")
                for k in range(masks.shape[1])
            )
            masks = np.stack(list(each), axis=1)
        else:
            masks = checks.apply_foreground(masks, foreground, where["mask"])
        if raters and "masks" in wanted:
            example["masks"] = masks
        if "mask" in wanted and raters and isinstance(foreground, Classes):
            example["mask"] = majority(masks, len(foreground.names))
        elif "mask" in wanted:
            example["mask"] = majority(masks > 0) if raters else masks
    example.update({entry: data[entry] for entry in ("label", "labels") if entry in data and entry in wanted})
    flat = images.reshape(len(images), -1)
    constant = flat.min(1) == flat.max(1)
    if constant.all():
        raise UserError(f"{where['image']}: every image has one value only; check how they were saved")
    if "mask" in example:
        marked = example["mask"].reshape(len(images), -1).any(1)
        if (constant & marked).any():
            i = int(np.flatnonzero(constant & marked)[0])
            raise UserError(
                f"{where['image']}: every pixel of example {i} is {flat[i, 0]}, yet its mask marks something; "
                "check how it was saved, or take it out"
            )
    return example


def _classes(
    data: Example, names: tuple[str, ...], where: dict[str, str], options: Options
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Bring ``data["label"]`` to its final form; the class of each example, if it has just one, and the names."""
    if "label" not in data:
        return None, ()
    labels, here = data.pop("label"), where["label"]
    wanted = "label" in options.wants + options.optional
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2:
        if "labels" in options.wants + options.optional or wanted:
            _check_columns(labels, names, here)
        if "labels" in options.wants + options.optional:
            data["labels"] = labels.astype(np.float32 if labels.dtype.kind == "f" else np.int32)
            return None, names
        if labels.dtype.kind not in "buif" or not (
            ((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all()
        ):
            if "label" in options.wants:
                raise UserError(f"{here} marks several classes of an image, or none; give one number an image, [n]")
            return None, ()
        labels = labels.argmax(1)
    elif "labels" in options.wants:
        raise UserError(f"{here} has one class an image; save [n, classes] of 0 and 1, or ask for label")
    try:
        classes, names = number_classes(labels, here, names)
        if "label" in options.wants and not options.whole:
            require_classes(classes, names, here)
    except UserError:
        if wanted:
            raise
        return None, ()
    data["label"] = classes
    return classes, names


def _check_columns(labels: np.ndarray, names: tuple[str, ...], where: str) -> None:
    if labels.dtype.kind not in "buif":
        raise UserError(f"{where} has values of type {labels.dtype}; save numbers, 0 or 1 for each class")
    if names and len(names) != labels.shape[1]:
        raise UserError(f"{where} has {labels.shape[1]} columns, but there are {len(names)} names; make them equal")


def _given_split(path: Path, data: Example, found: dict[str, str]) -> np.ndarray | None:
    """The split of each example, if the file says it."""
    if "split" not in data:
        return None
    given = [_SPLIT_NAMES.get(v.lower(), v) for v in data["split"].tolist()]
    unknown = sorted(set(given) - set(SHARES))
    missing = [split for split in SHARES if split not in given]
    if unknown or missing:
        what = f"has the value {unknown[0]!r}" if unknown else f"never has the value {missing[0]!r}"
        raise UserError(f"{path}: `{found['split']}` {what}; use train, validation and test, each at least once")
    return np.array(given)


def _split(
    path: Path,
    given: np.ndarray | None,
    joined: Example,
    known: list[groups.Identity],
    shown: list[str],
    classes: np.ndarray | None,
    label_names: tuple[str, ...],
    options: Options,
) -> dict[str, np.ndarray]:
    if options.whole:
        nothing = np.arange(0)
        return {"train": nothing, "validation": nothing, "test": np.arange(len(shown))}
    wanted = "label" in options.wants
    patients = joined["patient"].tolist() if "patient" in joined else None
    numbers = [str(i) for i in range(len(shown))]
    names = next((joined[entry].tolist() for entry in ("names", "image_id") if entry in joined), numbers)
    together = groups.join(patients or [name or number for name, number in zip(names, numbers, strict=True)], known)

    def draw(chosen: np.ndarray) -> dict[str, np.ndarray]:
        own, where = [together[i] for i in chosen], str(path)
        if patients is not None:
            return split_by_class(own, None, (), seed=options.seed, where=where, wanted=False, what="patient")
        labels = None if classes is None else classes[chosen]
        return split_by_class(own, labels, label_names, seed=options.seed, where=where, wanted=wanted)

    if given is None:
        parts = draw(np.arange(len(names)))
    else:
        held = {s: np.flatnonzero(given == s) for s in SHARES if (given == s).any()}
        fix = "or join all parts as `images` (`labels`, ...), without a split: jaxgen then draws one that shares none"
        groups.refuse_shared(held, known, shown, str(path), patients, *([] if "split" in joined else [fix]))
        parts = complete(held, draw)
    if wanted and classes is not None:
        require_trained(classes, parts, label_names, str(path))
    return parts


def _splits(source: ArraySource, chosen: dict[str, np.ndarray], path: Path, options: Options) -> Splits:
    parts: dict[str, ArraySource] = {}
    for split, indices in chosen.items():
        names = [source.names[i] for i in indices]
        patients = None if source.patients is None else [source.patients[i] for i in indices]
        arrays = {key: array[indices] for key, array in source.arrays.items()}
        if options.slices and arrays["image"].ndim == 5:
            depth = arrays["image"].shape[3]
            names = [f"{name}[{z}]" for name in names for z in range(depth)]
            patients = None if patients is None else [patient for patient in patients for _ in range(depth)]
            arrays = {key: _slices(key, array, depth) for key, array in arrays.items()}
        parts[split] = ArraySource(arrays, names, patients)
    return Splits(parts["train"], parts["validation"], parts["test"], name=path.stem, origin=f"file {path}")


def _slices(key: str, array: np.ndarray, depth: int) -> np.ndarray:
    """[n, (raters,) x, y, z, ...] -> [n * z, (raters,) x, y, ...]."""
    if key in ("label", "labels", "covariates", "text"):
        return np.repeat(array, depth, axis=0)
    if key == "spacing":
        return np.repeat(array[:, :2], depth, axis=0)
    axis = {"image": 3, "masks": 4}.get(key, 3)
    moved = np.moveaxis(array, axis, 1)
    return np.ascontiguousarray(moved.reshape(len(array) * depth, *moved.shape[2:]))
