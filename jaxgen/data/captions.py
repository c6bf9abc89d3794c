"""Captions of chest radiographs: short reports of what is to be seen, and what a table says of a real image."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxgen.data.phantoms.chest_xray import FINDINGS, Finding, findings_of
from jaxgen.data.phantoms.coloured import coloured_of
from jaxgen.data.phantoms.shapes import shapes_of
from jaxgen.data.phantoms.texture import generator
from jaxgen.data.source import Source

WORDINGS = {
    "effusion": (
        "{size} {side} pleural effusion",
        "{size} {side}-sided effusion",
        "{size} amount of pleural fluid on the {side}",
    ),
    "cardiomegaly": ("cardiomegaly", "enlarged heart", "the cardiac silhouette is enlarged"),
    "nodule": (
        "{side} {zone} zone nodule",
        "nodule in the {zone} {side} lung",
        "nodular lesion in the {side} {zone} zone",
    ),
    "pneumothorax": ("{side} pneumothorax", "{side}-sided pneumothorax", "free pleural air on the {side}"),
    "opacity": (
        "{side} {zone} zone opacity",
        "consolidation in the {side} {zone} zone",
        "hazy opacity in the {zone} {side} lung",
    ),
}
"""How reports name a finding."""
HELD_OUT = {
    "effusion": ("{size} {side} pleural fluid", "effusion on the {side} of {size} size"),
    "cardiomegaly": ("enlarged cardiac silhouette", "the heart is enlarged"),
    "nodule": ("{side} lung nodule in the {zone} zone", "{zone} zone nodular lesion on the {side}"),
    "pneumothorax": ("{side} pleural air", "pneumothorax on the {side}"),
    "opacity": ("{zone} zone consolidation on the {side}", "hazy {side} lung in the {zone} zone"),
}
"""Other ways to say the same in words that `WORDINGS` use: no training report has them."""
NORMAL = ("no acute cardiopulmonary process", "normal chest", "clear lungs and normal heart size")
DENIALS = ("no {name}", "without {name}", "no evidence of {name}")
NAMES = {
    "effusion": ("pleural effusion", "effusion"),
    "cardiomegaly": ("cardiomegaly", "enlarged heart"),
    "nodule": ("nodule", "nodular lesion"),
    "pneumothorax": ("pneumothorax",),
    "opacity": ("opacity", "consolidation"),
}
"""A finding in a negation."""


SYNONYMS = {
    "small": ("small", "tiny", "minor"),
    "moderate": ("moderate", "medium", "fair"),
    "large": ("large", "big", "massive"),
    "upper": ("upper", "top", "superior"),
    "middle": ("middle", "central", "mid"),
    "lower": ("lower", "bottom", "inferior"),
}
"""Words for sizes and zones: reports have the first of each, captions of shapes all."""


class Report(NamedTuple):
    """A report, and what it says.

    Attributes:
        text: the report.
        stated: the findings that it names; what it leaves open of one is empty.
        denied: the names of the findings that it says are not there.
    """

    text: str
    stated: tuple[Finding, ...]
    denied: tuple[str, ...]


def report(
    findings: Sequence[Finding], rng: np.random.Generator, wordings: Mapping[str, Sequence[str]] = WORDINGS
) -> Report:
    """A report of the findings, worded at random, perhaps with findings that are not there.

    In a fifth of the cases each, the size and the zone of a finding are left out.

    Args:
        findings: what is to be seen.
        rng: the random numbers.
        wordings: `WORDINGS`, or `HELD_OUT`.

    Returns:
        The report.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> report([Finding("effusion", "left", "small")], rng).text
        'small left pleural effusion'
    """
    if not findings:
        return Report(_one(rng, NORMAL), (), FINDINGS)
    stated, parts = [], []
    for finding in findings:
        finding = finding._replace(
            size=finding.size if rng.uniform() < 0.8 else "", zone=finding.zone if rng.uniform() < 0.8 else ""
        )
        parts.append(_worded(finding, _one(rng, wordings[finding.name])))
        stated.append(finding)
    absent = [name for name in FINDINGS if name not in {finding.name for finding in findings}]
    most = 1 if len(findings) > 2 else 2
    denied = rng.permutation(absent)[: rng.integers(0, most + 1)].tolist()
    parts += [_one(rng, DENIALS).format(name=_one(rng, NAMES[name])) for name in denied]
    return Report(", ".join(parts), tuple(stated), tuple(denied))


def report_of(seed: int, index: int, wordings: Mapping[str, Sequence[str]] = WORDINGS) -> Report:
    """The report of an example of the phantom `jaxgen.data.phantoms.cxr2d`.

    Args:
        seed: of the set.
        index: of the example.
        wordings: `WORDINGS`, or `HELD_OUT`.

    Returns:
        The report, always the same.

    Example:
        >>> report_of(0, 0).text
        'free pleural air on the left, no consolidation'
    """
    return report(findings_of(seed, index), generator("cxr2d report", seed, index), wordings)


def shapes_caption(seed: int, index: int) -> str:
    """The caption of an example of the phantom `jaxgen.data.phantoms.shapes2d`, in any of `SYNONYMS`.

    Args:
        seed: of the set.
        index: of the example.

    Returns:
        The caption, always the same.

    Example:
        >>> shapes_caption(0, 0)
        'dark bar on the left, inferior zone, fair'
    """
    rng, parts = generator("shapes2d caption", seed, index), []
    for shape in shapes_of(seed, index):
        size, zone = (_one(rng, SYNONYMS[word]) for word in (shape.size, shape.zone))
        form = _one(
            rng, ("{} {} {} {} zone {}", "{0} {1} {4} in the {2} {3} zone", "{1} {4} on the {2}, {3} zone, {0}")
        )
        parts.append(form.format(size, shape.shade, shape.side, zone, shape.kind))
    return ", ".join(parts)


def coloured_caption(seed: int, index: int) -> str:
    """The caption of an example of the phantom `jaxgen.data.phantoms.coloured2d`: colours and kind, not place or size.

    Args:
        seed: of the set.
        index: of the example.

    Returns:
        The caption, always the same.

    Example:
        >>> coloured_caption(0, 0)
        'a green bar on a red ground'
    """
    kind, colour, ground = coloured_of(seed, index)
    return f"a {colour} {kind} on a {ground} ground"


def reworded(report: Report, rng: np.random.Generator) -> Report:
    """A report with another of `SYNONYMS` for every size and zone that it names.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> reworded(Report("small left pleural effusion", (Finding("effusion", "left", "small"),), ()), rng).text
        'minor left pleural effusion'
    """
    said = [_one(rng, SYNONYMS[word][1:]) if word in SYNONYMS else word for word in report.text.split(" ")]
    return report._replace(text=" ".join(said))


def _one(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _worded(finding: Finding, wording: str) -> str:
    """A wording with side, size and zone; what is not said leaves nothing behind."""
    if not finding.size:
        wording = wording.replace(" of {size} size", "")
    if not finding.zone:
        wording = wording.replace(" in the {side} {zone} zone", " in the {side} lung")
        wording = wording.replace(" in the {zone} zone", "").replace("{zone} zone ", "")
    text = wording.format(side=finding.side, size=finding.size, zone=finding.zone)
    return " ".join(text.split())


def radiograph_caption(findings: Sequence[str], *, view: str = "", sex: str = "", age: float | None = None) -> str:
    """The caption of a real chest radiograph, written from what a table says of it.

    Args:
        findings: their names, none for a normal image; underscores are read as spaces.
        view: such as "PA" or "AP"; left out if empty.
        sex: "M" or "F"; left out if it is anything else.
        age: in years, said as a decade; left out if None.

    Returns:
        The caption.

    Example:
        >>> radiograph_caption(["Effusion", "Pleural_Thickening"], view="PA", sex="F", age=57)
        'pa chest radiograph of a woman in her fifties: effusion, pleural thickening'
        >>> radiograph_caption([], age=4)
        'chest radiograph of a child: no finding'
    """
    word = {"M": ("man", "boy", "his"), "F": ("woman", "girl", "her")}.get(sex.upper(), ("adult", "child", "the"))
    adult, child, whose = word
    person = adult if age is None or age >= 20 else child
    decade = "" if age is None or age < 20 else f" in {whose} {_DECADES[min(int(age) // 10, 9) - 2]}"
    seen = ", ".join(name.replace("_", " ").lower() for name in findings) or "no finding"
    article = "an" if person[0] in "a" else "a"
    return f"{view.lower()} chest radiograph of {article} {person}{decade}: {seen}".strip()


_DECADES = ("twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties", "nineties")


def table_captions(
    finding: Sequence[str],
    *,
    view: Sequence[str] | None = None,
    sex: Sequence[str] | None = None,
    age: Sequence[float] | np.ndarray | None = None,
) -> list[str]:
    """Captions of the rows of a table such as that of NIH's ChestX-ray14.

    Args:
        finding: names with ``|`` between them; empty or "No Finding" where there is none.
        view: of each row, if known.
        sex: the same.
        age: the same, in years.

    Returns:
        One caption per row.

    Example:
        >>> table_captions(["No Finding", "Mass|Nodule"], view=["AP", "PA"])[1]
        'pa chest radiograph of an adult: mass, nodule'
    """
    return [
        radiograph_caption(
            [name for name in text.split("|") if name and name.lower() != "no finding"],
            view="" if view is None else view[i],
            sex="" if sex is None else sex[i],
            age=None if age is None else float(age[i]),
        )
        for i, text in enumerate(finding)
    ]


def after_noun(captions: Sequence[str], noun: str, alone: float, seed: int) -> list[str]:
    """Captions after what all images are, a share of them replaced by it alone.

    Args:
        captions: one per image.
        noun: what all images are.
        alone: the share of captions that are the noun alone.
        seed: of the choice.

    Returns:
        One caption per image.

    Example:
        >>> after_noun(["nodule", "normal"], "radiograph", 0.5, 1)
        ['radiograph, nodule', 'radiograph, normal']
    """
    bare = np.random.default_rng(seed).uniform(size=len(captions)) < alone
    return [noun if one else f"{noun}, {said}" for said, one in zip(captions, bare, strict=True)]


def texts_of(source: Source) -> list[str]:
    """The caption of every example of a source; sources that know them without reading images are not read.

    Args:
        source: examples with an entry ``text``.

    Returns:
        One text each.

    Example:
        >>> from jaxgen.data.source import ArraySource
        >>> texts_of(ArraySource({"text": np.array(["a", "b"])}))
        ['a', 'b']
    """
    known = getattr(source, "texts", None)
    return list(known) if known is not None else [str(source[i]["text"]) for i in range(len(source))]


def stated_findings(reports: Sequence[Report]) -> np.ndarray:
    """What reports state ``[n, k]``, zeros and ones, a column for each of `jaxgen.data.phantoms.FINDINGS`.

    Example:
        >>> from jaxgen.data.phantoms import Finding
        >>> stated_findings([Report("", (Finding("nodule", "left"),), ("effusion",))]).sum().item()
        1.0
    """
    stated = [{finding.name for finding in report.stated} for report in reports]
    return np.array([[name in names for name in FINDINGS] for names in stated], np.float32)
