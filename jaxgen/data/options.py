"""What a caller of `jaxgen.data.load` may ask for; one record handed to each kind of loader."""

from typing import NamedTuple

from jaxgen.data.checks import Foreground

ENTRIES = (
    "image",
    "mask",
    "masks",
    "instances",
    "label",
    "labels",
    "covariates",
    "text",
    "control",
    "spacing",
    "source",
)


class Options(NamedTuple):
    """The choices of `jaxgen.data.load`; see there.

    Attributes:
        seed: of the split.
        wants: entries each example must have.
        optional: entries it has if the data have them.
        foreground: which mask values are foreground.
        slices: whether volumes are taken slice by slice.
        spatial: the number of spatial axes an example must have, or None.
        whole: whether every example belongs to the test set, see `jaxgen.data.everything`.
    """

    seed: int = 0
    wants: tuple[str, ...] = ("image", "mask")
    optional: tuple[str, ...] = ()
    foreground: Foreground = "binary"
    slices: bool = False
    spatial: int | None = None
    whole: bool = False
