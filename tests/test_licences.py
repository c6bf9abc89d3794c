"""Whoever installs jaxgen, with whatever extra for users, gets permissive licences alone."""

import importlib.metadata
import re

import pytest
from packaging.requirements import Requirement

EXTRAS = ("dicom", "mri", "registration", "text", "tiff")
PERMISSIVE = r"Apache|\bMIT\b|BSD|PSF|Python Software Foundation|MPL|Mozilla|ISC|HPND|Zlib|CC0|Unlicense"
REFUSED = r"\bA?GPL|General Public License|Proprietary|Non-?Commercial"


def name_of(requirement):
    return re.sub(r"[-_.]+", "-", requirement).lower()


def needed(name, extras=()):
    """The installed distributions that a package needs, with all that these need."""
    found, waiting = {}, [(name, extras)]
    while waiting:
        name, extras = waiting.pop()
        if name_of(name) in found:
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:  # of another system, or an extra that is not installed
            continue
        found[name_of(name)] = distribution
        for text in distribution.requires or ():
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                waiting.append((requirement.name, requirement.extras))
    return found


def licence_of(distribution):
    """What it says: the expression, else classifiers, else the first line of its text."""
    data = distribution.metadata
    said = [entry for entry in data.get_all("Classifier") or [] if entry.startswith("License ::")]
    return data.get("License-Expression") or "; ".join(said) or (data.get("License") or "").strip()[:200]


FOUND = needed("jaxgen", EXTRAS)


def test_the_dependencies_are_found():
    assert {"jax", "flax", "numpy", "tensorstore", "pillow"} <= FOUND.keys()


@pytest.mark.parametrize("name", sorted(FOUND))
def test_a_dependency_has_a_permissive_licence(name):
    licence = licence_of(FOUND[name])
    assert re.search(PERMISSIVE, licence), f"{name}: {licence or 'says none'}"
    assert not re.search(REFUSED, licence), f"{name}: {licence}"
