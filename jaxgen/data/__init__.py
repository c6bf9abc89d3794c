"""Data: sources of examples, readers and writers of medical images, and the feed of batches.

`load` opens a data set; `resized` brings its images to one size; `Feed` turns a source into batches; `read_image` and
the writers serve single files.
"""

from jaxgen.data.everything import Everything, most_of
from jaxgen.data.image import Image
from jaxgen.data.images import measure_range, resized
from jaxgen.data.loading import load
from jaxgen.data.pipeline import Feed
from jaxgen.data.readers import read_image, read_mask
from jaxgen.data.source import ArraySource, Source, Splits, Subset
from jaxgen.data.writers import write_dicom_seg, write_mask, write_nifti

__all__ = [
    "ArraySource",
    "Everything",
    "Feed",
    "Image",
    "Source",
    "Splits",
    "Subset",
    "load",
    "measure_range",
    "most_of",
    "read_image",
    "read_mask",
    "resized",
    "write_dicom_seg",
    "write_mask",
    "write_nifti",
]
