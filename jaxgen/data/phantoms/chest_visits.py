"""Phantom `cxr_visits`: chest radiographs of people who come several times, each time with a finding or without."""

import numpy as np

from jaxgen.data.phantoms.chest_xray import FINDINGS, SIDES, SIZES, ZONES, Finding, cxr2d
from jaxgen.data.phantoms.texture import generator

VISITS = 3
"""Images of each person."""
KINDS = ("normal", *FINDINGS)
"""The names of the classes."""


def one_finding(rng: np.random.Generator, kind: str) -> tuple[Finding, ...]:
    """A finding of a kind on a random side, of a random size and in a random zone; none for ``normal``.

    Example:
        >>> one_finding(np.random.default_rng(0), "cardiomegaly"), one_finding(np.random.default_rng(0), "normal")
        ((Finding(name='cardiomegaly', side='', size='', zone=''),), ())
    """
    side, size, zone = (list(names)[rng.integers(len(names))] for names in (SIDES, SIZES, ZONES))
    if kind == "normal":
        return ()
    if kind == "cardiomegaly":
        return (Finding(kind),)
    if kind == "effusion":
        return (Finding(kind, side, size),)
    if kind == "opacity":  # the lower zone is that of the heart
        zone = "middle" if zone == "lower" else zone
    return (Finding(kind, side, zone="" if kind == "pneumothorax" else zone),)


def cxr_visits(seed: int, index: int, size: int = 64) -> dict[str, np.ndarray]:
    """A visit of a person: image ``index`` is visit ``index % 3`` of person ``index // 3``.

    The anatomy is that of the person, see `jaxgen.data.phantoms.chest_xray.cxr2d`; where the person stands, the noise
    and the finding are those of the visit. A class is a finding, or none: all six are equally likely.

    Args:
        seed: of the set.
        index: of the image.
        size: side of the image in pixels, 16 or more.

    Returns:
        ``image [size, size, 1]`` float32, about 0 to 1; ``mask [size, size]`` uint8, where findings in the lungs are;
        ``label`` int32, a number of `KINDS`; ``covariates [12]`` float32, the code of the person.

    Raises:
        ValueError: if `size` is below 16.

    Example:
        >>> first, second, other = (cxr_visits(0, i, size=16) for i in (0, 1, 3))
        >>> bool((first["covariates"] == second["covariates"]).all())
        True
        >>> bool((first["covariates"] == other["covariates"]).any())
        False
    """
    person, visit = divmod(index, VISITS)
    rng = generator(f"cxr visit {visit}: finding", seed, person)
    label = int(rng.integers(len(KINDS)))
    drawn = cxr2d(seed, person, size, visit=visit, findings=one_finding(rng, KINDS[label]))
    return {
        "image": drawn["image"],
        "mask": drawn["mask"],
        "label": np.asarray(label, np.int32),
        "covariates": drawn["code"],
    }
